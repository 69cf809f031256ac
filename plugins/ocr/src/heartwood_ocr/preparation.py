"""Making a picture of a page easy to read: even light, straight lines, a size that Tesseract likes.

Measured on skewed, dark and noisy pages and on receipts: straightening and evening out repair what a plain run cannot
read, reduction makes large pictures both quicker and better, and thresholding of one's own harms.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Grey = np.ndarray[Any, np.dtype[np.uint8]]

SMALL_SIDE = 900
LARGE_SIDE = 1700
MOST_ENLARGED = 2.0
STEEPEST = 6.0
"""Degrees of skew that are looked for."""

_SKETCH = 700
_MARGIN = 16
_WHITE = 255
_LEAST_ANGLE = 0.15


def prepare(grey: Grey) -> Grey:
    """Return the page evened out, straightened and sized, with a white margin."""
    even = even_light(resized(grey))
    straight = turned(even, skew(even))
    smooth = cv2.GaussianBlur(straight, (3, 3), 0)
    return _grey(cv2.copyMakeBorder(smooth, _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_CONSTANT, value=_WHITE))


def resized(grey: Grey) -> Grey:
    """Return the page with its shorter side between 900 and 1700 pixels, enlarged at most twice."""
    side = min(grey.shape)
    factor = min(SMALL_SIDE / side, MOST_ENLARGED) if side < SMALL_SIDE else min(1.0, LARGE_SIDE / side)
    if factor == 1:
        return grey
    way = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return _grey(cv2.resize(grey, None, fx=factor, fy=factor, interpolation=way))


def even_light(grey: Grey) -> Grey:
    """Divide by the background, so that shadows and yellowed paper become white."""
    small = cv2.resize(grey, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    background = cv2.medianBlur(cv2.dilate(small, np.ones((7, 7), np.uint8)), 21)
    full = cv2.resize(background, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return _grey(cv2.divide(grey, full, scale=_WHITE))


def skew(grey: Grey) -> float:
    """Return the angle in degrees by which lines of text rise to the right, found by the sharpest row profile."""
    factor = min(1.0, _SKETCH / max(grey.shape))
    sketch = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    _, ink = cv2.threshold(sketch, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    coarse = max(np.arange(-STEEPEST, STEEPEST + 0.5, 0.5), key=lambda angle: _sharpness(ink, float(angle)))
    fine = max(np.arange(coarse - 0.4, coarse + 0.5, 0.1), key=lambda angle: _sharpness(ink, float(angle)))
    return float(-fine)


def _sharpness(ink: Any, angle: float) -> float:
    rows = _rotate(ink, angle, 0).sum(axis=1, dtype=np.float64)
    return float(np.square(np.diff(rows)).sum())


def turned(grey: Grey, angle: float) -> Grey:
    """Return the page turned clockwise by ``angle`` degrees, filled up with white."""
    return grey if abs(angle) < _LEAST_ANGLE else _grey(_rotate(grey, -angle, _WHITE))


def _rotate(picture: Any, angle: float, fill: int) -> Any:
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=fill)


def _grey(picture: Any) -> Grey:
    made: Grey = np.asarray(picture, np.uint8)
    return made
