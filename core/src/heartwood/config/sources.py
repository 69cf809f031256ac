"""The layers of the configuration: defaults, ``plugins.toml``, the environment, the command line.

A later layer wins, and every value remembers where it came from. Text from the environment and from ``--set`` is read
as a TOML value, and then as the type of the field that it is for.
"""

from __future__ import annotations

import copy
import re
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import field, frozen, validators

from heartwood.config.fields import kind_at, leaves, shows_value, typed
from heartwood.config.findings import FILE, Finding, nearest
from heartwood.config.references import follow, read_secret
from heartwood.config.structure import structure
from heartwood.config.toml import Key, key_lines, read_toml
from heartwood.contracts.settings import setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from heartwood.contracts.errors import Fault

T = TypeVar("T")
PREFIX = "HEARTWOOD__"
PLUGINS = "plugins"
SET = "--set"


@frozen
class PluginSwitch:
    """What ``[plugins.<name>]`` says beside the plugin's own settings."""

    enabled: bool = setting(default=True, help="Whether the plugin is loaded.")
    required: bool = setting(default=False, help="Whether the hub refuses to start without it.")
    start_timeout: float | None = setting(
        None,
        help="Seconds it may take to start; unset: loader.start_timeout.",
        validator=validators.optional(validators.gt(0)),
    )
    stop_timeout: float | None = setting(
        None,
        help="Seconds it may take to stop; unset: loader.stop_timeout.",
        validator=validators.optional(validators.gt(0)),
    )


@frozen
class Origin:
    """Where a value comes from: ``file``, ``env NAME`` or ``--set``, and its line in the file."""

    source: str
    line: int | None = None


@frozen
class Loaded(Generic[T]):
    """A section: its value, or None and what is wrong; ``origins`` has the dotted keys that somebody set."""

    value: T | None
    findings: list[Finding]
    origins: dict[str, Origin]


@frozen
class _Text:
    """A value that was given as text, for a key below a section; ``fault`` where it could not even be read."""

    key: Key
    text: str
    source: str
    fault: str = ""


def read_layers(file: Path | None, environ: Mapping[str, str], overrides: Sequence[str]) -> Layers:
    """Read the file once and take note of the rest; nothing is raised, ``findings`` says what is wrong.

    Args:
        file: ``plugins.toml``, or None where there is none.
        environ: the environment, usually ``os.environ``.
        overrides: ``section.key=value`` texts of ``--set``, a later one wins.
    """
    tree, text, findings = read_toml(file) if file else ({}, "", [])
    layers = Layers(file=file, environ=environ, tree=tree, text=text, overrides=[], findings=findings)
    for override in overrides:
        key, equals, value = override.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        if equals and len(path) > 1 and all(path):
            layers.overrides.append((path, value.strip()))
        else:
            findings.append(Finding(SET, "", None, f"{SET} {key!r}: write {SET} section.key=value"))
    for name in layers.plugin_names():
        findings.extend(layers.switch(name).findings)
    return layers


