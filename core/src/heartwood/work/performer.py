"""Running attempts at jobs, and judging what becomes of each job."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from heartwood.contracts.errors import Discard, LeaseLost, PluginUnavailable, ServiceUnavailable
from heartwood.contracts.people import HUB, Actor
from heartwood.data.faults import is_away
from heartwood.observe.logs import bind_plugin
from heartwood.plugins.records import sentence
from heartwood.work.attempts import LAST_WORDS, Attempt, Ending, JobHandler, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from heartwood.contracts.jobs import Retry
    from heartwood.data.pool import PgDatabase
    from heartwood.observe.metrics import Metrics

ActorOf: TypeAlias = "Callable[[int, str], Awaitable[Actor]]"
"""Gives the actor for a person (id, name) that a job was enqueued by, with what they may do now."""

CRASHES = 3
"""A job that killed its worker this often is dead, however many attempts it has."""
LONGEST_REASON, LONGEST_TRACE = 2_000, 20_000
PAUSE_AFTER_LOSS = timedelta(seconds=1)
"""How long a job waits that was given back because PostgreSQL went away."""
PAUSE_WITHOUT_PLUGIN = 10.0
"""Seconds, spread by a quarter, that a job waits that was given back because a plugin which it needs does not run."""


async def nobody_may(person: int, name: str) -> Actor:
    """Return an actor without permissions: who asks nobody is told no."""
    return Actor(person, name, frozenset(), "job")


class Performer:
    """Runs attempts and judges how they ended.

    Args:
        database: gives a plugin's way to PostgreSQL.
        log: a structlog logger.
        metrics: where attempts are counted.
        actor_of: gives the actor of a person.
        on_error: told of the plugin, the place and the error whenever a handler failed.
    """

    def __init__(
        self,
        database: Callable[[str], PgDatabase],
        log: Any,
        metrics: Metrics,
        actor_of: ActorOf,
        on_error: Callable[[str, str, BaseException], None],
    ) -> None:
        self.log = log
        self.on_error = on_error
        self._database = database
        self._metrics = metrics
        self._actor_of = actor_of
        self._turns: dict[str, asyncio.Semaphore] = {}

    def attempt(self, handler: JobHandler, row: Any, fence: int) -> Attempt:
        """Return the attempt that ``row`` of the queue stands for."""
        database = self._database(handler.plugin)
        turn = self._turns.setdefault(handler.plugin, asyncio.Semaphore(database.units))
        return Attempt(handler, row, fence, database, turn)

    async def perform(self, attempt: Attempt, row: Any) -> Outcome:
        """Run the handler within its time and return what becomes of the job; raises nothing."""
        started = time.perf_counter()
        bind_plugin(attempt.handler.plugin)
        outcome = await self._run(attempt, row)
        self._count(attempt.handler, outcome.verdict, time.perf_counter() - started)
        return outcome

    def outcome(self, attempt: Attempt) -> Outcome:
        """Return how an attempt ended that is over; one that ignored its end is given back, and may end unheard."""
        task = attempt.task
        assert task is not None  # noqa: S101  (it was started)
        if task.done() and not task.cancelled():
            return task.result()
        if not task.done():
            reason = f"it goes on {LAST_WORDS:g} s after it was cancelled; its results are not written"
            self.log.error("worker.stuck", job=attempt.handler.name, id=attempt.id, reason=reason)
        return attempt.outcome(Verdict.RETURNED, reason=str(attempt.ended or Ending.DATABASE))

    async def _run(self, attempt: Attempt, row: Any) -> Outcome:
        handler = attempt.handler
        limit = asyncio.timeout(handler.job.timeout)
        try:
            async with limit:
                attempt.actor = await self._actor(row.headers or {})
                await handler.call(row.payload, attempt)
        except BaseException as error:  # noqa: BLE001  (a plugin's code may raise anything, and only its job fails)
            return self._judge(attempt, error, timed_out=limit.expired())
        return attempt.outcome(Verdict.SETTLED if attempt.settled else Verdict.DONE)

    def _count(self, handler: JobHandler, verdict: Verdict, seconds: float) -> None:
        metrics, plugin = self._metrics, handler.plugin
        metrics.job_duration_seconds.labels(plugin, handler.job.name).observe(seconds)
        if handler.cron is None:
            return
        task = handler.job.name.removesuffix("@cron")
        metrics.task_runs_total.labels(plugin, task).inc()
        if verdict in (Verdict.DONE, Verdict.SETTLED):
            metrics.task_last_success_timestamp_seconds.labels(plugin, task).set_to_current_time()
        elif verdict is not Verdict.RETURNED:
            metrics.task_failures_total.labels(plugin, task).inc()

    async def _actor(self, headers: Mapping[str, Any]) -> Actor:
        if headers.get("person") is None:
            return Actor(None, HUB.name, HUB.permissions, "job")
        known = await self._actor_of(headers["person"], headers.get("name", ""))
        return Actor(known.person, known.name, known.permissions, "job")

    def _judge(self, attempt: Attempt, error: BaseException, *, timed_out: bool) -> Outcome:
        if attempt.settled:
            return attempt.outcome(Verdict.SETTLED)
        if attempt.ended is not None or isinstance(error, LeaseLost):
            return attempt.outcome(Verdict.RETURNED, reason=str(attempt.ended or error))
        if is_away(error):
            return attempt.outcome(Verdict.RETURNED, reason=str(Ending.DATABASE), delay=PAUSE_AFTER_LOSS)
        if isinstance(error, PluginUnavailable | ServiceUnavailable):
            return self._postponed(attempt, f"given back: {error}")
        if isinstance(error, Discard):
            return self._dead(attempt, _storable(str(error)[:LONGEST_REASON]), error)
        late = f"ran longer than its {attempt.handler.job.timeout:g} s"
        return self._failed(attempt, late if timed_out else _storable(sentence(error)[:LONGEST_REASON]), error)

    def _postponed(self, attempt: Attempt, reason: str) -> Outcome:
        self.log.info("job.postponed", job=attempt.handler.name, id=attempt.id, reason=reason)
        return attempt.outcome(Verdict.RETURNED, reason=reason, delay=_spread(PAUSE_WITHOUT_PLUGIN))

    def _failed(self, attempt: Attempt, reason: str, error: BaseException) -> Outcome:
        handler = attempt.handler
        self.on_error(handler.plugin, f"job {handler.job.name}", error)
        if attempt.last:
            return self._dead(attempt, reason, error)
        wait = delay(handler.job.retry, attempt.attempt)
        facts = {"job": handler.name, "id": attempt.id, "attempt": attempt.attempt, "reason": reason}
        self.log.warning("job.failed", **facts, again_in=round(wait.total_seconds(), 1), exc_info=error)
        return attempt.outcome(Verdict.RETRY, reason=reason, trace=_trace(attempt, error), delay=wait)

    def _dead(self, attempt: Attempt, reason: str, error: BaseException) -> Outcome:
        name, number = attempt.handler.name, attempt.attempt
        self.log.error("job.dead", job=name, id=attempt.id, attempt=number, reason=reason, exc_info=error)
        return attempt.outcome(Verdict.DEAD, reason=reason, trace=_trace(attempt, error))

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
    return _spread(min(retry.first * retry.factor ** (attempt - 1), retry.longest))


def _spread(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311  (no secret)


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
