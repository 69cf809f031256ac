"""Published revisions never change: a list of their hashes stands beside them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIST = "published.sha256"
"""In the form of ``sha256sum``: one line a file, paths relative to the folder ``versions``."""


def changed_since_published(folder: Path) -> list[str]:
    """Return a sentence for every published file of ``folder`` that is gone or not what was published."""
    listed = folder / LIST
    if not listed.is_file():
        return []
    lines = [line.split(maxsplit=1) for line in listed.read_text().splitlines() if line]
    return [
        f"{name} changed after it was published; put it back, and write a new revision"
        for expected, name in lines
        if not (folder / name).is_file() or hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected
    ]
