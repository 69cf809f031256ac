"""PgQueuer, fitted to the house. The one place that imports it: it is slow to import and only workers need it."""

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
from pgqueuer.core.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job
from pgqueuer.domain.types import Channel, JobId, QueueEntrypoint, QueueManagerId
from pydantic import Field

from heartwood.work import store
from heartwood.work.attempts import Attempt, Ending, JobHandler, Outcome, Performer, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg
    from pgqueuer.domain.models import Context, TracebackRecord
    from pgqueuer.domain.types import JOB_STATUS
    from pgqueuer.ports.repository import EntrypointExecutionParameter

    from heartwood.work.settings import WorkSettings

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


class Bench:
    """What one worker has at hand for as long as the process lives, whatever becomes of its connections.

    Args:
        settings: sizes and times.
        performer: runs attempts.
        worker: who the worker is to the queue.
    """

    def __init__(self, settings: WorkSettings, performer: Performer, worker: UUID) -> None:
        self.settings = settings
        self.performer = performer
        self.worker = worker
        self.handlers: dict[str, JobHandler] = {}
        self.running: dict[int, Attempt] = {}
        self.unwritten: dict[tuple[int, int], Outcome] = {}

    def end(self, why: Ending, *, plugin: str | None = None) -> None:
        """End all running attempts, or those of one plugin."""
        for attempt in list(self.running.values()):
            if plugin in (None, attempt.handler.plugin):
                attempt.end(why)


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


class JobExecutor(AbstractEntrypointExecutor):
    """Runs one kind of job. It raises nothing: what became of the job stands in its outcome."""

    def __init__(self, handler: JobHandler, bench: Bench, queries: FencedQueries) -> None:
        super().__init__(EntrypointExecutorParameters(concurrency_limit=handler.job.limit or 0, func=_unused))
        self._handler = handler
        self._bench = bench
        self._queries = queries

    async def execute(self, job: Job, context: Context) -> None:
        """Run the handler in a task of its own, so that it is cancelled once and can clean up in peace."""
        picked = cast("PickedJob", job)
        attempt = self._bench.performer.attempt(self._handler, picked, picked.fence)
        task = attempt.task = asyncio.create_task(self._bench.performer.perform(attempt, job), name=self._handler.name)
        self._bench.running[job.id] = attempt
        try:
            with context.cancellation:
                await asyncio.wait({task})
            attempt.end(Ending.CANCELLED)
            await asyncio.wait({task})
        except asyncio.CancelledError:
            attempt.end(Ending.DATABASE)
            await asyncio.wait({task})
            raise
        finally:
            del self._bench.running[job.id]
            if task.done() and not task.cancelled():
                picked.outcome = task.result()
        if self._handler.job.limit is not None:  # the next one waits for this seat, and should not wait for a batch
            await self._queries.log_jobs([(job, "successful", None)])
            picked.outcome = attempt.outcome(Verdict.SETTLED)


class GoneExecutor(AbstractEntrypointExecutor):
    """Stands in for a handler that was withdrawn right after the pick: the job is given back."""

    async def execute(self, job: Job, context: Context) -> None:
        """Do nothing, for a job without an outcome goes back to the queue."""


class Registry(dict[QueueEntrypoint, AbstractEntrypointExecutor]):
    """PgQueuer's executors by name."""

    def __missing__(self, name: QueueEntrypoint) -> AbstractEntrypointExecutor:
        return GoneExecutor(EntrypointExecutorParameters(concurrency_limit=0, func=_unused))


async def _unused(_job: Job) -> None:
    raise NotImplementedError


class Engine:
    """One life of a worker: PgQueuer on one connection, until that is lost or the worker stops."""

    def __init__(self, connection: asyncpg.Connection, bench: Bench) -> None:
        self._bench = bench
        self._connection = connection
        self._driver = WatchedDriver(connection)
        self._queries = FencedQueries(self._driver, bench)
        self._manager = QueueManager(self._queries, channel=Channel(store.CHANNEL))
        self._manager.queue_manager_id = QueueManagerId(bench.worker)
        self._manager.entrypoint_registry = Registry()
        for handler in bench.handlers.values():
            self.serve(handler)

    def serve(self, handler: JobHandler) -> None:
        """Take jobs of this kind from now on."""
        self._manager.register_executor(handler.name, JobExecutor(handler, self._bench, self._queries))

    def withdraw(self, name: str) -> None:
        """Take no more jobs of this kind; those that were picked are run."""
        self._manager.entrypoint_registry.pop(QueueEntrypoint(name), None)

    def stop(self) -> None:
        """Take no more jobs; :meth:`run` returns when the running ones have ended."""
        self._manager.shutdown.set()

    async def run(self) -> None:
        """Run jobs until :meth:`stop`. Raises what went wrong, after all attempts have ended."""
        await self._queries.resume()
        settings = self._bench.settings
        run = asyncio.create_task(
            self._manager.run(
                dequeue_timeout=timedelta(seconds=settings.heartbeat),
                batch_size=settings.batch,
                max_concurrent_tasks=settings.concurrency,
                shutdown_on_listener_failure=True,
                heartbeat_timeout=timedelta(seconds=2 * settings.heartbeat),
                log_aggregation_interval=timedelta(0),
            )
        )
        broken = asyncio.create_task(self._driver.broken.wait())
        try:
            await asyncio.wait({run, broken}, return_when=asyncio.FIRST_COMPLETED)
            if self._driver.broken.is_set():
                self._bench.end(Ending.DATABASE)
                self.stop()
            await run
            if self._driver.error is not None:
                raise self._driver.error
        finally:
            broken.cancel()
            run.cancel()
            await asyncio.wait({run})
            if not self._driver.broken.is_set():
                await self._queries.resume()
