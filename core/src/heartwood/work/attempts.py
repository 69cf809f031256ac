"""One attempt at a job: what its handler is given, how it ends, and what that means for the job."""

from __future__ import annotations

import asyncio
import random
import traceback
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from attrs import frozen

from heartwood.contracts.errors import Discard, LeaseLost
from heartwood.contracts.people import HUB, Actor
from heartwood.data.faults import is_away
from heartwood.observe.logs import bind_plugin
from heartwood.work import store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from heartwood.contracts.data import Database, Transaction
    from heartwood.contracts.jobs import Job, Retry

ActorOf: TypeAlias = "Callable[[int, str], Awaitable[Actor]]"
"""Gives the actor for a person (id, name) that a job was enqueued by, with what they may do now."""

CRASHES = 3
"""A job that killed its worker this often is dead, however many attempts it has."""
LONGEST_REASON, LONGEST_TRACE = 2_000, 20_000
PAUSE_AFTER_LOSS = timedelta(seconds=1)
"""How long a job waits that was given back because PostgreSQL went away."""


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


async def nobody_may(person: int, name: str) -> Actor:
    """Return an actor without permissions: who asks nobody is told no."""
    return Actor(person, name, frozenset(), "job")


class Attempt:
    """One attempt at a job; handlers know it as ``JobRun``."""

    def __init__(self, handler: JobHandler, row: Any, fence: int, database: Database) -> None:
        self.handler = handler
        self.id: int = row.id
        self.fence = fence
        self.attempt: int = row.attempts
        self.actor = HUB
        self.ended: Ending | None = None
        self.settled = False
        self.task: asyncio.Task[Outcome] | None = None
        self._database = database

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
        async with self._database.unit(self.actor) as tx:
            yield tx
            await self._prove(tx, store.FENCE)

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[Transaction]:
        """Open the transaction around a whole handler: it commits together with the end of the job, once.

        Raises:
            LeaseLost: another worker has resumed the job meanwhile, or it was cancelled.
        """
        async with self._database.unit(self.actor) as tx:
            yield tx
            await self._prove(tx, store.SETTLE)
        self.settled = True

    async def _prove(self, tx: Transaction, question: str) -> None:
        if not await tx.fetchval(question, self.id, self.fence):
            message = f"Attempt {self.attempt} of job {self.id} ({self.handler.name}) does not own it any more"
            raise LeaseLost(message)

    def end(self, why: Ending) -> None:
        """Stop the handler; the first reason counts."""
        if self.ended is None and self.task is not None and not self.task.done():
            self.ended = why
            self.task.cancel()

    def outcome(self, verdict: Verdict, **more: Any) -> Outcome:
        """Return ``verdict`` on this attempt."""
        return Outcome(self.id, self.fence, verdict, **more)


