"""What a settings class says of its fields: their keys, their types, and how text becomes a value."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import attrs

from heartwood.config.structure import fields_of
from heartwood.config.toml import Key, toml_value
from heartwood.contracts.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_AS_TOML = (bool, int, float, list, tuple, set, frozenset, dict, Sequence, Mapping)


def members(kind: Any) -> tuple[Any, ...]:
    """Return the types that ``kind`` allows, without None."""
    if get_origin(kind) not in (Union, types.UnionType):
        return (kind,)
    return tuple(inner for inner in get_args(kind) if inner is not type(None))


def nested(kind: Any) -> type | None:
    """Return the settings class that ``kind`` is or allows, or None."""
    return next((inner for inner in members(kind) if isinstance(inner, type) and attrs.has(inner)), None)


def leaves(cls: type, above: Key = ()) -> Iterator[tuple[Key, tuple[str, ...]]]:
    """Yield every setting below ``cls``: its key and the further environment variables that set it."""
    for field, kind in fields_of(cls):
        inner = nested(kind)
        if inner:
            yield from leaves(inner, (*above, field.name))
        else:
            yield (*above, field.name), tuple(field.metadata.get("env", ()))


def kind_at(cls: type, key: Key) -> Any:
    """Return the type of the setting ``key``, or None where there is none; what is inside of a table is ``Any``."""
    kind: Any = cls
    for part in key:
        inner = nested(kind)
        if inner is None:
            return Any if any((get_origin(each) or each) in _READ_AS_TOML for each in members(kind)) else None
        kind = next((found for field, found in fields_of(inner) if field.name == part), None)
    return kind


def shows_value(cls: type, key: Key) -> bool:
    """Whether the value of ``key`` may be printed: it is a known setting of a simple type, and so no secret."""
    return all(kind in (bool, int, float, str) for kind in members(kind_at(cls, key)))


def typed(text: str, kind: Any, *, secret: bool) -> Any:
    """Return the value that ``text`` means for a setting of type ``kind``.

    Numbers, truth, lists and tables are written as in TOML; a list may also be words between commas. Everything else
    is the text itself.

    Args:
        text: as it was given.
        kind: the type of the setting, or None where there is no such setting.
        secret: whether plain text may become a :class:`Secret`. A command line shows it to everybody on the machine.
    """
    value = toml_value(text)
    kinds = members(kind)
    if Secret in kinds:
        return Secret(text) if secret and not isinstance(value, dict) else value
    if kind is None or kind is Any or nested(kind) or isinstance(value, str):
        return _words(text) if value is text and _is_list(kinds) else value
    return value if any((get_origin(each) or each) in _READ_AS_TOML for each in kinds) else text


def _is_list(kinds: tuple[Any, ...]) -> bool:
    return any((get_origin(each) or each) in (list, tuple, set, frozenset, Sequence) for each in kinds)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
