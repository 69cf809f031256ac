"""Finding plugins by the metadata of their packages: nothing is imported here."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, EntryPoint, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from heartwood.config.findings import nearest
from heartwood.plugins.records import Phase, Record, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KERNEL = "heartwood-hub"
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
PART = re.compile(r"[a-z][a-z0-9_-]{0,30}")
"""A prefix or root: one part of a path."""

RESERVED = frozenset(
    {"health", "openapi.json", "docs", "plugins", "jobs", "people", "sessions", "tokens", "audit", "-", "business"}
)
"""Prefixes, roots and names that belong to the kernel."""

COMMANDS = frozenset({"serve", "worker", "postgres", "config", "plugin", "db", "jobs", "token"})
"""Commands that belong to the kernel."""

KERNEL_NAMES = frozenset({"core", "queue", "public", "information_schema"})
"""Names that no plugin may have: they are schemas of the kernel or of PostgreSQL."""


class Switch(Protocol):
    """The kernel's own keys of ``[plugins.<name>]``."""

    @property
    def enabled(self) -> bool:
        """Whether it is loaded."""
        ...

    @property
    def required(self) -> bool:
        """Whether the hub refuses to start without it."""
        ...


@frozen
class Candidate:
    """A plugin that was found: its record, and where its code is (``module:Class``, or a file)."""

    record: Record
    reference: str = ""
    file: Path | None = None
    commands: tuple[str, ...] = field(default=())


def discover(
    switches: Mapping[str, Switch],
    *,
    folder: Path | None = None,
    installed: Iterable[Distribution] | None = None,
) -> list[Candidate]:
    """Return every plugin that is installed or named in the configuration, in the order of their names.

    Its record's state says ``disabled``, ``missing`` or ``incompatible`` where it is; all others are ``found``.

    Args:
        switches: what the configuration says of each plugin; one that is not named there is disabled.
        folder: where single-file plugins lie.
        installed: the distributions to look at; those of this environment by default.
    """
    found: dict[str, Candidate] = {}
    for each in _packages(distributions() if installed is None else installed):
        _add(found, each)
    for each in _files(folder) if folder else ():
        _add(found, each)
    there = list(found)
    for name in switches:
        if name not in found:
            found[name] = Candidate(Record(name, State.MISSING, Phase.DISCOVER, missing(name, there)))
    candidates = [found[name] for name in sorted(found)]
    for each in candidates:
        _switch(each.record, switches.get(each.record.name))
    _refuse_clashes(candidates)
    return candidates


def _add(found: dict[str, Candidate], candidate: Candidate) -> None:
    """Add ``candidate``; where its name is taken, the first one stays, as with imports, and fails if it is another."""
    first = found.setdefault(candidate.record.name, candidate).record
    if first.distribution != candidate.record.distribution:
        first.state, first.phase = State.INCOMPATIBLE, Phase.DISCOVER
        first.reason = f"{first.distribution} and {candidate.record.distribution} both bring a plugin {first.name!r}"


def _switch(record: Record, switch: Switch | None) -> None:
    record.required = bool(switch and switch.enabled and switch.required)
    if switch is None or not switch.enabled:
        record.state = State.DISABLED
        record.reason = "not named in the configuration" if switch is None else "switched off"


def missing(name: str, found: Iterable[str]) -> str:
    """Return the sentence about a plugin that is not among ``found``, with what was probably meant."""
    names = sorted(found)
    near = nearest(name, names)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"no plugin {name!r} is installed; installed: {', '.join(names) or 'none'}{hint}"


def _packages(installed: Iterable[Distribution]) -> Iterator[Candidate]:
    for distribution in installed:
        points = list(distribution.entry_points)
        for point in points:
            if point.group == "heartwood.plugins":
                yield _package(distribution, point, points)


def _package(distribution: Distribution, point: EntryPoint, points: list[EntryPoint]) -> Candidate:
    def named(group: str) -> tuple[str, ...]:
        return tuple(each.name for each in points if each.group == group and each.value == point.value)

    record = Record(
        point.name,
        distribution=distribution.name,
        version=distribution.version,
        prefixes=named("heartwood.prefixes") or (() if named("heartwood.roots") else (point.name,)),
        roots=named("heartwood.roots"),
    )
    commands = tuple(each.name for each in points if each.group == "heartwood.commands")
    _check_names(record)
    _check_range(record, distribution.requires or ())
    return Candidate(record, point.value, commands=commands)


def fault_of_name(name: str) -> str | None:
    """Return why ``name`` cannot be a plugin's, or None."""
    if NAME.fullmatch(name) and name not in KERNEL_NAMES | RESERVED and not name.startswith("pg_"):
        return None
    return f"{name!r} cannot be a plugin's name: lower-case letters, digits and _, and no name of the kernel's"


def _check_names(record: Record) -> None:
    """Refuse names that cannot be a plugin's; no gate is made below prefixes and roots that are no part of a path."""
    bad = [each for each in (*record.prefixes, *record.roots) if not PART.fullmatch(each)]
    record.prefixes, record.roots = (
        tuple(each for each in names if each not in bad) for names in (record.prefixes, record.roots)
    )
    fault = fault_of_name(record.name)
    if bad and not fault:
        fault = f"the prefix or root {bad[0]!r} cannot be part of a path: lower-case letters, digits, _ and -"
    if fault:
        record.state, record.phase, record.reason = State.INCOMPATIBLE, Phase.DISCOVER, fault


def _check_range(record: Record, requires: Iterable[str]) -> None:
    """Compare the range of heartwood-hub that the package asks for with the version at hand."""
    ours = version(KERNEL)
    for text in requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ours_is_meant = applies and canonicalize_name(requirement.name) == KERNEL
        if ours_is_meant and not requirement.specifier.contains(ours, prereleases=True):
            record.state, record.phase = State.INCOMPATIBLE, Phase.DISCOVER
            record.reason = (
                f"{record.distribution} {record.version} needs {KERNEL}{requirement.specifier}, this is {ours}"
            )


def _files(folder: Path) -> Iterator[Candidate]:
    for file in sorted(folder.glob("*.py")):
        if not file.name.startswith("_"):
            record = Record(file.stem, prefixes=(file.stem,), distribution=str(file))
            _check_names(record)
            yield Candidate(record, file=file)


def _refuse_clashes(candidates: Iterable[Candidate]) -> None:
    """Refuse the later of two enabled plugins that claim the same prefix, root or command, naming both."""
    reserved = {"prefix": RESERVED, "root": RESERVED, "command": COMMANDS}
    owners: dict[tuple[str, str], str] = {}
    for each in candidates:
        record = each.record
        if record.state is not State.FOUND:
            continue
        claims = [
            *(("prefix", prefix) for prefix in record.prefixes),
            *(("root", root) for root in record.roots),
            *(("command", command) for command in each.commands),
        ]
        for kind, claim in claims:
            taken = "the kernel" if claim in reserved[kind] else owners.get((kind, claim))
            if taken and taken != record.name:
                who = taken if taken == "the kernel" else f"plugin {taken!r}"
                record.fail(Phase.DISCOVER, f"the {kind} {claim!r} of plugin {record.name!r} belongs to {who}")
        if record.state is State.FOUND:
            owners.update(dict.fromkeys(claims, record.name))