class Performer:
    """Runs attempts and judges how they ended.

    Args:
        database: gives a plugin's way to PostgreSQL.
        log: a structlog logger.
        actor_of: gives the actor of a person.
        on_error: told of the plugin, the place and the error whenever a handler failed.
    """

    def __init__(
        self,
        database: Callable[[str], Database],
        log: Any,
        actor_of: ActorOf,
        on_error: Callable[[str, str, BaseException], None],
    ) -> None:
        self.log = log
        self.on_error = on_error
        self._database = database
        self._actor_of = actor_of

    def attempt(self, handler: JobHandler, row: Any, fence: int) -> Attempt:
        """Return the attempt that ``row`` of the queue stands for."""
        return Attempt(handler, row, fence, self._database(handler.plugin))

    async def perform(self, attempt: Attempt, row: Any) -> Outcome:
        """Run the handler within its time and return what becomes of the job; raises nothing."""
        handler = attempt.handler
        bind_plugin(handler.plugin)
        limit = asyncio.timeout(handler.job.timeout)
        try:
            async with limit:
                attempt.actor = await self._actor(row.headers or {})
                await handler.call(row.payload, attempt)
        except BaseException as error:  # noqa: BLE001  (a plugin's code may raise anything, and only its job fails)
            return self._judge(attempt, error, timed_out=limit.expired())
        return attempt.outcome(Verdict.SETTLED if attempt.settled else Verdict.DONE)

    async def _actor(self, headers: Mapping[str, Any]) -> Actor:
        if headers.get("person") is None:
            return Actor(None, HUB.name, HUB.permissions, "job")
        known = await self._actor_of(headers["person"], headers.get("name", ""))
        return Actor(known.person, known.name, known.permissions, "job")

    def _judge(self, attempt: Attempt, error: BaseException, *, timed_out: bool) -> Outcome:
        if attempt.settled:
            return attempt.outcome(Verdict.SETTLED)
        if attempt.ended is not None:
            return attempt.outcome(Verdict.RETURNED, reason=str(attempt.ended))
        if isinstance(error, LeaseLost):
            return attempt.outcome(Verdict.RETURNED, reason=str(error))
        if is_away(error):
            return attempt.outcome(Verdict.RETURNED, reason=str(Ending.DATABASE), delay=PAUSE_AFTER_LOSS)
        if isinstance(error, Discard):
            return self._dead(attempt, _storable(str(error)[:LONGEST_REASON]), error)
        sentence = f"ran longer than its {attempt.handler.job.timeout:g} s" if timed_out else _sentence(error)
        return self._failed(attempt, sentence, error)

    def _failed(self, attempt: Attempt, sentence: str, error: BaseException) -> Outcome:
        handler = attempt.handler
        self.on_error(handler.plugin, f"job {handler.job.name}", error)
        if attempt.last:
            return self._dead(attempt, sentence, error)
        wait = delay(handler.job.retry, attempt.attempt)
        facts = {"job": handler.name, "id": attempt.id, "attempt": attempt.attempt, "reason": sentence}
        self.log.warning("job.failed", **facts, again_in=round(wait.total_seconds(), 1), exc_info=error)
        return attempt.outcome(Verdict.RETRY, reason=sentence, trace=_trace(attempt, error), delay=wait)

    def _dead(self, attempt: Attempt, sentence: str, error: BaseException) -> Outcome:
        name, number = attempt.handler.name, attempt.attempt
        self.log.error("job.dead", job=name, id=attempt.id, attempt=number, reason=sentence, exc_info=error)
        return attempt.outcome(Verdict.DEAD, reason=sentence, trace=_trace(attempt, error))

    def overdrawn(self, handler: JobHandler, row: Any, crashes: int) -> str | None:
        """Return why the job that ``row`` stands for must not run again, in words, or None."""
        attempts = handler.job.retry.attempts
        if crashes < CRASHES and row.attempts <= attempts:
            return None
        if crashes >= CRASHES:
            reason = f"killed its worker {crashes} times"
        else:
            last = "; the last one killed its worker" if crashes else ""
            reason = f"used up its {attempts} attempts{last}"
        self.log.error("job.dead", job=handler.name, id=row.id, reason=reason)
        self.on_error(handler.plugin, f"job {handler.job.name}", RuntimeError(f"job {row.id} {reason}"))
        return reason


def delay(retry: Retry, attempt: int) -> timedelta:
    """Return how long to wait after failed attempt number ``attempt``, spread by a quarter either way."""
    seconds = min(retry.first * retry.factor ** (attempt - 1), retry.longest)
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311  (no secret)


def _sentence(error: BaseException) -> str:
    return _storable(f"{type(error).__name__}: {error}"[:LONGEST_REASON])


def _storable(text: str) -> str:
    """Return ``text`` without what PostgreSQL cannot store, for an error must not keep itself from being written."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def _trace(attempt: Attempt, error: BaseException) -> str:
    """Return the traceback in the form that PgQueuer's own tools read."""
    text = "".join(traceback.format_exception(error))
    return orjson.dumps(
        {
            "job_id": attempt.id,
            "timestamp": datetime.now(UTC),
            "exception_type": type(error).__name__,
            "exception_message": _storable(str(error)[:LONGEST_REASON]),
            "traceback": _storable(text[-LONGEST_TRACE:]),
            "additional_context": None,
        }
    ).decode()
