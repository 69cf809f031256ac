"""The one connection by which schemas are changed, held under one lock by one process at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from heartwood.data.connections import connect
from heartwood.data.migrations.sources import MigrationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOCK = int.from_bytes(b"hw:migra", "big")
"""The number of the advisory lock; it must be the same in every version of the hub."""

STATEMENT_LOCK = 15
"""Seconds that one statement of a migration waits for a table that somebody else is using."""


@asynccontextmanager
async def migrating(url: str, *, lock_timeout: float) -> AsyncIterator[asyncpg.Connection]:
    """Connect and hold the lock of all migrations.

    Raises:
        MigrationError: another process held the lock for more than ``lock_timeout`` seconds.
    """
    settings = {"application_name": "heartwood migrations", "statement_timeout": "0", "timezone": "UTC"}
    connection = await connect(url, server_settings=settings)
    try:
        await _lock(connection, lock_timeout)
        try:
            await connection.execute(f"set lock_timeout = '{STATEMENT_LOCK}s'")
            yield connection
        finally:
            await _unlock(connection)
    finally:
        await connection.close(timeout=5)


async def _lock(connection: asyncpg.Connection, timeout: float) -> None:  # noqa: ASYNC109  (the server keeps it)
    await connection.execute(f"set lock_timeout = {max(1, int(timeout * 1000))}")
    try:
        await connection.execute("select pg_advisory_lock($1)", LOCK)
    except asyncpg.LockNotAvailableError:
        msg = (
            f"another process has been changing the schema for more than {timeout:g} s; "
            "look for 'heartwood migrations' in pg_stat_activity, and try again when it is gone"
        )
        raise MigrationError(msg) from None


async def _unlock(connection: asyncpg.Connection) -> None:
    """Give the lock back; a connection that is gone has lost it already."""
    if not connection.is_closed():
        await connection.execute("select pg_advisory_unlock($1)", LOCK)
