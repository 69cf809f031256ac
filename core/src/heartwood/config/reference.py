"""The reference of all settings, written from the classes themselves."""

from __future__ import annotations

import types
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import attrs

from heartwood.config.fields import nested
from heartwood.config.structure import fields_of
from heartwood.contracts.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEAD = """# Settings

Written by `heartwood config reference`. A setting stands in its section of `plugins.toml`; the environment replaces
the file (`HEARTWOOD__DATA__POOL_SIZE=20`), and the command line replaces both (`--set data.pool_size=20`). For each
variable `NAME` there is also `NAME_FILE`, a file that holds the value, and the systemd credential `name`. A secret is
given in the file by reference, as `{ env = "NAME" }` or `{ file = "/path" }`.
"""
PLUGINS_HEAD = """# Settings of plugins

Written by `heartwood config reference --plugins`. They stand in `plugins.toml` like all others, and the
environment and the command line replace them in the same way (`HEARTWOOD__PLUGINS__OCR__CONFIG__MAX_SIZE=1000000`,
`--set plugins.ocr.config.max_size=1000000`).
"""
_COLUMNS = "| setting | type | default | what it does |\n|---|---|---|---|"


def reference(sections: Mapping[str, type], head: str = HEAD) -> str:
    """Return the Markdown reference of ``sections``: the same text for the same classes, whatever the machine."""
    return "\n".join([head, *(line for name, cls in sections.items() for line in _section(name, cls))])


def _section(name: str, cls: type) -> Iterator[str]:
    yield f"## `[{name}]`\n"
    yield f"{(cls.__doc__ or '').strip().splitlines()[0]}\n"
    yield _COLUMNS
    below = []
    for field, kind in fields_of(cls):
        inner = nested(kind)
        if inner:
            below.append((f"{name}.{field.name}", inner))
        else:
            yield _row(field, kind)
    yield ""
    for inner_name, inner_cls in below:
        yield from _section(inner_name, inner_cls)


def _row(field: attrs.Attribute[Any], kind: Any) -> str:
    rules = ", ".join(_rules(field.validator))
    names = field.metadata.get("env", ())
    sentences = [
        field.metadata.get("help", ""),
        f"Must be {rules}." if rules else "",
        f"Also set by {', '.join(f'`{name}`' for name in names)}." if names else "",
    ]
    cells = [f"`{field.name}`", type_text(kind), _default(field), " ".join(filter(None, sentences))]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def type_text(kind: Any) -> str:
    """Return a type as people say it: ``list of text``, ``whole number or nothing``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(each) for each in inner)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{each.value}`" for each in kind)
    if origin is not None:
        parts = [type_text(each) for each in inner if each is not Ellipsis]
        return f"{_NAMES.get(origin, origin.__name__)} of {' to '.join(dict.fromkeys(parts))}"
    return _NAMES.get(kind, getattr(kind, "__name__", str(kind)))


_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    list: "list",
    tuple: "list",
    set: "list",
    frozenset: "list",
    dict: "table",
    Secret: "secret",
    type(None): "nothing",
    Any: "anything",
}


def toml_text(value: Any) -> str:
    """Return a value as it is written in TOML; what TOML cannot say is ``not set`` or ``"***"``."""
    import tomlkit  # noqa: PLC0415  (only those who print pay for it)

    if value is None:
        return "not set"
    if isinstance(value, Enum):
        return toml_text(value.value)
    if attrs.has(type(value)):
        value = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    if isinstance(value, dict):
        pairs = [f"{tomlkit.key(str(key)).as_string()} = {toml_text(each)}" for key, each in value.items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        texts = [toml_text(each) for each in value]
        return f"[{', '.join(sorted(texts) if isinstance(value, set | frozenset) else texts)}]"
    return str(tomlkit.item(value if isinstance(value, bool | int | float) else str(value)).as_string())


def _default(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "**must be given**"
    default: Any = field.default
    value = default.factory() if hasattr(default, "takes_self") else default
    return "not set" if value is None else f"`{toml_text(value)}`"


def _rules(validator: Any) -> Iterator[str]:
    """Yield what attrs' own validators demand, in words; others say it in the help text of their field."""
    for inner in getattr(validator, "_validators", ()):
        yield from _rules(inner)
    inner = getattr(validator, "validator", None)
    if inner is not None and not callable(getattr(validator, "func", None)):
        yield from _rules(inner)
    for attribute, words in _RULES:
        bound = getattr(validator, attribute, None)
        if bound is not None:
            yield words(validator, bound)


_RULES: tuple[tuple[str, Any], ...] = (
    ("options", lambda _, options: f"one of {', '.join(f'`{toml_text(each)}`' for each in options)}"),
    ("bound", lambda validator, bound: f"{validator.compare_op} {bound}"),
    ("max_length", lambda _, most: f"at most {most} long"),
    ("min_length", lambda _, least: f"at least {least} long"),
    ("pattern", lambda _, pattern: f"like `{pattern.pattern}`"),
)
