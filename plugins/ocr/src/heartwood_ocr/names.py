"""File names and text from outside: kept as text for people, never used as a path, a header or markup."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

LONGEST_NAME = 255
"""Bytes of a name in UTF-8, as most file systems have it."""

MARK_START, MARK_END = "\ue000", "\ue001"
"""Private characters between which a search marks its matches; clean text never holds them."""

_KEPT_CONTROLS = "\n\t"
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HEADER_SAFE = "!#$&+-.^_`|~"


def clean_text(text: str) -> str:
    """Return ``text`` without what PostgreSQL or a terminal cannot take: NUL, controls, surrogates, our marks."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    return "".join(filter(_is_text, unicodedata.normalize("NFC", text)))


def _is_text(character: str) -> bool:
    if character in _KEPT_CONTROLS:
        return True
    return unicodedata.category(character) not in {"Cc", "Cs"} and character not in {MARK_START, MARK_END}


def clean_name(name: str | None) -> str:
    """Return the last part of a file name, on one line, without direction marks, at most 255 bytes long.

    The ending is kept where the name is cut. A name that has nothing left becomes ``document``.
    """
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    shown = "".join(each for each in clean_text(last) if each not in _BIDI and each not in _KEPT_CONTROLS).strip()
    if not shown.strip("."):
        return "document"
    stem, dot, ending = shown.rpartition(".")
    ending = dot + ending if stem and len(ending) <= 16 else ""  # noqa: PLR2004  (longer is no file ending)
    return _cut(shown.removesuffix(ending), LONGEST_NAME - len(ending.encode())) + ending


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def attachment(name: str) -> str:
    """Return a ``Content-Disposition`` that makes a browser save the file under ``name`` (RFC 6266, RFC 8187)."""
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_HEADER_SAFE)}"


def marked(headline: str) -> tuple[str, list[list[int]]]:
    """Split a text with marks into plain text and the (start, end) of each match in it."""
    parts: list[str] = []
    matches: list[list[int]] = []
    length = 0
    for index, piece in enumerate(headline.split(MARK_START)):
        inside, end, after = piece.partition(MARK_END)
        if index and end:
            matches.append([length, length + len(inside)])
        parts += (inside, after)
        length += len(inside) + len(after)
    return "".join(parts), matches
