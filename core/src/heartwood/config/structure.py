"""Make attrs instances of what TOML and JSON say: strictly, and with every fault at once.

cattrs does the work. What it lacks is added here: nothing is coerced (``"7"`` is not 7, 1 is not true), an attrs
validator that fails is a fault of its field, all of them are reported, and unknown keys are faults.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn

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


class Unreadable(HeartwoodError):
    """A type that cannot be made from TOML or JSON, with the field that has it."""


class _Wrong(ValueError):
    """One value is not what it should be; the text says how."""


class _Several(ValueError):
    """Several things inside of one value are wrong."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.where}: {fault.message}" for fault in faults))
        self.faults = faults


def structure(
    cls: type[T], value: object, *, source: Literal["toml", "json"] = "toml", secrets: SecretResolver | None = None
) -> tuple[T | None, list[Fault]]:
    """Return an instance of ``cls`` made from ``value``, or None and everything that is wrong with it.

    A fault's ``where`` is a dotted path (``retry.max_tries``, ``hosts.0``), empty for the value itself.

    Args:
        cls: an attrs class.
        value: what TOML or JSON said, usually a dict.
        source: ``toml`` has dates and times of its own and gives a :class:`Secret` by reference; ``json`` writes both
            as text; :func:`reader` is the quick way for it.
        secrets: follows the references ``{ env = "NAME" }`` and ``{ file = "/path" }``.

    Raises:
        Unreadable: ``cls`` has a field of a type that cannot be read.
    """
    converter = _json(detailed=True) if source == "json" else _converter(toml=True, detailed=True, secrets=secrets)
    try:
        _prepare(converter, cls)
        return converter.structure(value, cls), []
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001  (validators raise what they like; each becomes a fault)
        return None, _faults(error, "")


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
    origin = _origin(cls)
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
    """Return ``; did you mean 'x'?`` where a known word is like ``word``, else the words there are."""
    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(names)}" if names else ""


def _filled(kind: Any, variables: Mapping[Any, Any]) -> Any:
    if isinstance(kind, TypeVar):
        return variables.get(kind, Any)
    inner = getattr(kind, "__parameters__", ())
    return kind[tuple(variables.get(each, Any) for each in inner)] if inner and get_origin(kind) else kind


def _prepare(converter: Converter, cls: Any) -> None:
    """Check every type below ``cls``, and register its enums (cattrs would take a ``StrEnum`` for a ``str``)."""
    _visit(converter, cls, getattr(cls, "__name__", str(cls)), set())


def _visit(converter: Converter, kind: Any, where: str, seen: set[Any]) -> None:  # noqa: C901  (one arm a kind of type)
    origin, choices = _origin(kind), choices_of(kind)
    if kind in seen:
        return
    seen.add(kind)
    if attrs.has(origin):
        for field, inner in fields_of(kind):
            if field.init:
                _visit(converter, inner, f"{origin.__name__}.{field.name}", seen)
    elif origin in _LISTS or origin in _TABLES or is_union(kind):
        for inner in get_args(kind):
            if inner is not Ellipsis and inner is not type(None):
                _visit(converter, inner, where, seen)
    elif choices is not None:
        if isinstance(kind, type):
            converter.register_structure_hook(kind, _one_of(choices))
    elif kind not in _SIMPLE and kind is not Any and kind is not Secret:
        msg = f"{where}: {kind} cannot be read; use an attrs class, an enum, a list, a dict or a simple type"
        raise Unreadable(msg)


@cache
def _json(*, detailed: bool) -> Converter:
    return _converter(toml=False, detailed=detailed, secrets=None)


def _converter(*, toml: bool, detailed: bool, secrets: SecretResolver | None) -> Converter:
    converter = Converter(detailed_validation=False, use_alias=True)
    for kind, hook in _SIMPLE.items():
        converter.register_structure_hook(kind, _native(kind, hook) if toml and kind in _TIMES else hook)
    converter.register_structure_hook(Secret, _secret(secrets) if toml else _secret_text)
    converter.register_structure_hook_factory(
        lambda kind: _origin(kind) is Literal, lambda kind: _one_of(choices_of(kind) or {})
    )
    converter.register_structure_hook_factory(
        is_union,
        lambda kind: (
            _first_that_fits(converter, kind)
            if detailed
            else _quick_optional(kind) or _first_that_fits(converter, kind)
        ),
    )
    converter.register_structure_hook_factory(
        lambda kind: (_origin(kind)) in _LISTS,
        lambda kind: _listed(converter, kind) if detailed or not _is_plain_list(kind) else _quick_list(converter, kind),
    )
    converter.register_structure_hook_factory(
        lambda kind: (_origin(kind)) in _TABLES, lambda kind: _tabled(converter, kind)
    )
    made = _field_by_field if detailed else _quick_instance
    converter.register_structure_hook_factory(lambda kind: attrs.has(_origin(kind)), lambda kind: made(converter, kind))
    return converter


