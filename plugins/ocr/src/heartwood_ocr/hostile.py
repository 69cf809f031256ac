"""What touches bytes from outside. It runs in a sandboxed child and nowhere else.

``python -m heartwood_ocr.hostile FILE FOLDER ORDER`` writes one JSON object to standard output: ``{"problem": …}``, or
the answer to ORDER, a JSON object of ``action`` (``probe`` or ``render``), ``media_type`` and limits. Pages are drawn
into FOLDER as ``<number>.png``, grey, never more than ``raster`` pixels. Whoever reads the answer trusts none of it.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

PDF = "application/pdf"
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/tiff": "TIFF"}
POINTS_PER_INCH = 72
DPI = 200
"""Resolution at which PDF pages are rendered; Tesseract reads 150 to 200 as well as 300, and faster."""

A4 = (595.0, 842.0)
LONGEST_SIDE = 20_000
LONGEST_DRAWN = 10_000
MOST_PICTURES = 100_000
"""Pictures of one file that are counted."""

BYTE = 255
DEEP = ("I", "F")
"""Modes of pictures with more than 8 bits a pixel begin so."""


class Unreadable(Exception):
    """The file cannot be read; the sentence is for the person who sent it."""


def main() -> None:
    """Obey the order on the command line."""
    path, folder, order = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    warnings.simplefilter("ignore")  # Pillow warns of broken metadata and of large pictures, which we measure ourselves
    steps = {
        ("probe", True): probe_pdf, ("probe", False): probe_image,
        ("render", True): render_pdf, ("render", False): render_image,
    }  # fmt: skip
    try:
        answer = steps[order["action"], order["media_type"] == PDF](path, Path(folder), order)
    except Unreadable as error:
        answer = {"problem": str(error)}
    sys.stdout.write(json.dumps(answer))


@contextmanager
def _decoding(sentence: str, errors: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Turn what a decoder raises into ``sentence``: ``errors``, by default anything, for decoders raise all sorts."""
    try:
        yield
    except MemoryError:
        msg = "The file needs more memory than it may have"
        raise Unreadable(msg) from None
    except errors as error:
        raise Unreadable(sentence) from error