@frozen(slots=False)
class Layers:
    """Everything that was configured, not yet made into values. Made by :func:`read_layers`."""

    file: Path | None
    environ: Mapping[str, str] = field(repr=False)
    tree: dict[str, Any] = field(repr=False)
    text: str = field(repr=False)
    overrides: list[tuple[Key, str]] = field(repr=False)
    findings: list[Finding]

    def section(self, name: str, cls: type[T]) -> Loaded[T]:
        """Return the section ``[name]`` as an instance of ``cls``."""
        return self._load((name,), cls)

    def plugin(self, name: str, cls: type[T] | None) -> Loaded[T]:
        """Return ``[plugins.<name>.config]`` as an instance of ``cls``; with None every setting is a finding."""
        return self._load((PLUGINS, name, "config"), cls or _Nothing)  # type: ignore[arg-type]  # no T without a class

    def switch(self, name: str) -> Loaded[PluginSwitch]:
        """Return the kernel's own keys of ``[plugins.<name>]``."""
        return self._load((PLUGINS, name), PluginSwitch, besides="config")

    def plugin_switches(self) -> dict[str, PluginSwitch]:
        """Return the switch of every plugin that is named anywhere; what is wrong with one stands in ``findings``."""
        return {name: self.switch(name).value or PluginSwitch() for name in self.plugin_names()}

    def plugin_names(self) -> list[str]:
        """Return the plugins named in the file, then those in the environment and on the command line."""
        tables = self.tree.get(PLUGINS, {})
        named = [path[1] for path in self._named() if path[0] == PLUGINS and len(path) > 1]
        return list(dict.fromkeys([*(tables if isinstance(tables, dict) else ()), *named]))

    def unknown(self, known: Iterable[str]) -> list[Finding]:
        """Return a finding for every section that is not in ``known``."""
        names = [*known, PLUGINS]
        given = [(key, Origin(FILE, self._line((key,)))) for key in self.tree if key not in names]
        given += [(path[0], Origin(source)) for path, _, source in self._texts() if path[0] not in names]
        findings = [self._unknown(key, origin, names) for key, origin in given]
        return findings if isinstance(self.tree.get(PLUGINS, {}), dict) else [*findings, self._no_table((PLUGINS,))]

    def finding(self, path: Key, message: str) -> Finding:
        """Return that something is wrong with a setting or a table, with the place where it was given."""
        sources = [source for given, _, source in self._texts() if given[: len(path)] == path]
        return self._finding(".".join(path), message, Origin(sources[-1] if sources else FILE, self._line(path)))

    def _no_table(self, path: Key) -> Finding:
        where = ".".join(path)
        return self._finding(where, f"expected a table, [{where}]", Origin(FILE, self._line(path)))

    def _unknown(self, key: str, origin: Origin, names: list[str]) -> Finding:
        near = nearest(key, names)
        if origin.source == FILE and not isinstance(self.tree[key], dict):
            message = f"stands outside of a section; sections are {', '.join(sorted(names))}"
            return self._finding(key, message, origin, None)
        message = "unknown section" if near else f"unknown section; sections are {', '.join(sorted(names))}"
        return self._finding(key, message, origin, near)

    def _load(self, path: Key, cls: type[T], *, besides: str = "") -> Loaded[T]:
        tree: Any = copy.deepcopy(_at(self.tree, path, {}))
        if not isinstance(tree, dict):
            return Loaded(None, [self._no_table(path)], {})
        tree.pop(besides, None)
        origins = {key: Origin(FILE, self._line((*path, *key))) for key in _flat(tree)}
        findings = []
        for given in self._texts_below(path, cls, besides):
            origins[given.key] = Origin(given.source, self._lines.get((*path, *given.key)))
            if given.fault:
                findings.append(self._finding(".".join((*path, *given.key)), given.fault, origins[given.key]))
            else:
                _put(tree, given.key, typed(given.text, kind_at(cls, given.key), secret=given.source != SET))
        value, faults = structure(cls, tree, secrets=self._secret)
        findings += [self._fault(path, cls, tree, fault, origins) for fault in faults]
        return Loaded(None if findings else value, findings, {".".join(key): at for key, at in origins.items()})

    def _secret(self, kind: str, name: str) -> str:
        folder = self.file.parent if self.file else Path()
        return follow(kind, name, environ=self.environ, folder=folder)

    def _fault(self, path: Key, cls: type, tree: Any, fault: Fault, origins: dict[Key, Origin]) -> Finding:
        key = tuple(filter(None, re.split(r"[.\[\]]", fault.where)))
        at = next((origins[key[:length]] for length in range(len(key), 0, -1) if key[:length] in origins), None)
        origin = at if at and at.source != FILE else Origin(FILE, self._line((*path, *key)))
        value = _at(tree, key, None) if shows_value(cls, key) else None
        return self._finding(".".join((*path, *key)), fault.message, origin, value=value)

    def _finding(
        self, where: str, message: str, origin: Origin, hint: str | None = None, *, value: object = None
    ) -> Finding:
        file = str(self.file) if self.file and origin.line else None
        return Finding(origin.source, where, value, message, line=origin.line, file=file, hint=hint)

    @cached_property
    def _lines(self) -> dict[Key, int]:
        return key_lines(self.text) if self.tree else {}

    def _line(self, key: Key) -> int | None:
        """Return the line of ``key``, or of the nearest table around it."""
        lengths = range(len(key), 0, -1)
        return next((self._lines[key[:length]] for length in lengths if key[:length] in self._lines), None)

    def _texts(self) -> Iterator[tuple[Key, str, str]]:
        """Yield (path, text, source) of every ``HEARTWOOD__…`` variable and every ``--set``."""
        for name in sorted(self.environ):
            path = tuple(name[len(PREFIX) :].lower().split("__"))
            if name.startswith(PREFIX) and all(path):
                yield path, self.environ[name], f"env {name}"
        for path, text in self.overrides:
            yield path, text, SET

    def _named(self) -> Iterator[Key]:
        return (path for path, _, _ in self._texts())

    def _texts_below(self, path: Key, cls: type, besides: str) -> Iterator[_Text]:
        """Yield what the environment says of a section, then what the command line says."""
        consumed: set[str] = set()
        for key, names in leaves(cls):
            own = PREFIX + "__".join((*path, *key)).upper()
            consumed |= {own, f"{own}_FILE"}
            found = next(filter(None, map(partial(self._variable, key), (own, *names))), None)
            if found:
                yield found
        for given, text, source in self._texts():
            key = given[len(path) :]
            if given[: len(path)] != path or source.removeprefix("env ") in consumed or key[:1] == (besides,):
                continue
            if key:
                yield _Text(key, text, source)
            else:
                yield _Text((), text, source, "names a section; add a key")

    def _variable(self, key: Key, name: str) -> _Text | None:
        """Return what ``NAME``, ``NAME_FILE`` or the credential ``name`` says; an empty ``NAME`` says nothing."""
        if self.environ.get(name):
            return _Text(key, self.environ[name], f"env {name}")
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        credential = Path(folder, name.lower()) if folder else None
        if self.environ.get(f"{name}_FILE"):
            return self._from_file(key, Path(self.environ[f"{name}_FILE"]), f"env {name}_FILE")
        if credential and credential.is_file():
            return self._from_file(key, credential, f"credential {name.lower()}")
        return None

    def _from_file(self, key: Key, file: Path, source: str) -> _Text:
        try:
            return _Text(key, read_secret(file), source)
        except ValueError as error:
            return _Text(key, "", source, str(error))


@frozen
class _Nothing:
    """The settings of a plugin that has none."""


def _at(tree: Any, key: Key, default: Any) -> Any:
    for part in key:
        if isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
        else:
            return default
    return tree


def _put(tree: Any, key: Key, value: Any) -> None:
    """Set ``key``; where the file has something else than a table on the way, that is reported and this is not."""
    for part in key[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            return
    tree[key[-1]] = value


def _flat(tree: dict[str, Any], above: Key = ()) -> Iterator[Key]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*above, key))
        else:
            yield (*above, key)
