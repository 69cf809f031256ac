"""The connection of the hub: its session is cleaned only where it may have been changed, which saves a round trip."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg

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
