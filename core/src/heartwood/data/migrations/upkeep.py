"""What an operator or an author does now and then: check, adopt, purge, write a revision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from heartwood.contracts.data import Tables
from heartwood.data.migrations.published import changed_since_published
from heartwood.data.migrations.session import migrating
from heartwood.data.migrations.sources import MigrationError, MigrationSource
from heartwood.data.migrations.standing import KERNEL_SCHEMAS, SCHEMAS, quoted, standings
from heartwood.data.migrations.upgrading import stamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import asyncpg

    from heartwood.data.migrations.standing import Standing

LOCK_TIMEOUT = 15.0

FOREIGN_KEYS = """
select format('%s references %s.%s', c.conname, n.nspname, t.relname)
from pg_catalog.pg_constraint c
join pg_catalog.pg_class t on t.oid = c.confrelid
join pg_catalog.pg_namespace n on n.oid = t.relnamespace
where c.contype = 'f' and c.connamespace = to_regnamespace($1)
  and n.nspname <> $2 and (n.nspname, t.relname) <> ('core', 'person')
order by 1
"""

TRACES = {
    "queue.pgqueuer": "delete from queue.pgqueuer where split_part(entrypoint, '.', 1) = $1",
    "queue.pgqueuer_schedules": "delete from queue.pgqueuer_schedules where split_part(entrypoint, '.', 1) = $1",
    "core.subscription": "delete from core.subscription where plugin = $1",
}
"""What a plugin leaves behind outside its own schema: waiting jobs, schedules, subscriptions."""


async def check(url: str, sources: Sequence[MigrationSource]) -> dict[str, list[str]]:
    """Return every plugin's faults: pending or changed revisions, drift from its tables, forbidden foreign keys.

    Single-file plugins have no description of their tables, so there is no drift to find.
    """
    async with migrating(url, lock_timeout=LOCK_TIMEOUT) as connection:
        found = await standings(connection, sources)
        return {source.plugin: await _faults(connection, source, found[source.plugin]) for source in sources}


async def adopt(url: str, source: MigrationSource, revision: str | None = None) -> str:
    """Write that tables which somebody made by hand, or restored, are at ``revision`` (the last one by default).

    Raises:
        MigrationError: there is a version row already, no such revision, or the tables differ from the last one.
    """
    async with migrating(url, lock_timeout=LOCK_TIMEOUT) as connection:
        standing = (await standings(connection, [source]))[source.plugin]
        _refuse_adoption(source, standing, revision)
        if isinstance(source.tables, Tables) and revision in {None, standing.head}:
            await _refuse_drift(connection, source)
        chosen = revision or standing.head or ""
        async with connection.transaction():
            await stamp(connection, source.plugin, chosen)
    return chosen


async def purge(url: str, plugin: str) -> bool:
    """Drop the schema of ``plugin`` with all it holds, and its jobs, schedules and subscriptions.

    Returns:
        Whether there was a schema.

    Raises:
        MigrationError: the schema is the kernel's, or was not made by the hub.
    """
    if plugin in KERNEL_SCHEMAS:
        msg = f"schema {plugin!r} is the kernel's and is never dropped"
        raise MigrationError(msg)
    async with migrating(url, lock_timeout=LOCK_TIMEOUT) as connection, connection.transaction():
        exists = await _is_ours(connection, plugin)
        if exists:
            await connection.execute(f"drop schema {quoted(plugin)} cascade")
        for table, statement in TRACES.items():
            if await connection.fetchval("select to_regclass($1) is not null", table):
                await connection.execute(statement, plugin)
    return exists


async def write_revision(url: str, source: MigrationSource, message: str) -> Path:
    """Write the next revision file of a package: what its tables have and the database has not.

    Args:
        url: a database that is at the last revision.
        source: the plugin.
        message: what the revision does, in a few words; it becomes the file's name and docstring.

    Raises:
        MigrationError: the plugin is a single file, or the database is not at its last revision.
    """
    if not isinstance(source.tables, Tables):
        msg = f"plugin {source.plugin!r} is a single file: write Migration(…) values in its hook tables"
        raise MigrationError(msg)
    from heartwood.data.migrations.packages import draft  # noqa: PLC0415  (imports Alembic)

    async with migrating(url, lock_timeout=LOCK_TIMEOUT) as connection:
        standing = (await standings(connection, [source]))[source.plugin]
        if standing.problem or standing.pending:
            msg = standing.problem or f"{', '.join(standing.pending)} must be applied first: heartwood db upgrade"
            raise MigrationError(msg)
        await connection.execute(f"create schema if not exists {quoted(source.plugin)}")
        body = await draft(connection, source)
    number = len(source.revisions()) + 1
    slug = re.sub(r"\W+", "_", message.lower()).strip("_")[:40]
    path = source.folder / f"{number:04}_{slug}.py"
    path.write_text(_revision_text(source.plugin, number, standing.head, message, body))
    return path


IMPORTS = {
    "sa.": "import sqlalchemy as sa",
    "op.": "from alembic import op",
    "postgresql.": "from sqlalchemy.dialects import postgresql",
}


def _revision_text(plugin: str, number: int, down: str | None, message: str, body: str) -> str:
    sentence = message.strip().rstrip(".").replace("\\", "/").replace('"', "'")
    imports = "\n".join(line for use, line in IMPORTS.items() if use in body)
    lines = "\n".join(f"    {line}".rstrip() for line in body.splitlines())
    previous = f'"{down}"' if down else "None"
    return (
        f'"""{sentence[:1].upper()}{sentence[1:]}."""\n\nfrom __future__ import annotations\n\n'
        f"{imports}\n\n"
        f'revision = "{plugin}_{number:04}"\ndown_revision = {previous}\n\n\ndef upgrade() -> None:\n{lines}\n'
    )


async def _faults(connection: asyncpg.Connection, source: MigrationSource, standing: Standing) -> list[str]:
    if standing.problem:
        return [standing.problem]
    faults = [f"{revision} is pending; type: heartwood db upgrade" for revision in standing.pending]
    faults += [
        f"forbidden foreign key: {row[0]}"
        for row in await connection.fetch(FOREIGN_KEYS, quoted(source.plugin), source.plugin)
    ]
    if isinstance(source.tables, Tables):
        faults += changed_since_published(source.folder)
        faults += [] if standing.pending else await _drift(connection, source)
    return faults


async def _drift(connection: asyncpg.Connection, source: MigrationSource) -> list[str]:
    from heartwood.data.migrations.packages import differences  # noqa: PLC0415  (imports Alembic)

    try:
        return await differences(connection, source)
    except MigrationError as error:
        return [str(error)]


async def _refuse_drift(connection: asyncpg.Connection, source: MigrationSource) -> None:
    if drift := await _drift(connection, source):
        msg = f"the tables of {source.plugin!r} are not what its last revision makes: {'; '.join(drift)}"
        raise MigrationError(msg)


def _refuse_adoption(source: MigrationSource, standing: Standing, revision: str | None) -> None:
    known = source.revisions()
    if standing.current is not None:
        msg = f"schema {source.plugin!r} is at revision {standing.current!r} already; type: heartwood db upgrade"
    elif not standing.problem:
        msg = f"schema {source.plugin!r} has no tables to adopt; type: heartwood db upgrade"
    elif revision is not None and revision not in known:
        msg = f"plugin {source.plugin!r} has no revision {revision!r}; it has {', '.join(known)}"
    else:
        return
    raise MigrationError(msg)


async def _is_ours(connection: asyncpg.Connection, plugin: str) -> bool:
    schemas = {row["name"]: row for row in await connection.fetch(SCHEMAS)}
    if plugin in schemas and not schemas[plugin]["versioned"]:
        msg = f"schema {plugin!r} was not made by the hub (it has no version table) and is not dropped"
        raise MigrationError(msg)
    return plugin in schemas
