"""Where a plugin's migrations come from, and in which order they run. Nothing heavy is imported here."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from heartwood.contracts.data import Migration, Tables
from heartwood.contracts.errors import HeartwoodError

if TYPE_CHECKING:
    from collections.abc import Sequence


class MigrationError(HeartwoodError):
    """Nothing was changed, because the migrations and the database do not fit each other; the sentence says how."""


@frozen
class MigrationSource:
    """One plugin's migrations: a package of Alembic revisions, or the steps of a single-file plugin.

    Args:
        plugin: its name, which is also the name of its PostgreSQL schema.
        tables: what its hook ``tables`` returned, steps as a tuple.
    """

    plugin: str
    tables: Tables | tuple[Migration, ...]

    @property
    def folder(self) -> Path:
        """The folder that holds the package's revisions.

        Raises:
            MigrationError: the package is not there, or has no folder ``versions``.
        """
        assert isinstance(self.tables, Tables)  # noqa: S101  (asked of packages only)
        return _versions(self.plugin, self.tables.migrations)

    def revisions(self) -> tuple[str, ...]:
        """Return the ids of all revisions, first to last, read without running any.

        Raises:
            MigrationError: they do not form one line.
        """
        if isinstance(self.tables, Tables):
            files = (path for path in sorted(self.folder.glob("*.py")) if path.name != "__init__.py")
            return _in_line(self.plugin, [_read(self.plugin, path) for path in files])
        names = [step.revision for step in self.tables]
        if names != sorted(set(names)):
            msg = f"plugin {self.plugin!r}: the revisions {names} are not unique and increasing"
            raise MigrationError(msg)
        return tuple(names)


@frozen
class _Step:
    revision: str
    down_revision: str | None
    file: str


def core_first(sources: Sequence[MigrationSource]) -> list[MigrationSource]:
    """Return ``sources`` in their order, but ``core`` in front of all."""
    return sorted(sources, key=lambda source: source.plugin != "core")


def _versions(plugin: str, package: str) -> Path:
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (folder := Path(place) / "versions").is_dir():
            return folder
    msg = f"plugin {plugin!r}: there is no folder 'versions' in the package {package!r}, which its hook tables names"
    raise MigrationError(msg)


def _read(plugin: str, path: Path) -> _Step:
    """Read ``revision`` and ``down_revision`` from the text of a revision file."""
    values: dict[str, object] = {}
    for node in ast.parse(path.read_bytes(), str(path)).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            values[target.id] = value.value
    revision, down = values.get("revision"), values.get("down_revision", ...)
    if not isinstance(revision, str) or not isinstance(down, str | None):
        msg = f"plugin {plugin!r}: {path.name} must set revision to a text, and down_revision to a text or None"
        raise MigrationError(msg)
    return _Step(revision, down, path.name)


def _in_line(plugin: str, steps: Sequence[_Step]) -> tuple[str, ...]:
    """Follow the steps from the first to the last; each must have exactly one successor."""
    after = {step.down_revision: step for step in steps}
    line: list[str] = []
    step = after.get(None)
    while step is not None and step.revision not in line:
        line.append(step.revision)
        step = after.get(step.revision)
    if len(line) != len(steps):
        apart = sorted(step.file for step in steps if step.revision not in line) or [steps[-1].file]
        msg = f"plugin {plugin!r}: the revisions do not form one line; see down_revision in {', '.join(apart)}"
        raise MigrationError(msg)
    return tuple(line)
