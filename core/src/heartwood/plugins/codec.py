"""JSON to attrs values and back: request bodies, answers, job payloads, events."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from pathlib import PurePath
from typing import Any, TypeVar, cast
from uuid import UUID

import attrs
import orjson

from heartwood.config.structure import Unreadable, reader, structure
from heartwood.contracts.errors import Fault, HeartwoodError, Invalid

T = TypeVar("T")
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class CannotEncode(HeartwoodError):
    """A value that JSON cannot say."""


def decode(cls: type[T], data: bytes) -> T:
    """Return an instance of ``cls`` made from JSON, strictly.

    Raises:
        Invalid: it is not JSON, or not what ``cls`` wants; every fault is listed.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        msg = "The body is not JSON"
        raise Invalid(msg, faults=[Fault("", str(error))]) from error
    try:
        return cast("T", reader(cast("Any", cls))(value, cls))
    except Unreadable:
        raise
    except Exception:  # noqa: BLE001, S110  (whatever it was, the slow pass says it in words)
        pass
    made, faults = structure(cls, value, source="json")
    if faults or made is None:
        msg = f"The body has {len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise Invalid(msg, faults=faults)
    return made


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON. A ``Decimal`` becomes text, a moment RFC 3339 in UTC, an attrs instance an object.

    Raises:
        CannotEncode: there is something in it that JSON cannot say, such as bytes, a secret or a moment without zone.
    """
    try:
        return orjson.dumps(value, _plain, OPTIONS)
    except TypeError as error:
        msg = f"{type(value).__name__} cannot be written as JSON: {error.__cause__ or error}"
        raise CannotEncode(msg) from error


@cache
def _names(cls: type) -> tuple[tuple[str, str], ...] | None:
    """Return what JSON and Python call the fields of an attrs class; None for another one."""
    return tuple((str(field.alias), field.name) for field in attrs.fields(cls)) if attrs.has(cls) else None


def _plain(value: Any) -> Any:
    cls = value.__class__
    names = _names(cls)
    if names is not None:
        return {alias: getattr(value, name) for alias, name in names}
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | PurePath | UUID):  # asyncpg's UUID is a subclass, which orjson does not know
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    msg = f"{cls.__name__} has no form in JSON"
    raise TypeError(msg)


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        msg = f"{value.isoformat()} has no time zone"
        raise TypeError(msg)
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
