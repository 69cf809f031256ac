"""JSON schemas of the types in handlers' signatures, for the API's documentation.

They say what :mod:`heartwood.config.structure` accepts and :mod:`heartwood.plugins.codec` writes. A class that is read
and one that is written have schemas of their own: what has a default may be left out of a body, and is always there in
an answer.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin
from uuid import UUID

import attrs
import orjson
from attrs import define, field

from heartwood.config.structure import choices_of, fields_of, is_union
from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.settings import Secret
from heartwood.plugins.codec import CannotEncode, encode

Schema = dict[str, Any]

SHARED = "heartwood.contracts."
"""Classes of these modules have the same name whichever plugin speaks of them; others have their plugin's before it."""

_LISTS = (list, tuple, set, frozenset, Sequence)
_PYTHON_ONLY = re.compile(r"\(\?P|\(\?[aiLmsux]|\\[AZ]")
_SIMPLE: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number"},
    NoneType: {"type": "null"},
    None: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    UUID: {"type": "string", "format": "uuid"},
    Decimal: {"type": "string", "format": "decimal"},
    Path: {"type": "string"},
    Secret: {"type": "string", "format": "password", "writeOnly": True},
    Any: {},
}


class NoSchema(HeartwoodError):
    """A type that JSON cannot say, with the place that has it."""


@define
class Schemas:
    """The schemas of one document; ``named`` holds those of classes, to which the others refer.

    A name is ``Document`` for a class of the contracts and ``ocr.ListedDocument`` for a plugin's own, whatever else is
    installed; ``PageOfDocument`` is ``Page[Document]``, and ``CorrectionInput`` is how a body is read.
    """

    named: dict[str, Schema] = field(factory=dict)
    _names: dict[tuple[str, Any, bool], str] = field(factory=dict)

    def of(self, plugin: str, kind: Any, *, written: bool, where: str = "") -> Schema:
        """Return the schema of ``kind`` as ``plugin`` speaks of it.

        Args:
            plugin: whose route it is.
            kind: a type.
            written: whether the hub writes it (an answer) or reads it (a body, a parameter).
            where: what has the type, for the sentence of an error.

        Raises:
            NoSchema, Unreadable: the type cannot be in JSON, or is not known at run time.
        """
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        return self._composed(plugin, kind, written, where or str(kind))

    def _composed(self, plugin: str, kind: Any, written: bool, where: str) -> Schema:
        origin, inner = get_origin(kind) or kind, get_args(kind)
        choices = choices_of(kind)
        if attrs.has(origin) or (choices is not None and isinstance(kind, type)):
            return {"$ref": f"#/components/schemas/{self._name(plugin, kind, written and choices is None)}"}
        if choices is not None:
            return {"enum": list(choices)}
        each = [self.of(plugin, of, written=written, where=where) for of in inner if of is not Ellipsis]
        if is_union(kind):
            return {"anyOf": each}
        if origin is tuple and inner and Ellipsis not in inner:
            return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
        if origin in _LISTS:
            return {"type": "array", "items": each[0] if each else {}}
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": each[1] if each else {}}
        msg = f"{where}: {getattr(kind, '__name__', kind)} has no form in JSON"
        raise NoSchema(msg)

    def _name(self, plugin: str, kind: Any, written: bool) -> str:
        """Return the name of a class's schema, which is made the first time; it may refer to itself."""
        key = (plugin, kind, written)
        if key in self._names:
            return self._names[key]
        is_enum = choices_of(kind) is not None
        name = _title(kind) if written or is_enum else f"{_title(kind)}Input"
        name = name if _is_shared(kind) else f"{plugin}.{name}"
        owner = next((made for made, taken in self._names.items() if taken == name), key)
        if owner[1:] != key[1:]:
            name = f"{kind.__module__}.{name.rpartition('.')[2]}"
        self._names[key] = name
        if name not in self.named:
            self.named[name] = {}
            self.named[name] = _enum(kind) if is_enum else self._object(plugin, kind, written)
        return name

    def _object(self, plugin: str, kind: Any, written: bool) -> Schema:
        properties: dict[str, Schema] = {}
        required = []
        for each, inner in fields_of(kind):
            if not (each.init or written):
                continue
            key = str(each.alias)
            schema = self.of(plugin, inner, written=written, where=f"{_title(kind)}.{each.name}")
            properties[key] = schema if written else constrained(schema, each.validator)
            if "help" in each.metadata:
                properties[key]["description"] = each.metadata["help"]
            if written or each.default is attrs.NOTHING:
                required.append(key)
            else:
                properties[key] |= default_of(each.default)
        made: Schema = {"type": "object", **_described(kind), "properties": properties}
        if required:
            made["required"] = required
        return made if written else {**made, "additionalProperties": False}


