"""Reading the parts of a path and query: text becomes numbers, moments, enums, and what else JSON would have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from heartwood.config.structure import choices_of

Convert = Callable[[str], Any]

INTEGER = re.compile(r"-?[0-9]{1,18}")


def text_reader(kind: Any) -> Convert | None:
    """Return what reads a ``kind`` from the text of a path or query, raising ``ValueError`` with words; or None."""
    choices = choices_of(kind)
    if choices is not None:
        return _choice({str(written): member for written, member in choices.items()})
    found: Convert | None = READERS.get(kind)
    return found


def _choice(choices: Mapping[str, Any]) -> Convert:
    def convert(text: str) -> Any:
        if text not in choices:
            msg = f"expected one of {', '.join(map(repr, choices))}, got {text[:60]!r}"
            raise ValueError(msg)
        return choices[text]

    return convert


def _integer(text: str) -> int:
    if not INTEGER.fullmatch(text):
        msg = f"expected a whole number, got {text[:60]!r}"
        raise ValueError(msg)
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number != number or abs(number) == float("inf"):  # noqa: PLR0124  (NaN)
        msg = f"expected a number, got {text[:60]!r}"
        raise ValueError(msg)
    return number


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        msg = f"expected a UUID, got {text[:60]!r}"
        raise ValueError(msg) from None


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        msg = f"expected a date and time with its offset, got {text[:60]!r}"
        raise ValueError(msg)
    return found


READERS: dict[Any, Convert] = {
    str: str,
    int: _integer,
    float: _number,
    bool: _choice({"true": True, "false": False}),
    UUID: _uuid,
    datetime: _moment,
}