def _quick_instance(converter: Converter, kind: Any) -> Hook:
    """Return what makes an attrs instance and stops at the first fault; cattrs' own check for unknown keys is slow."""
    names = frozenset(str(field.alias) for field, _ in fields_of(kind) if field.init)
    make = make_dict_structure_fn(kind, converter, _cattrs_use_alias=True, _cattrs_detailed_validation=False)

    def hook(value: Any, _: Any) -> Any:
        if not value.keys() <= names:
            raise _Wrong
        return make(value, kind)

    return hook


def _field_by_field(converter: Converter, kind: Any) -> Hook:
    """Return what makes an attrs instance and reports what is wrong with every field, its validator included."""
    fields = [(field, inner) for field, inner in fields_of(kind) if field.init]
    names = [str(field.alias) for field, _ in fields]

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _Wrong(_expected("dict", value))
        faults: list[Fault] = []
        given: dict[str, Any] = {}
        for field, inner in fields:
            if field.alias in value:
                _one(faults, str(field.alias), converter, inner, value[field.alias], given)
            elif field.default is attrs.NOTHING:
                faults.append(Fault(str(field.alias), "missing; it must be given"))
        faults += _invalid(fields, value, given)
        order = {name: place for place, name in enumerate(names)}
        faults.sort(key=lambda fault: order[fault.where.partition(".")[0]])
        faults += [Fault(key, f"unknown key{closest(key, names)}") for key in map(str, value) if key not in names]
        if faults:
            raise _Several(faults)
        return (_origin(kind))(**given)

    return hook


def _one(faults: list[Fault], where: str, converter: Converter, kind: Any, value: Any, into: Any) -> None:  # noqa: PLR0917  (one call a value)
    """Structure one inner value into ``into[where]``, or add what is wrong with it to ``faults``."""
    try:
        into[where] = converter.get_structure_hook(kind)(value, kind)
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001  (validators and converters raise what they like)
        faults += _faults(error, where)


