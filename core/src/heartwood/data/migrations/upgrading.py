"""Applying what is pending: one transaction for each plugin, so that one of them fails alone and as a whole."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.contracts.data import Tables
from heartwood.data.migrations.session import migrating
from heartwood.data.migrations.sources import MigrationError, MigrationSource, core_first
from heartwood.data.migrations.standing import VERSION_TABLE, quoted, standings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg


@frozen
class Upgraded:
    """What ``upgrade`` did for one plugin: the revisions it applied, or the error that rolled all of them back."""

    plugin: str
    applied: tuple[str, ...] = ()
    error: Exception | None = None


async def upgrade(
    url: str, sources: Sequence[MigrationSource], log: Any, *, lock_timeout: float = 60.0
) -> dict[str, Upgraded]:
    """Bring every plugin's schema to its last revision, ``core`` first, then in the order given.

    A plugin that fails is rolled back whole and the others go on; after ``core`` itself has failed nothing is tried.

    Args:
        url: address with a role that may change the schema.
        sources: the plugins in the order in which they start.
        log: a structlog logger.
        lock_timeout: seconds to wait for another process that is migrating.

    Raises:
        MigrationError: another process held the lock for longer.
    """
    done: dict[str, Upgraded] = {}
    async with migrating(url, lock_timeout=lock_timeout) as connection:
        for source in core_first(sources):
            if "core" in done and done["core"].error is not None:
                reason = MigrationError("not tried, because the migrations of 'core' failed")
                done[source.plugin] = Upgraded(source.plugin, error=reason)
                continue
            done[source.plugin] = await _attempt(connection, source, log)
    return done


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
