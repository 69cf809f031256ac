"""The connections of one process to PostgreSQL, and the share of them that each plugin has."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg

from heartwood.contracts.errors import DatabaseUnavailable, Repeated
from heartwood.data import idempotency
from heartwood.data.connections import HubConnection, connection_arguments
from heartwood.data.faults import EXPECTED, comes_back, is_lost, sentence, unavailable
from heartwood.data.line import CONNECT_ERRORS, Line, Listener
from heartwood.data.transactions import Asking, PgTransaction, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from heartwood.contracts.people import Actor
    from heartwood.data.embedded.dsn import Dsn
    from heartwood.data.settings import DataSettings
    from heartwood.observe.metrics import Metrics

KERNEL = "core"
"""The name under which the kernel asks; it is not bound to a share, and one connection is always left to it."""


_ONCE = re.compile(r"\.\s*\"?\w+\"?\s*\(|\b(?:nextval|setval|set_config|pg_notify)\b|advisory", re.IGNORECASE)
"""What a SELECT may do beside reading: call a function of a schema, which may write, or one of these of PostgreSQL."""


class Pool:
    """The connections of one process.

    Args:
        dsn: the address of the database.
        settings: sizes and limits.
        log: a structlog logger.
        metrics: where waits and queries are counted, by plugin.
        application: the name that PostgreSQL shows for these connections.
    """

    def __init__(
        self,
        dsn: Dsn | str,
        settings: DataSettings,
        log: Any,
        metrics: Metrics,
        *,
        application: str = "heartwood",
    ) -> None:
        url = dsn if isinstance(dsn, str) else dsn.url
        self.settings = settings
        self.log = log
        self.metrics = metrics
        self.everybody = asyncio.Semaphore(settings.pool_size)
        self.plugins = asyncio.Semaphore(settings.pool_size - 1)
        self.units = asyncio.Semaphore(max(1, settings.pool_size - 2))
        self._arguments = connection_arguments(url, settings, application)
        self._line = Line(self.connect, log, self._drop_all)
        self._databases: dict[str, PgDatabase] = {}
        self._held: set[HubConnection] = set()
        self._idle: list[HubConnection] = []

    async def open(self) -> None:
        """Connect; a server that is not there yet is waited for up to ``data.acquire_timeout`` seconds.

        Raises:
            DatabaseUnavailable: it did not come, or it refuses us; the sentence says why.
        """
        deadline = time.monotonic() + self.settings.acquire_timeout
        while True:
            try:
                await self._line.open()
            except CONNECT_ERRORS as error:
                if time.monotonic() > deadline or not comes_back(error):
                    message = f"PostgreSQL gave no connection: {sentence(error)}; see data.database_url"
                    raise DatabaseUnavailable(message) from error
                await asyncio.sleep(0.1)
            else:
                break

    async def close(self) -> None:
        """Close every connection; those that are still in use are cut."""
        await self._line.close()
        for connection in self._idle:
            with contextlib.suppress(*CONNECT_ERRORS):
                await connection.close(timeout=1)
        await self._drop_all()

    @property
    def state(self) -> str:
        """``up`` or ``down``."""
        return "up" if self._line.down_since is None else "down"

    @property
    def lost(self) -> bool:
        """Whether PostgreSQL does not answer at this moment; it may not be known yet to be down."""
        return self._line.lost

    def database(self, plugin: str) -> PgDatabase:
        """Return the way to PostgreSQL of ``plugin``; always the same one."""
        if plugin not in self._databases:
            self._databases[plugin] = PgDatabase(self, plugin)
        return self._databases[plugin]

    def listener(
        self,
        channel: str,
        callback: Callable[[str], None],
        *,
        on_connected: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> AbstractAsyncContextManager[None]:
        """Call ``callback`` with the payload of every notification of ``channel`` for as long as the context lasts.

        All listeners share one connection, which reconnects by itself. Notifications sent meanwhile are lost:
        ``on_lost`` and ``on_connected`` say when. The callbacks must be quick; an error in one is logged.
        """
        return self._line.listener(Listener(channel, callback, on_connected, on_lost))

    async def connect(self) -> Any:
        """Return a connection outside of the pool, for session locks; the caller closes it. Raises asyncpg's errors."""
        return await asyncpg.connect(**self._arguments)

    async def take(self) -> HubConnection:
        """Take a connection; give it back with :meth:`give_back`. The caller limits how long it waits.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
        """
        if self._line.down_since is not None:
            message = f"PostgreSQL is away: {self._line.reason}"
            raise DatabaseUnavailable(message, retry_after=2)
        while self._idle and self._idle[-1].is_closed():
            self._idle.pop()
        connection = self._idle.pop() if self._idle else await self._new()
        self._held.add(connection)
        return connection

    async def _new(self) -> HubConnection:
        try:
            connection: HubConnection = await asyncpg.connect(connection_class=HubConnection, **self._arguments)
        except EXPECTED as error:
            problem = unavailable(error)
            if problem is None:
                raise
            raise problem from error
        return connection

    async def give_back(self, connection: HubConnection) -> None:
        """Give a connection back. One that broke is dropped without a word: what was asked has been answered."""
        self._held.discard(connection)
        if connection.is_closed():
            return
        try:
            await connection.clean(self.settings.acquire_timeout)
        except BaseException as error:
            connection.terminate()
            if not isinstance(error, EXPECTED):
                raise
        else:
            self._idle.append(connection)

    async def _drop_all(self) -> None:
        for connection in (*self._held, *self._idle):
            connection.terminate()
        self._idle.clear()


