"""PgQueuer's statements on one watched connection, with counted attempts and fenced outcomes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries, lost_capacity_slot_race
from pgqueuer.domain.models import Job
from pgqueuer.domain.types import Channel, JobId, QueueEntrypoint, QueueManagerId
from pydantic import Field

from heartwood.work import store
from heartwood.work.attempts import Ending, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from pgqueuer.domain.models import TracebackRecord
    from pgqueuer.domain.types import JOB_STATUS
    from pgqueuer.ports.repository import EntrypointExecutionParameter

    from heartwood.work.bench import Bench

SLOT_INDEX = "pgqueuer_picked_slot_idx"
WORKER_GONE = "given back: its worker lost PostgreSQL or was stopped"


def names() -> DBSettings:
    """Return PgQueuer's names, every one given, for it would take them from ``TRIGGER`` or ``CHANNEL`` otherwise."""
    return DBSettings(
        prefix="",
        db_schema="queue",
        channel=Channel(store.CHANNEL),
        function="fn_pgqueuer_changed",
        statistics_table="pgqueuer_statistics",
        queue_status_type="pgqueuer_status",
        queue_table="pgqueuer",
        queue_table_log="pgqueuer_log",
        trigger="tg_pgqueuer_changed",
        schedules_table="pgqueuer_schedules",
    )


class PickedJob(Job):
    """A picked job with its fence, and in the end what became of it."""

    fence: int
    crashes: int
    outcome: Any = Field(default=None, exclude=True)


class WatchedDriver(AsyncpgDriver):
    """One connection, and the knowledge that it is not good any more."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        super().__init__(connection)
        self.broken = asyncio.Event()
        self.error: Exception | None = None
        connection.add_termination_listener(lambda _connection: self.broken.set())

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Return all rows; a failure other than a lost race for a seat means a new start."""
        try:
            return await super().fetch(query, *args)
        except Exception as error:
            if not lost_capacity_slot_race(error, SLOT_INDEX):
                self.give_up(error)
            raise

    def give_up(self, error: Exception) -> None:
        """Have the worker start anew, on another connection."""
        self.error = self.error or error
        self.broken.set()


class FencedQueries(Queries):
    """PgQueuer's statements, with attempts counted at the pick, and outcomes and heartbeats fenced."""

    def __init__(self, driver: WatchedDriver, bench: Bench) -> None:
        settings = names()
        super().__init__(
            driver,
            qbe=QueryBuilderEnvironment(settings),
            qbq=QueryQueueBuilder(settings),
            qbs=QuerySchedulerBuilder(settings),
        )
        self._watched = driver
        self._bench = bench
        self._beat_at = time.monotonic()

    async def resume(self) -> None:
        """Write down what could not be written before, and give back what this worker held then."""
        await self._write()
        await self.driver.execute(store.GIVE_BACK, self._bench.worker, WORKER_GONE)

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,  # noqa: ARG002  (the time between two signs; a lease is ``work.lost``)
    ) -> list[Job]:
        """Pick jobs. A process that was held up renews its own leases first, so that it never robs itself."""
        if time.monotonic() - self._beat_at > self._bench.settings.heartbeat:
            await self.update_heartbeat([JobId(each) for each in self._bench.running])
        query = self.qbq.build_dequeue_query(
            batch_size=batch_size,
            entrypoints=list(entrypoints),
            concurrency_limits=[each.concurrency_limit for each in entrypoints.values()],
            queue_manager_id=queue_manager_id,
            global_concurrency_limit=global_concurrency_limit,
            heartbeat_timeout=timedelta(seconds=self._bench.settings.lost),
        )
        try:
            rows = await self.driver.fetch(query.sql, *query.args)
        except Exception as error:
            if lost_capacity_slot_race(error, SLOT_INDEX):
                return []
            raise
        self._bench.taking.set()
        return await self._fit([PickedJob.model_validate(row) for row in rows])

    async def _fit(self, jobs: Sequence[PickedJob]) -> list[Job]:
        """Return the jobs that may run; the others are dead, and written down as that."""
        fit: list[Job] = []
        for job in jobs:
            handler = self._bench.handlers.get(job.entrypoint)
            reason = self._bench.performer.overdrawn(handler, job, job.crashes) if handler is not None else None
            if reason is None:
                fit.append(job)
            else:
                self._keep(Outcome(job.id, job.fence, Verdict.KILLED, reason=reason))
        if len(fit) < len(jobs):
            await self._write()
        return fit

    async def eligible_queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        """Return 1 where a job may be taken now, else 0."""
        due = await self.next_deferred_eta(entrypoints)
        return int(due is not None and due <= timedelta())

    async def queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        """Return 1 where a job waits, due or not, else 0."""
        return int(await self.next_deferred_eta(entrypoints) is not None)

    async def next_deferred_eta(self, entrypoints: list[QueueEntrypoint]) -> timedelta | None:
        """Return how long until the first waiting job is due; None where none waits."""
        (row,) = await self.driver.fetch(store.NEXT, list(entrypoints))
        return cast("timedelta | None", row["due"])

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        """Give signs of life; attempts whose job is not ours any more are ended."""
        self._beat_at = time.monotonic()
        if not job_ids:
            return
        try:
            lost = await self._watched.fetch(store.BEAT, list(set(job_ids)), self._bench.worker)
        except Exception:  # noqa: BLE001  (the driver has taken note, and the worker starts anew)
            return
        for row in lost:
            attempt = self._bench.running.get(int(str(row["id"])))
            if attempt is not None:
                attempt.end(Ending.LEASE)

    async def log_jobs(self, job_status: list[tuple[Job, JOB_STATUS, TracebackRecord | None]]) -> None:
        """Write down how attempts ended, many at once. PgQueuer's own status is not used."""
        for each, _, _ in job_status:
            job = cast("PickedJob", each)
            self._keep(job.outcome or Outcome(job.id, job.fence, Verdict.RETURNED, reason=WORKER_GONE))
        try:
            await self._write()
        except Exception as error:  # noqa: BLE001  (what could not be written is kept for the new start)
            self._watched.give_up(error)

    def _keep(self, outcome: Outcome) -> None:
        if outcome.verdict is not Verdict.SETTLED:
            self._bench.unwritten[outcome.id, outcome.fence] = outcome

    async def _write(self) -> None:
        outcomes = list(self._bench.unwritten.values())
        if not outcomes:
            return
        self._bench.unwritten.clear()
        columns = zip(*(_columns(outcome) for outcome in outcomes), strict=True)
        try:
            await self.driver.execute(store.OUTCOMES, *(list(column) for column in columns))
        except BaseException:
            for outcome in outcomes:
                self._keep(outcome)
            raise


def _columns(outcome: Outcome) -> tuple[object, ...]:
    return outcome.id, outcome.fence, outcome.verdict.value, outcome.delay, outcome.reason, outcome.trace
