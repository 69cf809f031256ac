"""What PostgreSQL's errors mean to somebody who waits for an answer."""

from __future__ import annotations

import asyncpg

from heartwood.contracts.errors import DatabaseUnavailable

LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asked after the server's last words and before the end of the stream
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The connection is gone or cannot be had; what was asked may be asked again on another one if it only reads."""

LATER: dict[type[Exception], str] = {
    asyncpg.QueryCanceledError: "PostgreSQL ended a statement that ran longer than data.statement_timeout",
    asyncpg.TooManyConnectionsError: "PostgreSQL has no connection left; raise max_connections or lower data.pool_size",
    asyncpg.DiskFullError: "PostgreSQL has no disk space left",
    asyncpg.OutOfMemoryError: "PostgreSQL has no memory left",
    asyncpg.ReadOnlySQLTransactionError: "PostgreSQL is read-only at present",
    asyncpg.DeadlockDetectedError: "PostgreSQL ended this transaction because two were waiting for each other",
    asyncpg.SerializationError: "PostgreSQL could not serialize this transaction with another",
}
"""The server works and cannot do this now; the same request may succeed a little later."""

EXPECTED: tuple[type[BaseException], ...] = (*LOST, *LATER)


def is_lost(error: BaseException, connection: asyncpg.Connection | None = None) -> bool:
    """Whether ``error`` says that the connection is gone, and not that a statement took too long or was misused."""
    if isinstance(error, asyncpg.InterfaceError):
        return connection is None or connection.is_closed()
    return isinstance(error, LOST) and not isinstance(error, TimeoutError)


def comes_back(error: BaseException) -> bool:
    """Whether a server that gave no connection may give one soon; one that refuses us will not."""
    return is_lost(error) or isinstance(error, TimeoutError)


def is_away(error: BaseException) -> bool:
    """Whether ``error`` is what the pool raises while PostgreSQL is away; a busy pool or a slow statement is not."""
    return isinstance(error, DatabaseUnavailable) and (error.__cause__ is None or is_lost(error.__cause__))


def unavailable(error: BaseException, connection: asyncpg.Connection | None = None) -> DatabaseUnavailable | None:
    """Return what a client is told of ``error``, or None where it is a plain mistake of the statement's author."""
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable("PostgreSQL did not answer in time")
    if is_lost(error, connection):
        return DatabaseUnavailable(f"PostgreSQL is away: {sentence(error)}")
    for kind, message in LATER.items():
        if isinstance(error, kind):
            return DatabaseUnavailable(message, retry_after=1)
    return None


def sentence(error: BaseException) -> str:
    """Return the error's own words, or its type where it has none."""
    return str(error) or type(error).__name__
