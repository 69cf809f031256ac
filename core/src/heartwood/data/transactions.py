"""Asking PostgreSQL, and the transaction in which a unit of work commits as a whole or not at all."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from heartwood.data.connections import leaves_traces
from heartwood.data.faults import EXPECTED, unavailable
from heartwood.observe.logs import current_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from prometheus_client import Counter

    from heartwood.contracts.data import Stored
    from heartwood.contracts.people import Actor

AUDIT = """
insert into core.audit (person, actor, via, action, subject, detail, request_id)
values ($1, $2, $3, $4, $5, $6::jsonb, $7)
"""


class Asking:
    """The five ways of asking, for whoever says in ``_ask`` on which connection."""

    __slots__ = ()

    async def _ask(self, verb: str, sql: str, args: Sequence[Any]) -> Any:
        raise NotImplementedError

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """Return all rows."""
        rows: list[asyncpg.Record] = await self._ask("fetch", sql, args)
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """Return the first row, or None."""
        return await self._ask("fetchrow", sql, args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        return await self._ask("fetchval", sql, args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement and return PostgreSQL's command tag."""
        return str(await self._ask("execute", sql, args))

    async def executemany(self, sql: str, args: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every sequence of arguments."""
        await self._ask("executemany", sql, (args,))


async def ask(connection: Any, observe: Callable[[float], None], verb: str, sql: str, args: Sequence[Any]) -> Any:
    """Ask on ``connection``, tell ``observe`` the seconds it took, and translate what it means when PostgreSQL is away.

    Raises:
        DatabaseUnavailable: the connection was lost, or the server cannot do this now; asyncpg's error is its cause.
    """
    if leaves_traces(sql):
        connection.touched = True
    started = time.perf_counter()
    try:
        return await getattr(connection, verb)(sql, *args)
    except EXPECTED as error:
        problem = unavailable(error, connection)
        if problem is None:
            raise
        if isinstance(error, asyncpg.InternalClientError):
            connection.terminate()
        raise problem from error
    finally:
        observe(time.perf_counter() - started)


class PgTransaction(Asking):
    """One transaction on one connection, for one actor."""

    __slots__ = ("_actor", "_acts", "_connection", "_observe", "_waiting", "plugin", "remembered")

    def __init__(
        self, connection: Any, actor: Actor, plugin: str, observe: Callable[[float], None], acts: Counter
    ) -> None:
        self._connection = connection
        self._acts = acts
        self._actor = actor
        self._observe = observe
        self._waiting: list[Callable[[], None]] = []
        self.plugin = plugin
        self.remembered: Stored | None = None

    @property
    def actor(self) -> Actor:
        """Who this is done for."""
        return self._actor

    @property
    def connection(self) -> asyncpg.Connection:
        """The connection that holds the transaction. Whoever takes it may change the session, so it is reset later."""
        self._connection.touched = True
        return self._connection

    async def _ask(self, verb: str, sql: str, args: Sequence[Any]) -> Any:
        return await ask(self._connection, self._observe, verb, sql, args)

    async def audit(self, action: str, subject: str, **detail: Any) -> None:
        """Write down that the actor did ``action`` (``documents.delete``) to ``subject``; ``detail`` is JSON."""
        who, request = self._actor, current_request()
        text = orjson.dumps(detail).decode()
        await self._ask("execute", AUDIT, (who.person, who.name, who.via, action, subject, text, request))
        if who.person is not None:
            self.after_commit(lambda: self._acts.labels(self.plugin, action).inc())

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call ``call`` once the transaction has committed; it must be quick and must not raise."""
        self._waiting.append(call)

    def remember(self, answer: Stored) -> None:
        """Give what a repetition of this unit is answered, where it was opened with an idempotency key."""
        self.remembered = answer

    @asynccontextmanager
    async def opened(self, log: Any) -> AsyncIterator[None]:
        """Begin; commit at the end, or roll back where the body raises.

        Raises:
            DatabaseUnavailable: the connection was lost. Where that happened in the commit itself, it is not known
                whether it took effect; an idempotency key makes trying again safe.
        """
        transaction = self._connection.transaction()
        await self._steer(transaction.start)
        try:
            yield
        except BaseException:
            await self._roll_back(transaction)
            raise
        await self._steer(transaction.commit)
        self._tell(log)

    async def _steer(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except EXPECTED as error:
            problem = unavailable(error, self._connection)
            if problem is None:
                raise
            raise problem from error

    async def _roll_back(self, transaction: Any) -> None:
        try:
            await transaction.rollback()
        except EXPECTED:  # the connection is gone, and the transaction with it
            self._connection.terminate()

    def _tell(self, log: Any) -> None:
        for call in self._waiting:
            try:
                call()
            except Exception:
                log.exception("database.after_commit_failed", plugin=self.plugin)
