"""Reading one page with Tesseract. It runs in a child of the pool, on pictures that we made ourselves."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from typing import Any

import cv2
import numpy as np
import pytesseract
from attrs import frozen
from PIL import Image

from heartwood_ocr.preparation import Grey, prepare

PAGE, RECEIPT = 3, 6
"""Tesseract's ways of dividing a page: by itself, or as one block, which is better for receipts."""

NARROW = 1.7
"""Height to width from which a picture is taken for a receipt; A4 has 1.41."""

SMALLEST = 12
"""Pixels of the shorter side below which there is no letter to read."""

DOUBTFUL = 0.7
"""Confidence below which the page may be lying on its side."""

_QUARTERS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_PERCENT = 100
_TURN = re.compile(r"Rotate: (\d+)")


@frozen
class Reading:
    """The text of a picture, and how sure it is on average (0 to 1); None where there is no word."""

    text: str
    confidence: float | None

    @property
    def worth(self) -> float:
        """How much was read, weighted by how sure it is: what two readings are compared by."""
        return len(self.text) * (self.confidence or 0) ** 2


def read_page(image: bytes, languages: str) -> dict[str, Any]:
    """Return ``text`` and ``confidence`` of the grey PNG ``image``; ``languages`` as in ``eng+deu``."""
    grey: Grey = np.asarray(Image.open(io.BytesIO(image), formats=["PNG"]).convert("L"))
    if min(grey.shape) < SMALLEST:
        return {"text": "", "confidence": None}
    best = _read(grey, languages)
    if best.confidence is None or best.confidence < DOUBTFUL:
        turn = _turn(grey)
        if turn in _QUARTERS:
            turned: Grey = np.asarray(cv2.rotate(grey, _QUARTERS[turn]), np.uint8)
            best = max(best, _read(turned, languages), key=lambda reading: reading.worth)
    return {"text": best.text, "confidence": best.confidence}


def _read(grey: Grey, languages: str) -> Reading:
    picture = Image.fromarray(prepare(grey))
    mode = RECEIPT if picture.height > NARROW * picture.width else PAGE
    words = pytesseract.image_to_data(
        picture, lang=languages, config=f"--psm {mode}", output_type=pytesseract.Output.DICT
    )
    return assembled(words)


def assembled(data: dict[str, list[Any]]) -> Reading:
    """Put Tesseract's words together: a line each line, an empty line between paragraphs."""
    lines: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    sure = letters = 0.0
    places = zip(data["block_num"], data["par_num"], data["line_num"], strict=True)
    for place, word, confidence in zip(places, data["text"], data["conf"], strict=True):
        if not word.strip() or float(confidence) < 0:
            continue
        lines[place].append(word)
        sure += float(confidence) * len(word)
        letters += len(word)
    text, before = "", None
    for place, found in lines.items():
        if before is not None:
            text += "\n" if place[:2] == before else "\n\n"
        text, before = text + " ".join(found), place[:2]
    return Reading(text, round(sure / letters / _PERCENT, 4) if letters else None)


def _turn(grey: Grey) -> int:
    """Return the degrees by which the picture must be turned clockwise to be upright, 0 where it is not known."""
    try:
        found = _TURN.search(pytesseract.image_to_osd(Image.fromarray(grey), config="--psm 0"))
    except pytesseract.TesseractError:  # too few characters, or the orientation data is not installed
        return 0
    return int(found[1]) if found else 0
