"""Cursors: opaque text that says where the next page of a list begins."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any
from uuid import UUID

from heartwood.contracts.errors import Fault, Invalid

LONGEST = 1024
BIGINT = range(-(2**63), 2**63)
"""What PostgreSQL can compare a column with."""
READERS: dict[type, Any] = {datetime: datetime.fromisoformat, UUID: UUID}


def encode_cursor(*values: str | float | datetime | UUID | None) -> str:
    """Return a cursor that holds the sort key of the last row that was shown."""
    plain = [str(value) if isinstance(value, (datetime, UUID)) else value for value in values]
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Return the values in ``cursor``, which must be one of each of ``kinds`` (str, int, float, datetime, UUID).

    Raises:
        Invalid: the cursor was not made by the list that reads it.
    """
    try:
        values = _plain(cursor)
        return tuple(_read(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, TypeError, RecursionError) as error:
        fault = Fault("cursor", "not a cursor of this list; take `next` of the page before, or leave it out")
        msg = "The cursor cannot be used"
        raise Invalid(msg, faults=[fault]) from error


def _plain(cursor: str) -> list[Any]:
    if len(cursor) > LONGEST:
        raise ValueError(cursor)
    values = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if not isinstance(values, list):
        raise TypeError(values)
    return values


def _read(value: Any, kind: Any) -> Any:
    if kind in READERS:
        return READERS[kind](value)
    if type(value) is kind or (kind is float and type(value) is int):
        if kind is int and value not in BIGINT:
            raise ValueError(value)
        return kind(value)
    raise TypeError(value)
