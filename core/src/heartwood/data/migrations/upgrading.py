"""Applying what is pending: one transaction for each plugin, so that one of them fails alone and as a whole."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.contracts.data import Tables
from heartwood.data.connections import connect
from heartwood.data.migrations.session import migrating
from heartwood.data.migrations.sources import MigrationError, MigrationSource, core_first
from heartwood.data.migrations.standing import KERNEL_SCHEMAS, VERSION_TABLE, quoted, standings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

GRANTS = """
grant usage on schema {schema} to {role};
grant select, insert, update, delete, truncate on all tables in schema {schema} to {role};
grant usage, select, update on all sequences in schema {schema} to {role};
"""


@frozen
class Upgraded:
    """What ``upgrade`` did for one plugin: the revisions it applied, or the error that rolled all of them back."""

    plugin: str
    applied: tuple[str, ...] = ()
    error: Exception | None = None


async def upgrade(
    url: str, sources: Sequence[MigrationSource], log: Any, *, grantee: str = "", lock_timeout: float = 60.0
) -> dict[str, Upgraded]:
    """Bring every plugin's schema to its last revision, ``core`` first, then in the order given.

    A plugin that fails is rolled back whole and the others go on; after ``core`` itself has failed nothing is tried.
    At the end the role of ``grantee`` may read and write the rows of all these schemas, also of those made earlier.

    Args:
        url: address with a role that may change the schema.
        sources: the plugins in the order in which they start.
        log: a structlog logger.
        grantee: address with the role of requests and jobs, where that is another one.
        lock_timeout: seconds to wait for another process that is migrating.

    Raises:
        MigrationError: another process held the lock for longer.
        DatabaseUnavailable: one of the roles may not connect.
    """
    done: dict[str, Upgraded] = {}
    async with migrating(url, lock_timeout=lock_timeout) as connection:
        for source in core_first(sources):
            if "core" in done and done["core"].error is not None:
                reason = MigrationError("not tried, because the migrations of 'core' failed")
                done[source.plugin] = Upgraded(source.plugin, error=reason)
                continue
            done[source.plugin] = await _attempt(connection, source, log)
        if grantee:
            await _grant(connection, [plugin for plugin, each in done.items() if each.error is None], grantee)
    return done


async def _grant(connection: asyncpg.Connection, plugins: Sequence[str], grantee: str) -> None:
    everyday = await connect(grantee)  # the server is asked: an address may leave its role to the environment
    role = await everyday.fetchval("select quote_ident(current_user)")
    await everyday.close(timeout=5)
    schemas = KERNEL_SCHEMAS.union(plugins) if "core" in plugins else plugins
    async with connection.transaction():
        for row in await connection.fetch("select nspname from pg_namespace where nspname = any($1)", list(schemas)):
            await connection.execute(GRANTS.format(schema=quoted(row["nspname"]), role=role))
        if "core" in schemas:
            await connection.execute(f"revoke update, delete, truncate on core.audit from {role}")


async def _attempt(connection: asyncpg.Connection, source: MigrationSource, log: Any) -> Upgraded:
    try:
        applied = await _upgrade_one(connection, source)
    except Exception as error:  # a revision is a plugin's code and may raise anything
        log.exception("migrations.failed", plugin=source.plugin)
        return Upgraded(source.plugin, error=error)
    if applied:
        log.info("migrations.applied", plugin=source.plugin, revisions=list(applied))
    return Upgraded(source.plugin, applied)


async def _upgrade_one(connection: asyncpg.Connection, source: MigrationSource) -> tuple[str, ...]:
    standing = (await standings(connection, [source]))[source.plugin]
    if standing.problem:
        raise MigrationError(standing.problem)
    if not standing.pending:
        return ()
    if isinstance(source.tables, Tables):
        # imported only where it is needed, and in a thread: it takes longer than the loop may be blocked
        packages = await asyncio.to_thread(importlib.import_module, "heartwood.data.migrations.packages")
        await packages.apply_package(connection, source)
    else:
        await _apply_steps(connection, source, standing.pending)
    return standing.pending


async def _apply_steps(connection: asyncpg.Connection, source: MigrationSource, pending: Sequence[str]) -> None:
    """Run the SQL of a single-file plugin; several statements a step are fine."""
    schema = quoted(source.plugin)
    async with connection.transaction():
        await connection.execute(VERSION_TABLE.replace("{schema}", schema))
        for step in source.tables if not isinstance(source.tables, Tables) else ():
            if step.revision in pending:
                await connection.execute(step.sql.replace("{schema}", schema))
        await stamp(connection, source.plugin, pending[-1])


async def stamp(connection: asyncpg.Connection, plugin: str, revision: str) -> None:
    """Write that ``plugin``'s schema is at ``revision``."""
    schema = quoted(plugin)
    await connection.execute(VERSION_TABLE.replace("{schema}", schema))
    await connection.execute(f"delete from {schema}.alembic_version")  # noqa: S608  (quoted)
    await connection.execute(f"insert into {schema}.alembic_version values ($1)", revision)  # noqa: S608  (quoted)
