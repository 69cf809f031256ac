"""The one connection of a process that stays open: it listens, and it notices when PostgreSQL goes and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
from attrs import frozen

from heartwood.data.faults import EXPECTED, sentence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PROBE_EVERY = 2.0
"""Seconds between two questions to a server that is thought to be well."""
PROBE_TIMEOUT = 2.0
"""Seconds in which it must answer, and in which a new connection must stand; else it counts as away."""
RETRY_FIRST, RETRY_LONGEST = 0.05, 1.0

CONNECT_ERRORS: tuple[type[BaseException], ...] = (*EXPECTED, asyncpg.PostgresError)


@frozen(eq=False)
class Listener:
    """Who is told of the notifications of one channel, and when they may have been missed."""

    channel: str
    callback: Callable[[str], None]
    on_connected: Callable[[], None]
    on_lost: Callable[[], None]


class Line:
    """Keeps one connection, reconnects when it is lost, and knows whether PostgreSQL is there.

    Args:
        connect: makes a connection; it is closed by the line.
        log: told once when PostgreSQL goes away and once when it is back.
        on_down: awaited when it went away.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]], log: Any, on_down: Callable[[], Awaitable[None]]) -> None:
        self._connect = connect
        self._log = log
        self._on_down = on_down
        self._listeners: list[Listener] = []
        self._connection: Any = None
        self._lost = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.down_since: float | None = None
        self.reason = ""

    async def open(self) -> None:
        """Connect for the first time, and watch from then on. Raises what the connection raises."""
        await self._establish()
        self._task = asyncio.create_task(self._keep(), name="database line")

    async def close(self) -> None:
        """Stop watching and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None and not self._connection.is_closed():
            self._connection.remove_termination_listener(self._on_termination)
            with contextlib.suppress(*CONNECT_ERRORS):
                await self._connection.close(timeout=PROBE_TIMEOUT)

    @property
    def lost(self) -> bool:
        """Whether the connection is gone and no other one stands yet."""
        return self._lost.is_set()

    @asynccontextmanager
    async def listener(self, listener: Listener) -> AsyncIterator[None]:
        """Tell ``listener`` of its channel for as long as the context lasts."""
        self._listeners.append(listener)
        async with self._turn:
            if not self._lost.is_set():
                with contextlib.suppress(*CONNECT_ERRORS):  # the line is about to reconnect, which listens again
                    await self._listen(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            if not any(other.channel == listener.channel for other in self._listeners):
                await self._unlisten(listener.channel)

    async def _establish(self) -> None:
        async with asyncio.timeout(PROBE_TIMEOUT):
            connection = await self._connect()
        self._connection = connection
        self._lost.clear()
        connection.add_termination_listener(self._on_termination)
        try:
            async with self._turn:
                for listener in list(self._listeners):
                    await self._listen(listener)
        except BaseException:
            connection.terminate()
            raise

    async def _listen(self, listener: Listener) -> None:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await self._connection.add_listener(listener.channel, self._hear)
        self._safely(listener.on_connected)

    async def _unlisten(self, channel: str) -> None:
        async with self._turn:
            if not self._lost.is_set():
                with contextlib.suppress(*CONNECT_ERRORS):
                    await self._connection.remove_listener(channel, self._hear)

    def _hear(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        for listener in list(self._listeners):
            if listener.channel == channel:
                self._safely(partial(listener.callback, payload))

    def _safely(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001  (somebody else's callback must not end the line)
            self._log.exception("database.listener_failed")

    def _on_termination(self, _connection: Any) -> None:
        self._lost.set()

    async def _keep(self) -> None:
        while True:
            await self._until_lost()
            for listener in list(self._listeners):
                self._safely(listener.on_lost)
            await self._reconnect()

    async def _until_lost(self) -> None:
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_EVERY):  # wait_for of Python 3.11 may swallow a cancellation
                    await self._lost.wait()
            if not self._lost.is_set():
                await self._probe()

    async def _probe(self) -> None:
        try:
            async with self._turn, asyncio.timeout(PROBE_TIMEOUT):
                await self._connection.fetchval("select 1")
        except CONNECT_ERRORS:
            self._lost.set()
            self._connection.terminate()

    async def _reconnect(self) -> None:
        pause = RETRY_FIRST
        while True:
            try:
                await self._establish()
            except Exception as error:  # noqa: BLE001  (whatever it is, the line must not give up)
                await self._down(sentence(error))
            else:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_LONGEST)
        self._up()

    async def _down(self, reason: str) -> None:
        self.reason = reason
        if self.down_since is None:
            self.down_since = time.monotonic()
            self._log.warning("database.down", reason=reason)
            await self._on_down()

    def _up(self) -> None:
        if self.down_since is not None:
            self._log.warning("database.up", seconds=round(time.monotonic() - self.down_since, 1))
            self.down_since = None
