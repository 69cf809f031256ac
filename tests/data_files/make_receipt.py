"""Draws ``receipt.jpg``: a receipt as a telephone sees it, on a table, a little turned, under uneven light.

``python tests/data_files/make_receipt.py`` writes it again. Shop, address and numbers are invented.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"
LINES = """
      MEADOW HARDWARE
     14 Copper Lane, Ashby
     Tel. 01632 960 114

Date: 2026-03-14   10:42
Receipt no. 004417
------------------------
Brass hinge 75mm
   4 x 3.20        12.80
Wood screws 4x40
   1 x 5.45         5.45
Linseed oil 1l
   1 x 14.90       14.90
Sandpaper grit 120
   6 x 0.80         4.80
------------------------
Subtotal           37.95
VAT 20%             7.59
TOTAL              45.54
Card               45.54

 Thank you and good day
"""


def draw() -> Image.Image:
    """Return the photograph."""
    paper = Image.new("L", (720, 1240), 244)
    ImageDraw.Draw(paper).multiline_text((50, 30), LINES.strip("\n"), 28, ImageFont.truetype(FONT, 40), spacing=10)
    table = Image.new("L", (860, 1400), 120)
    turned = paper.rotate(2.2, Image.Resampling.BICUBIC, expand=True, fillcolor=120)
    table.paste(turned, ((table.width - turned.width) // 2, (table.height - turned.height) // 2))
    pixels = np.asarray(table.filter(ImageFilter.GaussianBlur(0.7)), np.float64)
    rows, columns = np.indices(pixels.shape)
    light = 1.0 - 0.25 * rows / pixels.shape[0] - 0.15 * columns / pixels.shape[1]
    noise = np.random.default_rng(14).normal(0, 5, pixels.shape)
    return Image.fromarray(np.clip(pixels * light + noise, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("receipt.jpg"), quality=70)
