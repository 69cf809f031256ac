"""Whether Tesseract is there, and which of the wanted languages it has."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from attrs import define, frozen

from heartwood.api import HeartwoodError

if TYPE_CHECKING:
    from collections.abc import Sequence

TRUSTED = 60.0
"""Seconds for which an answer is believed."""

_PATIENCE = 10.0


class ToolMissing(HeartwoodError):
    """Nothing can be recognised on this machine now; the sentence says what to install."""


@frozen
class Languages:
    """What Tesseract can read of what is wanted, and what it lacks."""

    present: tuple[str, ...]
    absent: tuple[str, ...]


@define
class Tesseract:
    """The program, asked at most once a minute."""

    wanted: Sequence[str]
    _known: frozenset[str] | None = None
    _asked: float = 0.0

    async def languages(self) -> Languages:
        """Return which of the wanted languages are installed.

        Raises:
            ToolMissing: the program is not there, or it has none of them.
        """
        if self._known is None or time.monotonic() - self._asked > TRUSTED:
            self._known, self._asked = None, time.monotonic()
            self._known = await asyncio.to_thread(_installed)
        present = tuple(name for name in self.wanted if name in self._known)
        if not present:
            msg = f"Tesseract has none of the languages {', '.join(self.wanted)}: install {_packages(self.wanted)}"
            raise ToolMissing(msg)
        return Languages(present, tuple(name for name in self.wanted if name not in self._known))

    async def check(self) -> str | None:
        """Say what the text of pictures can be read with; raises :class:`ToolMissing` where something is not there."""
        languages = await self.languages()
        if languages.absent:
            msg = f"Tesseract lacks {', '.join(languages.absent)}: install {_packages(languages.absent)}"
            raise ToolMissing(msg)
        can_draw()
        return f"Tesseract reads {', '.join(languages.present)}"


def can_draw() -> None:
    """Raise :class:`ToolMissing` where the pages of a PDF cannot be drawn."""
    if shutil.which("pdftoppm") is None:
        msg = "pdftoppm is not installed, so scanned PDFs cannot be read: install poppler-utils"
        raise ToolMissing(msg)


def _installed() -> frozenset[str]:
    try:
        done = subprocess.run(
            ["tesseract", "--list-langs"], capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except FileNotFoundError:
        msg = "Tesseract is not installed: install tesseract-ocr"
        raise ToolMissing(msg) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"Tesseract does not answer: {error}"
        raise ToolMissing(msg) from error
    return frozenset(done.stdout.split("\n")[1:])


def _packages(languages: Sequence[str]) -> str:
    return " ".join(f"tesseract-ocr-{name}" for name in languages)
