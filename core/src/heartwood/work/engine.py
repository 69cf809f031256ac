"""PgQueuer, fitted to the house: it and ``fenced`` are slow to import, and only workers need them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from pgqueuer.core.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.types import Channel, QueueEntrypoint, QueueManagerId

from heartwood.work import store
from heartwood.work.attempts import Ending, JobHandler, Verdict
from heartwood.work.fenced import FencedQueries, PickedJob, WatchedDriver

if TYPE_CHECKING:
    import asyncpg
    from pgqueuer.domain.models import Context, Job

    from heartwood.work.bench import Bench


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
        performer = self._bench.performer
        attempt = performer.attempt(self._handler, picked, picked.fence)
        attempt.start(performer.perform(attempt, job))
        self._bench.running[job.id] = attempt
        try:
            with context.cancellation:
                await attempt.over.wait()
            attempt.end(Ending.CANCELLED)
            await attempt.over.wait()
        except asyncio.CancelledError:
            attempt.end(Ending.DATABASE)
            await attempt.over.wait()
            raise
        finally:
            del self._bench.running[job.id]
            picked.outcome = performer.outcome(attempt)
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