class PgDatabase(Asking):
    """A plugin's way to PostgreSQL: timed under its name, with its share of the connections."""

    __slots__ = ("_gates", "_observe_query", "_observe_wait", "_pool", "_unit_gates", "plugin", "units")

    def __init__(self, pool: Pool, plugin: str) -> None:
        self._pool = pool
        self.plugin = plugin
        self._gates = self._unit_gates = [pool.everybody]
        self.units = pool.settings.pool_size
        if plugin != KERNEL:
            share = max(1, int(pool.settings.pool_size * pool.settings.plugin_share))
            self._gates = [asyncio.Semaphore(share), pool.plugins, pool.everybody]
            self.units = max(1, share - 1)  # who asks something else beside a transaction must find a connection
            self._unit_gates = [asyncio.Semaphore(self.units), pool.units, *self._gates]
        self._observe_wait = pool.metrics.database_wait_seconds.labels(plugin).observe
        self._observe_query = pool.metrics.database_query_seconds.labels(plugin).observe

    async def _ask(self, verb: str, sql: str, args: Sequence[Any]) -> Any:
        try:
            return await self._ask_once(verb, sql, args)
        except DatabaseUnavailable as error:
            if error.__cause__ is None or not is_lost(error.__cause__) or not _reads(sql):
                raise
        return await self._ask_once(verb, sql, args)

    async def _ask_once(self, verb: str, sql: str, args: Sequence[Any]) -> Any:
        async with self._connection(self._gates) as connection:
            return await ask(connection, self._observe_query, verb, sql, args)

    @asynccontextmanager
    async def unit(self, actor: Actor, key: str | None = None, *, body: bytes = b"") -> AsyncIterator[PgTransaction]:
        """Open a transaction. With a ``key`` it is done at most once for each actor in 24 hours.

        Args:
            actor: who this is done for.
            key: what ``idempotency_key(request)`` returned, or a name of the plugin's own; None: no key.
            body: the SHA-256 of what was asked; the same key with another one is refused.

        Raises:
            Repeated: this has been done; it carries the answer given to ``tx.remember`` then. Let it pass: the kernel
                sends that answer.
            Invalid, Conflict: the key was used with another body; it is in use right now.
            DatabaseUnavailable: no connection, or it was lost.
        """
        async with self._connection(self._unit_gates) as connection:
            tx = PgTransaction(
                connection, actor, self.plugin, self._observe_query, self._pool.metrics.user_activity_total
            )
            async with tx.opened(self._pool.log):
                if key is not None and (stored := await idempotency.look_up(tx, key, body)):
                    raise Repeated(stored)
                yield tx
                if key is not None:
                    await idempotency.store(tx, key, body, tx.remembered)

    @asynccontextmanager
    async def _connection(self, gates: Sequence[asyncio.Semaphore]) -> AsyncIterator[HubConnection]:
        started = time.perf_counter()
        connection = await self._admit(gates)
        self._observe_wait(time.perf_counter() - started)
        try:
            yield connection
        finally:
            try:
                await self._pool.give_back(connection)
            finally:
                for gate in gates:
                    gate.release()

    async def _admit(self, gates: Sequence[asyncio.Semaphore]) -> HubConnection:
        passed: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(self._pool.settings.acquire_timeout):
                for gate in gates:
                    await gate.acquire()
                    passed.append(gate)
                return await self._pool.take()
        except BaseException as error:
            for gate in passed:
                gate.release()
            if isinstance(error, TimeoutError):
                if self._pool.lost:
                    message = "PostgreSQL is away: it does not answer"
                    raise DatabaseUnavailable(message, retry_after=2) from None
                raise DatabaseUnavailable(self._why(len(passed)), retry_after=1) from error
            raise

    def _why(self, passed: int) -> str:
        limit = f"within data.acquire_timeout = {self._pool.settings.acquire_timeout:g} s"
        if self.plugin != KERNEL and passed == 0:
            return f"Plugin {self.plugin!r} holds its share of the connections already; none came free {limit}"
        return f"No connection came free {limit}"


@lru_cache(maxsize=2048)
def _reads(sql: str) -> bool:
    """Whether ``sql`` may be asked twice: it begins with SELECT, and calls nothing that may write."""
    return sql.lstrip()[:6].lower() == "select" and not _ONCE.search(sql)
