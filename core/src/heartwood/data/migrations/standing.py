"""Where each plugin's schema stands, asked by asyncpg alone: a start with nothing to migrate imports no Alembic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from heartwood.plugins.records import sentence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import asyncpg

    from heartwood.data.migrations.sources import MigrationSource

KERNEL_SCHEMAS = frozenset({"core", "queue"})

VERSION_TABLE = """
create schema if not exists {schema};
create table if not exists {schema}.alembic_version (
    version_num varchar(32) not null, constraint alembic_version_pkc primary key (version_num)
);
comment on table {schema}.alembic_version is 'kept by heartwood';
"""
"""Alembic's own table. The comment tells a schema of the hub from that of another program which uses Alembic too."""

SCHEMAS = """
select n.nspname as name,
       coalesce(bool_or(ours), false) as versioned,
       coalesce(bool_or(not ours), false) as filled
from pg_catalog.pg_namespace n
left join lateral (
    select c.relname = 'alembic_version'
           and coalesce(obj_description(c.oid, 'pg_class') = 'kept by heartwood', false) as ours
    from pg_catalog.pg_class c
    where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f')
) as tables on true
group by n.nspname
"""


@frozen
class Standing:
    """Where one plugin's schema stands.

    Args:
        plugin: the plugin's name.
        current: the revision that the database is at, None where it has none.
        head: the last revision that the plugin has, None where it has none.
        pending: the revisions still to be applied, in order.
        problem: why they can not be applied as things are, and the way out; empty where they can.
    """

    plugin: str
    current: str | None = None
    head: str | None = None
    pending: tuple[str, ...] = ()
    problem: str = ""


def quoted(identifier: str) -> str:
    """Return ``identifier`` as SQL writes it."""
    return '"' + identifier.replace('"', '""') + '"'


async def standings(connection: asyncpg.Connection, sources: Sequence[MigrationSource]) -> dict[str, Standing]:
    """Compare the version row of every plugin with its revisions, in two round trips; raises for no plugin."""
    schemas = {row["name"]: row for row in await connection.fetch(SCHEMAS)}
    rows = await _version_rows(connection, [s.plugin for s in sources if _flag(schemas, s.plugin, "versioned")])
    found: dict[str, Standing] = {}
    for source in sources:
        try:
            line = source.revisions()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  (the plugin's package is looked for, which runs its code)
            found[source.plugin] = Standing(source.plugin, rows.get(source.plugin), problem=sentence(error))
        else:
            found[source.plugin] = _compare(source.plugin, line, rows, filled=_flag(schemas, source.plugin, "filled"))
    return found


async def orphans(connection: asyncpg.Connection, installed: Collection[str]) -> list[str]:
    """Return the schemas that the hub made for plugins which are not ``installed`` any more."""
    rows = await connection.fetch(SCHEMAS)
    return sorted(row["name"] for row in rows if row["versioned"] and row["name"] not in {*installed, *KERNEL_SCHEMAS})


def _flag(schemas: Mapping[str, Mapping[str, bool]], schema: str, flag: str) -> bool:
    return schema in schemas and schemas[schema][flag]


async def _version_rows(connection: asyncpg.Connection, plugins: Sequence[str]) -> dict[str, str]:
    if not plugins:
        return {}
    parts = [
        f"select {position} as place, version_num from {quoted(plugin)}.alembic_version"  # noqa: S608  (quoted)
        for position, plugin in enumerate(plugins)
    ]
    return {plugins[row["place"]]: row["version_num"] for row in await connection.fetch(" union all ".join(parts))}


def _compare(plugin: str, line: Sequence[str], rows: Mapping[str, str], *, filled: bool) -> Standing:
    current, head = rows.get(plugin), line[-1] if line else None
    if current is None and filled:
        problem = (
            f"schema {plugin!r} has tables but no version row; if they are what revision {head!r} makes, "
            f"type: heartwood db adopt {plugin}"
        )
        return Standing(plugin, None, head, tuple(line), problem)
    if current is not None and current not in line:
        problem = (
            f"schema {plugin!r} is at revision {current!r}, which the installed version of plugin {plugin!r} does not "
            f"know (it ends at {head!r}); install the version that made it, or restore a backup"
        )
        return Standing(plugin, current, head, (), problem)
    done = line.index(current) + 1 if current is not None else 0
    return Standing(plugin, current, head, tuple(line[done:]))
