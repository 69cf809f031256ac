"""The connection of the hub: its session is cleaned only where it may have been changed, which saves a round trip."""

from __future__ import annotations

import asyncio
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.data.faults import comes_back, sentence

if TYPE_CHECKING:
    from heartwood.data.settings import DataSettings

_LEAVES_TRACES = re.compile(
    r"(?:\A|;)(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:set(?!\s+local)|reset|listen|unlisten|declare|prepare|load|discard|do|call)\b"
    r"|\bset_config\b|\badvisory_(?:un)?lock|\bpg_(?:try_)?advisory_lock",
    re.IGNORECASE | re.DOTALL,
)


@lru_cache(maxsize=2048)
def leaves_traces(sql: str) -> bool:
    """Whether ``sql`` may change the session: settings, LISTEN, session locks, cursors."""
    return _LEAVES_TRACES.search(sql) is not None


class HubConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no type information
    """A pooled connection that knows whether its session may have been changed."""

    __slots__ = ("touched",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.touched = False

    async def clean(self, timeout: float) -> None:  # noqa: ASYNC109  (it is asyncpg's own)
        """Make the session as new, within ``timeout`` seconds; nothing is sent where nobody touched it."""
        if self.touched or self.is_in_transaction():
            await self.reset(timeout=timeout)
            self.touched = False


def connection_arguments(dsn: str, settings: DataSettings, application: str) -> dict[str, Any]:
    """Return asyncpg's arguments for every connection of the hub.

    The server ends long statements and forgotten transactions itself; the client waits a little longer than it.
    """
    limit = str(int(settings.statement_timeout * 1000))
    session = {
        "application_name": application,
        "statement_timeout": limit,
        "idle_in_transaction_session_timeout": limit,
        "timezone": "UTC",
        "jit": "off",
        "tcp_keepalives_idle": "60",  # routers on the way forget connections that say nothing
    }
    return {"dsn": dsn, "server_settings": session, "command_timeout": settings.statement_timeout + 5}


async def connect(url: str, **arguments: Any) -> asyncpg.Connection:
    """Open one connection outside of the pool.

    Raises:
        DatabaseUnavailable: there is no server, or it refuses us; the sentence says which and why.
    """
    try:
        return await asyncpg.connect(url, **arguments)
    except ValueError as error:  # its own words may quote the address, and with it the password
        message = f"data.database_url is no valid address ({type(error).__name__})"
        raise DatabaseUnavailable(message) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        parts = urlsplit(url)
        where = parts.netloc.rpartition("@")[2] or "its socket"
        message = f"PostgreSQL at {where} gave no connection: {sentence(error)}; see data.database_url"
        raise DatabaseUnavailable(message) from error


async def connect_soon(url: str, log: Any, *, within: float) -> asyncpg.Connection:
    """Open one connection as :func:`connect` does; a server that is not there yet is waited for, ``within`` seconds."""
    deadline = time.monotonic() + within
    told = False
    while True:
        try:
            return await connect(url, timeout=within)
        except DatabaseUnavailable as error:
            if time.monotonic() > deadline or error.__cause__ is None or not comes_back(error.__cause__):
                raise
            if not told:
                log.warning("database.awaited", reason=error.detail, seconds=within)
                told = True
        await asyncio.sleep(0.1)
