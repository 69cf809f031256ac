"""Reading a file with the help of children: probe it, take good text layers, draw and recognise the other pages."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.api import ChildFailed, Children, HeartwoodError, Limits
from heartwood_ocr.models import PageText, Source
from heartwood_ocr.names import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from heartwood_ocr.metrics import DocumentMetrics

MOST_PIXELS = 100_000_000
RASTER = 25_000_000
"""Pixels of a page that is given to Tesseract."""

LARGEST_PAGE = 64 * 1024**2
LONGEST_TEXT = 1024**2
PROBING = Limits(wall=120, cpu=60, file=LARGEST_PAGE, files=64, output=64 * 1024**2)
RENDERING = Limits(wall=240, cpu=120, file=LARGEST_PAGE, files=64, output=1024**2)
RECOGNISING = Limits(wall=120, cpu=60, file=LARGEST_PAGE)

_FEWEST_LETTERS = 12
_LEAST_LEGIBLE = 0.7
_PNG_HEADER = struct.Struct("!8s4x4sII")


class Unreadable(HeartwoodError):
    """The document, or one page of it, cannot be read; the sentence is for the person who sent it in."""


@frozen
class PageProbe:
    """A page as it was found: its size (points or pixels) and the text it brings along."""

    number: int
    width: float
    height: float
    text: str

    @property
    def has_good_text(self) -> bool:
        """Whether its text layer is worth more than recognising it: enough letters, and few signs of a broken font."""
        shown = [each for each in self.text if not each.isspace()]
        legible = sum(each.isalnum() or (each.isprintable() and each.isascii()) for each in shown)
        letters = sum(each.isalnum() for each in shown)
        return letters >= _FEWEST_LETTERS and legible >= _LEAST_LEGIBLE * len(shown)

    def as_text(self) -> PageText:
        """Return its text layer as what was read."""
        return PageText(self.number, Source.TEXT_LAYER, clean_text(self.text)[:LONGEST_TEXT], None)


@frozen
class Probe:
    """How many pages there are, and those that will be read."""

    total: int
    pages: list[PageProbe]


@frozen
class Reader:
    """Reads one file; ``path`` is only ever given to sandboxed children, which may write to ``folder``."""

    children: Children
    metrics: DocumentMetrics
    path: Path
    folder: Path
    media_type: str

    async def probe(self, most: int) -> Probe:
        """Look at the file without drawing anything.

        Raises:
            Unreadable: it is damaged, protected, or too large.
            ChildFailed: the child died.
        """
        with self._stage("probe"):
            answer = await self._hostile({"action": "probe", "max_pages": most}, PROBING)
        return checked(answer, most)

    async def render(self, pages: Sequence[PageProbe]) -> None:
        """Draw pages into the folder; what could not be drawn is missing there. Raises as :meth:`probe`."""
        order = {"action": "render", "pages": [[page.number, page.width, page.height] for page in pages]}
        with self._stage("render"):
            await self._hostile(order, RENDERING)

    async def recognise(self, number: int, languages: Sequence[str]) -> PageText:
        """Recognise the text of a page that has been drawn, and remove the picture.

        Raises:
            Unreadable: there is no fit picture of it.
            ChildFailed: the child died or ran over a limit.
        """
        picture = take_picture(self.folder / f"{number}.png", number)
        with self._stage("ocr"):
            payload = {"image": picture, "languages": "+".join(languages)}
            found = await self.children.call("heartwood_ocr.recognition:read_page", payload, limits=RECOGNISING)
        confidence = found["confidence"]
        if confidence is not None:
            self.metrics.confidence.observe(confidence)
        return PageText(number, Source.OCR, clean_text(found["text"])[:LONGEST_TEXT], confidence)

    async def _hostile(self, order: dict[str, Any], limits: Limits) -> Any:
        told = json.dumps({**order, "media_type": self.media_type, "max_pixels": MOST_PIXELS, "raster": RASTER})
        argv = [sys.executable, "-m", "heartwood_ocr.hostile", "{input}", "{output}", told]
        done = await self.children.run(argv, inputs={"input": self.path}, output=self.folder, limits=limits)
        if done.status != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {done.status}"]
            msg = f"the file could not be read: {said[0][:300]}"
            raise ChildFailed(msg)
        try:
            answer = json.loads(done.stdout)
            problem = answer.get("problem")
        except (ValueError, AttributeError, RecursionError) as error:
            msg = "the file could not be read: its reader gave a broken answer"
            raise ChildFailed(msg) from error
        if problem is not None:
            raise Unreadable(clean_text(str(problem))[:500])
        return answer

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.metrics.stage.labels(name).observe(time.perf_counter() - started)


def checked(answer: Any, most: int) -> Probe:
    """Return what the probe says, after looking at every number of it.

    Raises:
        Unreadable: it says nothing that could be a document.
    """
    try:
        pages = [
            PageProbe(index, float(page["width"]), float(page["height"]), str(page["text"])[:LONGEST_TEXT])
            for index, page in enumerate(answer["pages"][:most], start=1)
        ]
        total = int(answer["total"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        msg = "The file is damaged: its pages cannot be told apart"
        raise Unreadable(msg) from error
    if not pages or total < len(pages):
        msg = "The file has no pages"
        raise Unreadable(msg)
    return Probe(total, pages)


def take_picture(path: Path, number: int) -> bytes:
    """Return and remove a picture that a child has drawn, having made sure that it is a file, small enough, and a PNG.

    Raises:
        Unreadable: it is not.
    """
    msg = f"Page {number} could not be drawn"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise Unreadable(msg) from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_PAGE:
        os.close(descriptor)
        raise Unreadable(msg)
    with os.fdopen(descriptor, "rb") as stream:
        picture = stream.read()
    path.unlink()
    try:
        signature, chunk, width, height = _PNG_HEADER.unpack_from(picture)
    except struct.error:
        raise Unreadable(msg) from None
    if signature != b"\x89PNG\r\n\x1a\n" or chunk != b"IHDR" or not 0 < width * height <= 2 * RASTER:
        raise Unreadable(msg)
    return picture
