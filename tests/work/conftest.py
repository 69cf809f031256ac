"""Parts that the tests of work share: a migrated database, a pool, a queue, a worker with handlers of the test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import structlog
from attrs import evolve
from structlog.testing import LogCapture

from heartwood.contracts.data import Tables
from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.contracts.jobs import Job, Retry
from heartwood.contracts.people import Actor
from heartwood.data.migrations import MigrationSource, upgrade
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.observe.metrics import Metrics
from heartwood.work.attempts import JobHandler
from heartwood.work.jobs import JobQueue
from heartwood.work.settings import WorkSettings
from heartwood.work.worker import Worker

CORE = MigrationSource("core", Tables("heartwood.data.core_tables:metadata", "heartwood.migrations"))
ANNA = Actor(1, "anna", frozenset({"notes.read"}), "token")
QUICK = WorkSettings(heartbeat=0.2, lost=0.6, drain=5.0)
PROGRAM = Path(__file__).with_name("worker_program.py")


async def _statements(base: Path, *statements: str) -> None:
    connection = await asyncpg.connect(f"postgresql://postgres@/postgres?host={base}")
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture(scope="session", name="template")
def _template(cluster: Path):
    """A database with the core tables and a table for results, to be copied."""

    async def make() -> None:
        await _statements(cluster, "create database work_template")
        url = f"postgresql://postgres@/work_template?host={cluster}"
        done = await upgrade(url, [CORE], structlog.wrap_logger(structlog.PrintLogger(), processors=[LogCapture()]))
        assert done["core"].error is None
        connection = await asyncpg.connect(url)
        await connection.execute("create table result (job bigint, attempt int, text text)")
        await connection.close()

    asyncio.run(make())
    return "work_template"


@pytest.fixture(name="hub_dsn")
def _hub_dsn(cluster: Path, template: str, request):
    """The address of a migrated database of the test's own."""
    name = f"w{os.getpid()}_{abs(hash(request.node.nodeid))}"
    asyncio.run(_statements(cluster, f"create database {name} template {template}"))
    yield f"postgresql://postgres@/{name}?host={cluster}"
    asyncio.run(_statements(cluster, f"drop database {name} with (force)"))


@pytest.fixture(name="lines")
def _lines() -> list:
    """The entries that ``log`` writes."""
    return []


@pytest.fixture(name="log")
def _log(lines: list):
    capture = LogCapture()
    capture.entries = lines
    return structlog.wrap_logger(structlog.PrintLogger(), processors=[capture])


@pytest.fixture(name="pool")
async def _pool(hub_dsn: str, log):
    pool = Pool(hub_dsn, DataSettings(), log, Metrics())
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture(name="core")
def _core(pool: Pool):
    """The kernel's way to PostgreSQL."""
    return pool.database("core")


class Desk:
    """Enqueues jobs of plugin ``notes``, each in a transaction of its own, and looks at them."""

    anna = ANNA
    once = Retry(attempts=1)

    def __init__(self, pool: Pool) -> None:
        self.queue = JobQueue()
        self.core = pool.database("core")
        self.notes = pool.database("notes")

    async def enqueue(self, job: str, payload: object = None, **more) -> int | None:
        async with self.notes.unit(ANNA) as tx:
            return await self.queue.enqueue(tx, job, payload, **more)

    @staticmethod
    def handler(name: str, call, **facts) -> JobHandler:
        """Return the handler of job ``notes.<name>``; ``call`` takes the payload's bytes and the attempt."""
        facts.setdefault("retry", Retry(first=0.05, factor=1))
        return JobHandler("notes", Job(name, call, **facts), call)

    async def row(self, job: int):
        return await self.core.fetchrow("select * from queue.pgqueuer where id = $1", job)

    async def ended(self, job: int) -> bool:
        """Whether the job is done; no where PostgreSQL is away."""
        last = "select status = 'successful' from queue.pgqueuer_log where job_id = $1 order by id desc limit 1"
        try:
            return bool(await self.core.fetchval(last, job))
        except DatabaseUnavailable:
            return False

    async def dead(self, job: int) -> bool:
        row = await self.row(job)
        return row is not None and row["status"] == "failed"

    async def results(self) -> list[tuple[int, int, str]]:
        rows = await self.core.fetch("select job, attempt, text from result order by attempt, text")
        return [tuple(row) for row in rows]


@pytest.fixture(name="desk")
def _desk(pool: Pool) -> Desk:
    return Desk(pool)


@pytest.fixture(name="crash_postgres")
def _crash_postgres(hub_dsn: str):
    """Kill one of PostgreSQL's processes: it ends every connection, recovers, and is back after a moment."""

    async def crash() -> None:
        connection = await asyncpg.connect(hub_dsn)
        os.kill(connection.get_server_pid(), signal.SIGKILL)
        while not connection.is_closed():
            await asyncio.sleep(0.01)
        await _until_back(hub_dsn)

    return crash


async def _until_back(dsn: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            connection = await asyncpg.connect(dsn)
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline, "PostgreSQL did not come back"
            await asyncio.sleep(0.02)
        else:
            await connection.close()
            return


@pytest.fixture(name="working")
def _working(pool: Pool, log):
    """``async with working(handler, …) as worker``: a worker that is stopped at the end."""

    @asynccontextmanager
    async def work(*handlers: JobHandler, pool: Pool = pool, **more):
        settings = evolve(QUICK, **more.pop("settings", {}))
        worker = Worker(pool, settings, log, pool.metrics, **more)
        for plugin in {handler.plugin for handler in handlers}:
            worker.serve(plugin, [handler for handler in handlers if handler.plugin == plugin])
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()

    return work


class Program:
    """A worker in a process of its own, which says on its output how far it has come."""

    def __init__(self, dsn: str, steps: dict) -> None:
        arguments = [sys.executable, PROGRAM, dsn, json.dumps(steps)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    async def said(self, word: str) -> None:
        """Wait until the program has said ``word``."""
        while True:
            line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 30)
            assert line, f"the program ended before it said {word}"
            if line.strip() == word:
                return

    def tell(self) -> None:
        """Let a program that blocks go on."""
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture(name="program")
def _program(hub_dsn: str):
    """``program({...})`` starts a worker process; all are killed at the end."""
    programs: list[Program] = []

    def start(**steps) -> Program:
        programs.append(Program(hub_dsn, steps))
        return programs[-1]

    yield start
    for each in programs:
        each.kill()
        each.process.stdin.close()
        each.process.stdout.close()