def probe_pdf(path: str, _: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Return the number of pages, and of each page up to ``max_pages`` its size in points and its text layer."""
    import pypdfium2  # type: ignore[import-untyped]  # noqa: PLC0415  (imported where it is needed: it is heavy)

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            msg = "The PDF is protected by a password; send it in without one"
            raise Unreadable(msg) from error
        msg = "The PDF is damaged and cannot be opened"
        raise Unreadable(msg) from error
    pages = [_text_layer(document, index) for index in range(min(len(document), order["max_pages"]))]
    return {"total": len(document), "pages": pages}


def _text_layer(document: Any, index: int) -> dict[str, Any]:
    import pypdfium2  # noqa: PLC0415

    try:
        page = document[index]
        width, height = page.get_size()
        return {"width": width, "height": height, "text": page.get_textpage().get_text_bounded()[: 1 << 20]}
    except pypdfium2.PdfiumError:  # rendering it says whether the page itself is broken
        return {"width": 0, "height": 0, "text": ""}


def render_pdf(path: str, folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Render ``pages``, a list of [number, width, height] with the size in points."""
    from pdf2image import convert_from_path  # noqa: PLC0415
    from pdf2image.exceptions import PDFPageCountError, PDFSyntaxError  # noqa: PLC0415

    for number, width, height in order["pages"]:
        longest = _longest(width, height, order["raster"])
        with _decoding("The PDF is damaged and its pages cannot be drawn", (PDFPageCountError, PDFSyntaxError)):
            images = convert_from_path(path, size=longest, first_page=number, last_page=number, grayscale=True)
            if images:
                _save(images[0], folder, number, order["raster"])
    return {}


def _longest(width: float, height: float, raster: int) -> int:
    """Return the pixels of a page's longer side; given as such, a page that lies about its size gets no more."""
    if not width or not height:
        width, height = A4
    dpi = min(DPI, math.sqrt(raster * POINTS_PER_INCH**2 / (width * height)))
    return max(1, min(LONGEST_DRAWN, round(max(width, height) * dpi / POINTS_PER_INCH)))


def probe_image(path: str, _: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Return the number of pictures in the file, and the size in pixels of each; nothing is decoded.

    Where a picture of several is damaged, those behind it may not be found either; it is the last that is counted.
    """
    image = _open(path, order)
    total = _count(image) if order["media_type"] == "image/tiff" else 1
    pages = []
    for index in range(min(total, order["max_pages"])):
        try:
            _seek(image, index, order)
        except Unreadable:  # drawing it says why
            if total == 1:
                raise
            pages.append({"width": 0, "height": 0, "text": ""})
        else:
            pages.append({"width": image.width, "height": image.height, "text": ""})
    return {"total": total, "pages": pages}


def _count(image: Any) -> int:
    """Return how many pictures there are, up to the first that cannot be found, which is one of them."""
    for number in range(1, MOST_PICTURES):
        try:
            image.seek(number)
        except EOFError:
            return number
        except Exception:  # noqa: BLE001  (decoders raise all sorts)
            return number + 1
    return MOST_PICTURES


def render_image(path: str, folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Draw ``pages`` (numbers first), upright by their EXIF turn, grey, on white; not the damaged among several."""
    image = _open(path, order)
    for number, *_ in order["pages"]:
        try:
            _draw(image, folder, number, order)
        except Unreadable:
            if number == 1 and _count(image) == 1:
                raise
    return {}


def _draw(image: Any, folder: Path, number: int, order: dict[str, Any]) -> None:
    from PIL import ImageOps  # noqa: PLC0415  (imported where it is needed: it is heavy)

    _seek(image, number - 1, order)
    shrink = math.sqrt(order["raster"] / (image.width * image.height))
    if shrink < 1 and image.format == "JPEG":
        image.draft("L", (int(image.width * shrink), int(image.height * shrink)))
    with _decoding("The picture is damaged"):
        _save(_grey(ImageOps.exif_transpose(image)), folder, number, order["raster"])


def _open(path: str, order: dict[str, Any]) -> Image.Image:
    from PIL import Image  # noqa: PLC0415

    Image.MAX_IMAGE_PIXELS = None  # `_seek` measures instead, with a sentence
    with _decoding("The picture is damaged and cannot be opened"):
        return Image.open(path, formats=[FORMATS[order["media_type"]]])


def _seek(image: Image.Image, index: int, order: dict[str, Any]) -> None:
    with _decoding(f"Picture {index + 1} of the file is damaged"):
        image.seek(index)
    if image.width * image.height > order["max_pixels"] or max(image.size) > LONGEST_SIDE:
        most = order["max_pixels"] // 10**6
        msg = f"The picture is too large: {image.width} x {image.height} pixels, of at most {most} million"
        raise Unreadable(msg)


def _grey(image: Image.Image) -> Image.Image:
    """Return the picture as 8-bit grey; what is transparent becomes white."""
    from PIL import Image  # noqa: PLC0415

    if image.mode.startswith(DEEP):
        high: Any = image.getextrema()[1]
        scale = BYTE / max(high, BYTE)
        return image.convert("F").point(lambda value: value * scale).convert("L")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("L")
    return image.convert("L" if image.mode in {"1", "L", "RGB"} else "RGB").convert("L")


def _save(image: Image.Image, folder: Path, number: int, raster: int) -> None:
    shrink = math.sqrt(raster / (image.width * image.height))
    if shrink < 1:
        image = image.resize((max(1, int(image.width * shrink)), max(1, int(image.height * shrink))))
    image.save(folder / f"{number}.png", compress_level=1)


if __name__ == "__main__":
    main()
