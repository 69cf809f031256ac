"""A worker process for the tests, ``worker_program.py DSN JSON``: stops where it is told, so it can be killed there.

Steps: ``hang`` is where the handler of ``notes.read`` waits for ever: ``handler``, ``transaction``, ``commit`` (results
are committed, the end of the job is not written) or ``pick`` (picked, not started). With ``block`` it
first blocks the loop until it is told a line; a transaction that is refused or cancelled then is said as ``refused``.
With ``task`` it runs a ``hub`` task in place of jobs.
"""

from __future__ import annotations

import asyncio
import json
import sys

import structlog

from heartwood.contracts.errors import LeaseLost
from heartwood.contracts.jobs import Job, Retry
from heartwood.contracts.tasks import Task
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.observe.metrics import Metrics
from heartwood.work.attempts import JobHandler
from heartwood.work.settings import WorkSettings
from heartwood.work.tasks import Reports, TaskRunner
from heartwood.work.worker import Worker

LOG = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))


async def reached(steps: dict, step: str) -> None:
    print(step, flush=True)  # noqa: T201  (this is how the test is told)
    if steps.get("hang") == step:
        await asyncio.Event().wait()


async def run_task(pool: Pool, metrics: Metrics) -> None:
    """Hold the ``hub`` task ``notes.watch`` until the end, and say ``watching`` once it runs."""

    async def watch() -> None:
        await reached({"hang": "watching"}, "watching")

    runner = TaskRunner(pool.connect, "worker", LOG, metrics, Reports(print, print, print))
    runner.start("notes", Task("watch", watch, forever=True), watch)
    await asyncio.Event().wait()


async def main(dsn: str, steps: dict) -> None:
    async def read(_payload, run) -> None:
        await reached(steps, "handler")
        if "block" in steps:
            sys.stdin.readline()
        try:
            async with run.unit() as tx:
                await tx.execute("insert into result values ($1, $2, 'done')", run.id, run.attempt)
                await reached(steps, "transaction")
        except (LeaseLost, asyncio.CancelledError):  # whichever comes first: the fence, or the next sign of life
            await reached(steps, "refused")
            raise
        await reached(steps, "commit")

    async def read_whole(_payload, run) -> None:
        async with run.whole() as tx:
            await tx.execute("insert into result values ($1, $2, 'done')", run.id, run.attempt)
        await reached(steps, "commit")

    metrics = Metrics()
    pool = Pool(dsn, DataSettings(), LOG, metrics)
    await pool.open()
    settings = WorkSettings(heartbeat=0.2, lost=0.6, drain=steps.get("drain", 5.0))
    worker = Worker(pool, settings, LOG, metrics)
    if steps.get("hang") == "pick":

        async def actor(_person, _name):
            await reached(steps, "pick")

        worker = Worker(pool, settings, LOG, metrics, actor_of=actor)
    retry = Retry(first=0.05, attempts=steps.get("attempts", 3))
    handlers = [JobHandler("notes", Job(call.__name__, call, retry=retry), call) for call in (read, read_whole)]
    worker.serve("notes", handlers)
    if "task" in steps:
        await run_task(pool, metrics)
    await worker.start()
    print("started", flush=True)  # noqa: T201  (as above)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
