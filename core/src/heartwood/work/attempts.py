"""One attempt at a job: what its handler is given, and how it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.contracts.errors import LeaseLost
from heartwood.contracts.people import HUB
from heartwood.work import store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from heartwood.contracts.data import Transaction
    from heartwood.contracts.jobs import Job
    from heartwood.contracts.people import Actor
    from heartwood.data.pool import PgDatabase

LAST_WORDS = 5.0
"""Seconds that attempts get to clean up after they were ended; what goes on after that is left behind."""


@frozen
class JobHandler:
    """A job with its bound handler.

    Args:
        plugin: whose it is.
        job: its retries, limits and name.
        call: takes the payload's bytes (None where there were none) and the attempt.
        cron: the five fields of its schedule, for a task that became a job.
    """

    plugin: str
    job: Job
    call: Callable[[bytes | None, Attempt], Awaitable[Any]]
    cron: str | None = None

    @property
    def name(self) -> str:
        """What the queue calls it: ``<plugin>.<name>``."""
        return f"{self.plugin}.{self.job.name}"


class Ending(StrEnum):
    """Why an attempt was ended from outside, in the words that the job's history shows."""

    DRAIN = "given back: the worker stopped"
    DATABASE = "given back: the worker lost PostgreSQL"
    LEASE = "given back: another worker took it"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """What becomes of the job: ended, tried again, dead, or given back without counting the attempt."""

    DONE = "done"
    RETRY = "retry"
    DEAD = "dead"
    KILLED = "killed"
    RETURNED = "returned"
    SETTLED = "settled"


@frozen
class Outcome:
    """How one attempt ended, as it is written down; ``fence`` proves that the job was still its own."""

    id: int
    fence: int
    verdict: Verdict
    delay: timedelta = timedelta()
    reason: str | None = None
    trace: str | None = None


class Attempt:
    """One attempt at a job; handlers know it as ``JobRun``."""

    def __init__(
        self, handler: JobHandler, row: Any, fence: int, database: PgDatabase, turn: AbstractAsyncContextManager[Any]
    ) -> None:
        self.handler = handler
        self.id: int = row.id
        self.fence = fence
        self.attempt: int = row.attempts
        self.actor: Actor = HUB
        self.ended: Ending | None = None
        self.settled = False
        self.task: asyncio.Task[Outcome] | None = None
        self.over = asyncio.Event()
        self._database = database
        self._turn = turn

    @property
    def last(self) -> bool:
        """Whether the job is dead when this attempt fails."""
        return self.attempt >= self.handler.job.retry.attempts

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Transaction]:
        """Open a transaction that commits only while this attempt still owns the job.

        Raises:
            LeaseLost: another worker has resumed the job meanwhile, or it was cancelled.
        """
        async with self._opened(store.FENCE) as tx:
            yield tx

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[Transaction]:
        """Open the transaction around a whole handler: it commits together with the end of the job, once.

        Raises:
            LeaseLost: another worker has resumed the job meanwhile, or it was cancelled.
        """
        async with self._opened(store.SETTLE) as tx:
            yield tx
        self.settled = True

    @asynccontextmanager
    async def _opened(self, question: str) -> AsyncIterator[Transaction]:
        """Open a transaction when it is this attempt's turn; one inside of another does not wait for a second turn."""
        turn, self._turn = self._turn, nullcontext()
        try:
            async with turn, self._database.unit(self.actor) as tx:
                yield tx
                if not await tx.fetchval(question, self.id, self.fence):
                    message = f"Attempt {self.attempt} of job {self.id} ({self.handler.name}) does not own it any more"
                    raise LeaseLost(message)
        finally:
            self._turn = turn

    def start(self, work: Coroutine[Any, Any, Outcome]) -> None:
        """Run the handler in a task of its own; ``over`` is set when it has ended, or has not though it should."""
        self.task = asyncio.create_task(work, name=self.handler.name)
        self.task.add_done_callback(lambda _task: self.over.set())

    def end(self, why: Ending) -> None:
        """Stop the handler; the first reason counts. One that ignores this is left behind: its results are fenced."""
        if self.ended is None and self.task is not None and not self.task.done():
            self.ended = why
            self.task.cancel()
            asyncio.get_running_loop().call_later(LAST_WORDS, self.over.set)

    def outcome(self, verdict: Verdict, **more: Any) -> Outcome:
        """Return ``verdict`` on this attempt."""
        return Outcome(self.id, self.fence, verdict, **more)
