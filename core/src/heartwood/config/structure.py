"""Make attrs instances of what TOML and JSON say: strictly, and with every fault at once.

cattrs does the work. What it lacks is added here: nothing is coerced (``"7"`` is not 7, 1 is not true), an attrs
validator that fails is a fault of its field, all of them are reported, and unknown keys are faults.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter

from heartwood.contracts.errors import Fault, HeartwoodError
from heartwood.contracts.settings import Secret

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]
SecretResolver = Callable[[str, str], str]
"""Given ``"env"`` or ``"file"`` and the name behind it, returns the text, or raises with a sentence."""

_DECIMAL = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
_LARGEST = 2**63 - 1
_LONGEST = 60
_LISTS = (list, tuple, set, frozenset, Sequence)
_TABLES = (dict, Mapping)
_NAMES = {
    bool: "true or false",
    str: "text",
    datetime: "a date and time with its offset",
    date: "a date",
    time: "a time",
}


class Unreadable(HeartwoodError):  # noqa: N818  (reads as the fact it states)
    """A type that cannot be made from TOML or JSON, with the field that has it."""


class _Wrong(ValueError):
    """One value is not what it should be; the text says how."""


def structure(
    cls: type[T], value: object, *, source: Literal["toml", "json"] = "toml", secrets: SecretResolver | None = None
) -> tuple[T | None, list[Fault]]:
    """Return an instance of ``cls`` made from ``value``, or None and everything that is wrong with it.

    A fault's ``where`` is a dotted path (``retry.max_tries``, ``hosts.0``), empty for the value itself.

    Args:
        source: ``toml`` has dates and times of its own and gives a :class:`Secret` by reference; ``json`` writes both
            as text, and is quick when nothing is wrong.
        secrets: follows the references ``{ env = "NAME" }`` and ``{ file = "/path" }``.

    Raises:
        Unreadable: ``cls`` has a field of a type that cannot be read.
    """
    if source == "json":
        try:
            return typing.cast("T", reader(cls)(value, cls)), []
        except Unreadable:
            raise
        except Exception:  # noqa: BLE001, S110  (whatever it was, the slow pass says it in words)
            pass
    converter = _json(detailed=True) if source == "json" else _converter(toml=True, detailed=True, secrets=secrets)
    try:
        _prepare(converter, cls)
        return converter.structure(value, cls), []
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001  (validators raise what they like; each becomes a fault)
        return None, list(_faults(error, ""))


@cache
def reader(cls: Any) -> Hook:
    """Return the quick ``(value, cls) -> instance`` for JSON; it stops at the first fault and raises anything.

    Raises:
        Unreadable: ``cls`` has a field of a type that cannot be read.
    """
    converter = _json(detailed=False)
    _prepare(converter, cls)
    return converter.get_structure_hook(cls)


def fields_of(cls: Any) -> list[tuple[attrs.Attribute[Any], Any]]:
    """Return the attrs fields of a class (also of ``Page[X]``) with their types, strings and type variables resolved.

    Raises:
        Unreadable: an annotation names what is not known at run time.
    """
    origin = get_origin(cls) or cls
    try:
        attrs.resolve_types(origin, include_extras=True)
    except NameError as error:
        msg = f"{origin.__name__}: {error}; import it at run time, outside `if TYPE_CHECKING`"
        raise Unreadable(msg) from error
    variables = dict(zip(getattr(origin, "__parameters__", ()), get_args(cls), strict=False))
    return [(field, _filled(field.type, variables)) for field in attrs.fields(origin)]


def choices_of(kind: Any) -> dict[Any, Any] | None:
    """Return what an Enum or a Literal allows, as it is written, with what it becomes; None for another type."""
    if get_origin(kind) is Literal:
        members: Iterable[Any] = get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        members = kind
    else:
        return None
    return {member.value if isinstance(member, Enum) else member: member for member in members}


def is_union(kind: Any) -> bool:
    """Whether ``kind`` is ``X | Y``."""
    return get_origin(kind) in (Union, types.UnionType)


def closest(word: str, known: Iterable[str]) -> str:
    """Return ``: did you mean 'x'?`` where a known word is like ``word``, else the words there are."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, 1)
    if near:
        return f": did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def _filled(kind: Any, variables: Mapping[Any, Any]) -> Any:
    if isinstance(kind, TypeVar):
        return variables.get(kind, Any)
    inner = getattr(kind, "__parameters__", ())
    return kind[tuple(variables.get(each, Any) for each in inner)] if inner and get_origin(kind) else kind


def _prepare(converter: Converter, cls: Any) -> None:
    """Check every type below ``cls``, and register its enums (cattrs would take a ``StrEnum`` for a ``str``)."""
    _visit(converter, cls, getattr(cls, "__name__", str(cls)), set())


def _visit(converter: Converter, kind: Any, where: str, seen: set[Any]) -> None:
    origin, choices = get_origin(kind) or kind, choices_of(kind)
    if kind in seen:
        return
    seen.add(kind)
    if attrs.has(origin):
        for field, inner in fields_of(kind):
            if field.init:
                _visit(converter, inner, f"{origin.__name__}.{field.name}", seen)
    elif origin in _LISTS or origin in _TABLES or is_union(kind) or origin is Annotated:
        for inner in get_args(kind)[: 1 if origin is Annotated else None]:
            if inner is not Ellipsis and inner is not type(None):
                _visit(converter, inner, where, seen)
    elif choices is not None:
        if isinstance(kind, type):
            converter.register_structure_hook(kind, _one_of(choices))
    elif kind not in _HOOKS and kind is not Any and kind is not Secret:
        msg = f"{where}: {kind} cannot be read; use an attrs class, an enum, a list, a dict or a simple type"
        raise Unreadable(msg)


@cache
def _json(*, detailed: bool) -> Converter:
    return _converter(toml=False, detailed=detailed, secrets=None)


def _converter(*, toml: bool, detailed: bool, secrets: SecretResolver | None) -> Converter:
    converter = Converter(detailed_validation=detailed, forbid_extra_keys=True, use_alias=True)
    for kind, hook in _HOOKS.items():
        converter.register_structure_hook(kind, hook)
    if toml:
        for kind in (datetime, date, time):
            converter.register_structure_hook(kind, _native(kind, _HOOKS[kind]))
    converter.register_structure_hook(Secret, _secret(toml=toml, resolve=secrets))
    converter.register_structure_hook_factory(lambda kind: get_origin(kind) is Literal, _literal)
    converter.register_structure_hook_factory(_is_mixed, _first_that_fits)
    for kinds, name in ((_LISTS, "a list"), (_TABLES, "a table")):
        _guard(converter, kinds, name)
    if detailed:
        converter.register_structure_hook_factory(lambda kind: attrs.has(get_origin(kind) or kind), _field_by_field)
    return converter


def _guard(converter: Converter, kinds: tuple[Any, ...], name: str) -> None:
    """Let cattrs iterate over lists (and tables) only: it would take a text for a list of letters."""
    plain = Converter.get_structure_hook
    busy: list[Any] = []

    def wanted(kind: Any) -> bool:
        return (get_origin(kind) or kind) in kinds and kind not in busy

    def guarded(kind: Any) -> Hook:
        busy.append(kind)
        try:
            inner = plain(converter, kind, cache_result=False)
        finally:
            busy.remove(kind)
        native = dict if name == "a table" else list

        def hook(value: Any, _: Any) -> Any:
            if value.__class__ is not native:
                raise _Wrong(_expected(name, value))
            return inner(value, kind)

        return hook

    converter.register_structure_hook_factory(wanted, guarded)