def _invalid(
    fields: Sequence[tuple[attrs.Attribute[Any], Any]], value: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterator[Fault]:
    """Yield what the validators say. They see the other fields, except for those that are wrong or missing."""
    values = {field.name: given[str(field.alias)] for field, _ in fields if field.alias in given}
    seen = types.SimpleNamespace(**values)
    for field, _ in fields:
        if field.alias not in value and field.default is not attrs.NOTHING:
            with contextlib.suppress(AttributeError):  # a default that is made of a field which is wrong
                setattr(seen, field.name, _default(field.default, seen))
    for field, _ in fields:
        if field.validator is not None and field.name in values:
            try:
                field.validator(seen, field, values[field.name])
            except AttributeError:
                continue  # it looks at a field that could not be made, which is a fault already
            except Exception as error:  # noqa: BLE001  (validators raise what they like)
                yield Fault(str(field.alias), _said(error, field.name))


def _default(default: Any, instance: Any) -> Any:
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs' stubs call the class a function
        return default
    return default.factory(instance) if default.takes_self else default.factory()


def _said(error: Exception, name: str) -> str:
    """Return an attrs validator's sentence without the name of the field, which stands before it already."""
    text = str(error.args[0] if error.args else error)
    match = re.fullmatch(rf"'{re.escape(name)}' (.*): (.*)", text, re.DOTALL)
    return f"{match[1]}, got {match[2]}"[:300] if match else text[:300]


def _listed(converter: Converter, kind: Any) -> Hook:
    origin = _origin(kind)
    inner = [each for each in get_args(kind) if each is not Ellipsis]
    fixed = origin is tuple and Ellipsis not in get_args(kind) and bool(inner)
    make: Callable[[Any], Any] = list if origin is Sequence else origin

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise _Wrong(_expected("list", value))
        if fixed and len(value) != len(inner):
            msg = f"expected {len(inner)} values, got {len(value)}"
            raise _Wrong(msg)
        faults: list[Fault] = []
        made: dict[str, Any] = {}
        for place, each in enumerate(value):
            of = inner[place if fixed else 0] if inner else Any
            _one(faults, str(place), converter, of, each, made)
        if faults:
            raise _Several(faults)
        return make(made.values())

    return hook


def _is_plain_list(kind: Any) -> bool:
    return _origin(kind) in (list, Sequence) and len(get_args(kind)) == 1


def _quick_list(converter: Converter, kind: Any) -> Hook:
    """Return what reads a list of one type and stops at the first fault."""
    (inner,) = get_args(kind)
    hooks: list[Hook] = []

    def hook(value: Any, _: Any) -> Any:
        if value.__class__ is not list:
            raise _Wrong(_expected("list", value))
        if not hooks:  # found at the first use, for a type may hold a list of itself
            hooks.append(converter.get_structure_hook(inner))
        read = hooks[0]
        return [read(each, inner) for each in value]

    return hook


def _tabled(converter: Converter, kind: Any) -> Hook:
    of_key, of_value = get_args(kind) or (str, Any)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _Wrong(_expected("dict", value))
        faults: list[Fault] = []
        made: dict[str, Any] = {}
        keys: dict[str, Any] = {}
        for key, each in value.items():
            _one(faults, str(key), converter, of_key, key, keys)
            _one(faults, str(key), converter, of_value, each, made)
        if faults:
            raise _Several(faults)
        return {keys[key]: made[key] for key in made}

    return hook


def _quick_optional(kind: Any) -> Hook | None:
    """Return what reads ``X | None`` where X is a simple type, and stops at the fault; None for another union."""
    others = [each for each in get_args(kind) if each is not type(None)]
    read = _SIMPLE.get(others[0]) if len(others) == 1 else None
    return None if read is None else lambda value, _: None if value is None else read(value, others[0])


def _first_that_fits(converter: Converter, kind: Any) -> Hook:
    members = get_args(kind)
    others = [each for each in members if each is not type(None)]
    names = " or ".join("None" if each is type(None) else _name(each) for each in members)
    plain = all(each in _SIMPLE and each not in _TIMES for each in others)

    def hook(value: Any, _: Any) -> Any:
        if value is None and len(others) < len(members):
            return None
        errors = []
        for each in others:
            try:
                return converter.get_structure_hook(each)(value, each)
            except Unreadable:
                raise
            except Exception as error:  # noqa: BLE001  (the next member may fit)
                errors.append(error)
        if len(errors) == 1 and not plain:
            raise errors[0]
        raise _Wrong(_expected(names, value))

    return hook


def _one_of(choices: Mapping[Any, Any]) -> Hook:
    words = ", ".join(map(repr, choices))

    def hook(value: Any, _: Any) -> Any:
        for choice, member in choices.items():
            if value == choice and value.__class__ is choice.__class__:
                return member
        msg = f"expected one of {words}, got {_short(value)}"
        raise _Wrong(msg)

    return hook


def _secret(resolve: SecretResolver | None) -> Hook:
    """Return what follows a reference. The sentences never repeat what was given: it may be the secret itself."""

    def hook(value: Any, _: Any) -> Secret:
        if isinstance(value, Secret):
            return value
        reference = list(value.items()) if isinstance(value, dict) else []
        if len(reference) == 1 and reference[0][0] in ("env", "file") and isinstance(reference[0][1], str) and resolve:
            return Secret(resolve(*reference[0]))
        got = "plain text" if isinstance(value, str) else type(value).__name__
        msg = f'expected {{ env = "NAME" }} or {{ file = "/path" }}, got {got}'
        raise _Wrong(msg)

    return hook


def _secret_text(value: Any, _: Any) -> Secret:
    if not isinstance(value, str):
        msg = f"expected text, got {type(value).__name__}"
        raise _Wrong(msg)
    return Secret(value)


def _exactly(kind: type) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        if value.__class__ is not kind:
            raise _Wrong(_expected(kind.__name__, value))
        return value

    return hook


def _integer(value: Any, _: Any) -> int:
    if value.__class__ is not int:
        raise _Wrong(_expected("int", value))
    if not -_LARGEST <= value <= _LARGEST:
        msg = f"expected an int of at most 64 bits, got {_short(value)}"
        raise _Wrong(msg)
    return value


def _number(value: Any, _: Any) -> float:
    if value.__class__ not in (int, float) or not math.isfinite(value):
        raise _Wrong(_expected("float", value))
    return float(value)


def _from_text(name: str, make: Callable[[str], Any]) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        try:
            return make(value) if isinstance(value, str) else make(None)  # type: ignore[arg-type]  # raises TypeError
        except (ValueError, TypeError, AttributeError) as error:
            raise _Wrong(_expected(name, value)) from error

    return hook


def _native(kind: Any, text: Hook) -> Hook:
    """TOML has dates and times of its own; text is read as well."""

    def hook(value: Any, _: Any) -> Any:
        if value.__class__ is kind and not (kind is datetime and value.tzinfo is None):
            return value
        return text(value, kind)

    return hook


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        msg = "a date and time without its offset"
        raise ValueError(msg)
    return found.astimezone(UTC)


def _decimal(value: str) -> Decimal:
    if not _DECIMAL.fullmatch(value):
        msg = "not a decimal number"
        raise ValueError(msg)
    return Decimal(value)


def _origin(kind: Any) -> Any:
    return get_origin(kind) or kind


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _expected(what: str, value: Any) -> str:
    got = "None" if value is None else f"{type(value).__name__} {_short(value)}"
    return f"expected {what}, got {got}"


def _faults(error: Exception, where: str) -> list[Fault]:
    """Return what an error says is wrong, with ``where`` put before each place."""
    if isinstance(error, _Several):
        return [Fault(f"{where}.{each.where}".strip("."), each.message) for each in error.faults]
    return [Fault(where, str(error) or type(error).__name__)]


_SIMPLE: dict[Any, Hook] = {
    bool: _exactly(bool),
    str: _exactly(str),
    int: _integer,
    float: _number,
    datetime: _from_text("a date and time with its offset", _moment),
    date: _from_text("a date", date.fromisoformat),
    time: _from_text("a time", time.fromisoformat),
    UUID: _from_text("a UUID", UUID),
    Decimal: _from_text("a decimal number as text", _decimal),
    Path: _from_text("a path", Path),
}
_TIMES = (datetime, date, time)