def default_of(value: Any) -> Schema:
    """Return ``{"default": …}`` where a default is a value that JSON can say, else nothing."""
    if value is None or hasattr(value, "takes_self"):
        return {}
    try:
        return {"default": orjson.loads(encode(value))}
    except CannotEncode:
        return {}


def constrained(schema: Schema, validator: Any) -> Schema:
    """Return ``schema`` with what attrs' own validators demand; what JSON schema cannot say is left out."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [constrained(each, validator) for each in schema["anyOf"]]}
    for inner in getattr(validator, "_validators", ()):
        schema = constrained(schema, inner)
    if hasattr(validator, "validator") and not hasattr(validator, "msg"):  # attrs' optional(), and not its not_()
        return constrained(schema, validator.validator)
    if isinstance(schema.get("items"), dict) and hasattr(validator, "member_validator"):
        schema = {**schema, "items": constrained(schema["items"], validator.member_validator)}
        return constrained(schema, validator.iterable_validator)
    return {**schema, **_demanded(schema, validator)}


def _demanded(schema: Schema, validator: Any) -> Schema:
    """Return what one validator demands of a value of this schema."""
    kind = schema.get("type")
    if kind in ("integer", "number") and hasattr(validator, "compare_op"):
        return {_BOUNDS[validator.compare_op]: validator.bound}
    if kind in _LENGTHS and hasattr(validator, "min_length"):
        return {f"min{_LENGTHS[kind]}": validator.min_length}
    if kind in _LENGTHS and hasattr(validator, "max_length"):
        return {f"max{_LENGTHS[kind]}": validator.max_length}
    if kind == "string" and hasattr(validator, "match_func"):
        return _pattern(validator.pattern, validator.match_func.__name__)
    if kind != "null" and hasattr(validator, "options"):
        options = (each.value if isinstance(each, Enum) else each for each in validator.options)
        return {"enum": sorted(options, key=str)}  # a set has no order, and the document must have one
    return {}


_BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
_LENGTHS = {"string": "Length", "array": "Items", "object": "Properties"}


def _pattern(pattern: re.Pattern[str], way: str) -> Schema:
    if _PYTHON_ONLY.search(pattern.pattern) or pattern.flags != re.UNICODE:
        return {}
    start, end = {"fullmatch": ("^(?:", ")$"), "match": ("^(?:", ")"), "search": ("", "")}[way]
    return {"pattern": f"{start}{pattern.pattern}{end}"}


def _enum(kind: Any) -> Schema:
    return {**_described(kind), "enum": list(choices_of(kind) or ())}


def _described(kind: Any) -> Schema:
    text = (get_origin(kind) or kind).__doc__
    return {"description": inspect.cleandoc(text)} if text else {}


def _title(kind: Any) -> str:
    """Return ``PageOfDocument`` for ``Page[Document]``."""
    if is_union(kind):
        return "Or".join(_title(each) for each in get_args(kind))
    name = str(getattr(get_origin(kind) or kind, "__name__", kind))
    name = re.sub(r"[^A-Za-z0-9_]", "", name[0].upper() + name[1:])
    return "Of".join((name, *(_title(each) for each in get_args(kind) if each is not Ellipsis)))


def _is_shared(kind: Any) -> bool:
    """Whether a class and all that it is made of belong to the contracts, or to Python."""
    module = getattr(get_origin(kind) or kind, "__module__", "")
    return (module.startswith(SHARED) or kind in _SIMPLE or (get_origin(kind) or kind) in (*_LISTS, dict)) and all(
        _is_shared(each) for each in get_args(kind) if each is not Ellipsis
    )
