"""Workers: killed, stopped, held up, cut off from PostgreSQL, and what becomes of their jobs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import ClassVar, Protocol

import asyncpg
import pytest

from heartwood import kernel
from heartwood.api import Actor, Job, JobRun, NotReady, Plugin, Provides, hookimpl
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.observe.metrics import Metrics
from heartwood.testing import running_hub
from heartwood.work import attempts as attempts_of_jobs
from heartwood.work import performer
from heartwood.work import worker as worker_module
from heartwood.work.fenced import names


@pytest.mark.parametrize("step", ["pick", "handler", "transaction"])
async def test_a_job_of_a_killed_worker_is_resumed(desk, program, eventually, step):
    """Another worker does it, with one result, after a kill -9 before the handler, in it, or in its transaction."""
    job = await desk.enqueue("read")
    victim = program(hang=step)
    await victim.said(step)
    program_two = program()
    await program_two.said("started")
    victim.kill()
    killed = time.monotonic()
    await eventually(lambda: desk.ended(job), within=10)
    assert time.monotonic() - killed < 10
    assert [(job, 2, "done")] == await desk.results()


async def test_killed_between_commit_and_end_runs_again(desk, program, eventually):
    """A worker that dies after its handler's own unit has committed: delivery is at least once, ``run.id`` stays."""
    job = await desk.enqueue("read")
    victim = program(hang="commit")
    await victim.said("commit")
    victim.kill()
    program()
    await eventually(lambda: desk.ended(job), within=10)
    assert [(job, 1, "done"), (job, 2, "done")] == await desk.results()


async def test_killed_after_a_whole_transaction_does_not_run_again(desk, program, working, eventually):
    """Where the end of the job commits with its rows, a kill right after it changes nothing."""
    job = await desk.enqueue("read_whole")
    victim = program(hang="commit")
    await victim.said("commit")
    victim.kill()
    assert await desk.ended(job)
    assert [(job, 1, "done")] == await desk.results()


async def test_a_job_that_kills_its_worker_three_times_is_dead(desk, program, working, eventually):
    """Attempts are counted at the pick, so such a job ends, with its reason, and can be shown."""
    job = await desk.enqueue("read")
    for _ in range(3):
        victim = program(hang="handler", attempts=10)
        await victim.said("handler")
        victim.kill()
    noted = []

    async def read(_payload, _run):
        raise AssertionError

    async with working(desk.handler("read", read), on_error=lambda *facts: noted.append(str(facts[2]))):
        await eventually(lambda: desk.dead(job))
    row = await desk.row(job)
    assert ("killed its worker 3 times", 3) == (row["reason"], row["attempts"])
    assert [f"job {job} killed its worker 3 times"] == noted


async def test_a_kill_uses_up_an_attempt(desk, program, working, eventually):
    """A job with a single attempt whose worker was killed is dead, and not run again."""
    job = await desk.enqueue("read")
    victim = program(hang="handler")
    await victim.said("handler")
    victim.kill()

    async def read(_payload, _run):
        raise AssertionError

    retry = desk.once
    async with working(desk.handler("read", read, retry=retry)):
        await eventually(lambda: desk.dead(job))
    assert "used up its 1 attempts; the last one killed its worker" == (await desk.row(job))["reason"]


async def test_a_worker_that_stops_lets_its_jobs_end(desk, working, eventually):
    """Stopping waits for what runs, and takes nothing more."""
    go, ended = asyncio.Event(), []

    async def read(_payload, run):
        await go.wait()
        ended.append(run.id)

    async with working(desk.handler("read", read)) as worker:
        job = await desk.enqueue("read")
        await eventually(lambda: worker.running)
        stop = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        late = await desk.enqueue("read")
        go.set()
        await stop
    assert [job] == ended
    assert await desk.ended(job)
    assert "queued" == (await desk.row(late))["status"]


async def test_a_job_that_is_drained_is_given_back(desk, working, eventually):
    """One that does not end in time is cancelled once, can clean up, and waits again with its attempt not counted."""
    cleaned = []

    async def read(_payload, _run):
        try:
            await asyncio.Event().wait()
        finally:
            await desk.core.fetchval("select 1")
            cleaned.append(True)

    job = await desk.enqueue("read")
    async with working(desk.handler("read", read), settings={"drain": 0.1}) as worker:
        await eventually(lambda: worker.running)
    row = await desk.row(job)
    assert [True] == cleaned
    assert ("queued", 0, "given back: the worker stopped") == (row["status"], row["attempts"], row["reason"])


async def test_a_withdrawn_plugin_gives_its_jobs_back(desk, working, eventually):
    """When a plugin stops, its running jobs are given back like those of a worker that stops."""
    job = await desk.enqueue("read")
    async with working(desk.handler("read", forever), settings={"drain": 0.1}) as worker:
        await eventually(lambda: worker.running)
        await worker.withdraw("notes")
        await eventually(lambda: is_queued(desk, job))
        assert 0 == worker.running


async def forever(_payload, _run):
    await asyncio.Event().wait()


async def is_queued(desk, job):
    row = await desk.row(job)
    return (row["status"], row["attempts"]) == ("queued", 0)


async def test_a_worker_survives_postgresql(desk, working, eventually, crash_postgres, lines):
    """All connections gone at once: the running job is given back uncounted, and jobs, new ones too, are done."""
    attempts, go = [], asyncio.Event()

    async def read(_payload, run):
        attempts.append(run.attempt)
        await go.wait()

    async with working(desk.handler("read", read), desk.handler("write", nothing)) as worker:
        job = await desk.enqueue("read")
        await eventually(lambda: worker.running)
        await crash_postgres()
        await eventually(lambda: len(attempts) == 2, within=10)
        go.set()
        await eventually(lambda: desk.ended(job))
        await eventually(lambda: works(desk), within=10)
    assert [1, 1] == attempts
    assert not [line for line in lines if line["log_level"] in ("error", "critical")]


async def works(desk):
    started = time.monotonic()
    job = await desk.enqueue("write")
    while not await desk.ended(job):
        assert time.monotonic() - started < 5
        await asyncio.sleep(0.01)
    return True


async def nothing(_payload, _run):
    pass


async def test_a_lost_database_in_a_handler_is_not_its_fault(desk, working, eventually, log):
    """A handler whose own query fails because its connection was ended is not charged for it."""
    attempts, noted = [], []

    async def read(_payload, run):
        attempts.append(run.attempt)
        if len(attempts) == 1:
            async with run.unit() as tx:
                await tx.execute("select pg_terminate_backend(pg_backend_pid())")

    async with working(desk.handler("read", read), on_error=lambda *facts: noted.append(facts)):
        job = await desk.enqueue("read")
        await eventually(lambda: desk.ended(job), within=15)
    assert ([1, 1], []) == (attempts, noted)


async def test_finished_work_is_written_down_after_postgresql_came_back(desk, working, eventually, crash_postgres):
    """A handler that ends while PostgreSQL is away is not run a second time."""
    runs = []

    async def read(_payload, run):
        runs.append(run.attempt)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with working(desk.handler("read", read)) as worker:
        job = await desk.enqueue("read")
        await eventually(lambda: worker.running)
        await crash_postgres()
        await eventually(lambda: desk.ended(job), within=15)
    assert [1] == runs


async def test_a_held_up_worker_does_not_rob_itself(desk, working, eventually):
    """A handler that blocks the loop for longer than a lease: the process renews its leases first."""
    attempts = []

    async def read(_payload, run):
        attempts.append(run.attempt)
        if "blocked" not in attempts:
            attempts.append("blocked")
            time.sleep(1.0)  # longer than work.lost
            await asyncio.sleep(0.3)

    async with working(desk.handler("read", read)):
        job = await desk.enqueue("read")
        await eventually(lambda: desk.ended(job))
    assert [1, "blocked"] == attempts


async def test_a_blocking_handler_gives_one_result(desk, program, eventually):
    """Two workers, one blocked for longer than a lease: the job is taken over, and only one result is written."""
    job = await desk.enqueue("read")
    blocked = program(block=True)
    await blocked.said("handler")
    program()
    await eventually(lambda: desk.ended(job), within=20)
    blocked.tell()
    await blocked.said("refused")
    assert [(job, 2, "done")] == await desk.results()


@pytest.mark.pg15
async def test_an_attempt_lost_by_a_living_process_is_not_counted(desk, working, eventually):
    """The process notices by its next sign of life, ends the handler, and takes the charge back."""
    ended = []

    async def read(_payload, run):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(run.attempt)

    async with working(desk.handler("read", read)) as worker:
        job = await desk.enqueue("read")
        await eventually(lambda: worker.running)
        await desk.core.execute(THEFT)
        await eventually(lambda: ended)
        await eventually(lambda: attempts_of(desk, job, 1, 0))


THEFT = """
update queue.pgqueuer set status = 'picked', queue_manager_id = gen_random_uuid(), heartbeat = now() + '1 h'
"""


async def attempts_of(desk, job, attempts, crashes):
    row = await desk.row(job)
    return (row["attempts"], row["crashes"]) == (attempts, crashes)


SLOW_COMMIT = """
create function think() returns trigger language plpgsql as $$ begin perform pg_sleep(1.2); return null; end $$;
create constraint trigger slow after insert on result deferrable initially deferred
    for each row execute function think();
"""


STALE = "select heartbeat < now() - interval '0.6 s' from queue.pgqueuer where id = $1"


@pytest.mark.parametrize("kind", ["unit", "whole"])
async def test_a_long_commit_does_not_stop_the_heart(desk, working, eventually, hub_dsn, kind):
    """A commit that takes longer than a lease costs neither its own job the lease nor any other."""
    connection = await asyncpg.connect(hub_dsn)
    await connection.execute(SLOW_COMMIT)
    await connection.close()
    attempts, stale, go = [], [], asyncio.Event()

    async def read(_payload, run):
        attempts.append(run.attempt)
        async with getattr(run, kind)() as tx:
            await tx.execute("insert into result values ($1, $2, 'slow')", run.id, run.attempt)
        stale.append(await desk.core.fetchval(STALE, run.id))

    async def wait(_payload, run):
        attempts.append(run.attempt)
        await go.wait()

    async with working(desk.handler("read", read), desk.handler("wait", wait)), working(desk.handler("read", read)):
        waiting = await desk.enqueue("wait")
        jobs = [await desk.enqueue("read") for _ in range(3)]
        for job in jobs:
            await eventually(lambda job=job: desk.ended(job), within=10)
        go.set()
        await eventually(lambda: desk.ended(waiting))
    assert [1, 1, 1, 1] == attempts
    assert True not in stale
    assert [(job, 1, "slow") for job in jobs] == sorted(await desk.results())


async def test_a_broken_statement_starts_the_worker_anew(desk, working, eventually, lines):
    """An error that is no lost connection is logged, and the worker goes on with a new connection."""
    async with working(desk.handler("write", nothing)):
        await eventually(lambda: works(desk))
        await desk.core.execute("alter table queue.pgqueuer rename to gone")
        await eventually(lambda: [line for line in lines if line["event"] == "worker.interrupted"])
        await desk.core.execute("alter table queue.gone rename to pgqueuer")
        await eventually(lambda: works(desk), within=15)


def test_pgqueuer_takes_no_names_from_the_environment(monkeypatch):
    """PgQueuer reads variables as common as TRIGGER and CHANNEL; the hub does not."""
    before = names().model_dump()
    for name in ("CHANNEL", "TRIGGER", "FUNCTION", "QUEUE_TABLE", "PGQUEUER_PREFIX", "PGQUEUER_SCHEMA"):
        monkeypatch.setenv(name, "stranger")
    assert before == names().model_dump()


async def test_a_handler_that_ignores_its_end_stops_nobody(
    desk, working, monkeypatch, eventually, *, crash_postgres, lines
):
    """After PostgreSQL was lost it is left behind, with a line in the log, and the worker goes on, with its job too."""
    monkeypatch.setattr(attempts_of_jobs, "LAST_WORDS", 0.2)
    started, go = [], asyncio.Event()

    async def deaf(_payload, run):
        started.append(run.attempt)
        while len(started) == 1 and not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()

    async with working(desk.handler("deaf", deaf), desk.handler("write", nothing)) as worker:
        job = await desk.enqueue("deaf")
        await eventually(lambda: worker.running)
        try:
            await crash_postgres()
            await eventually(lambda: desk.ended(job), within=10)
            await eventually(lambda: works(desk), within=10)
        finally:
            go.set()
    assert [1, 1] == started
    assert [("worker.stuck", "notes.deaf", job)] == [
        (line["event"], line["job"], line["id"]) for line in lines if line["log_level"] == "error"
    ]


async def test_many_jobs_with_two_connections_each(hub_dsn, log, desk, working, eventually):
    """Handlers that ask beside their transaction find a connection, however many of them run; none waits in vain."""
    pool = Pool(hub_dsn, DataSettings(acquire_timeout=1.0), log, Metrics())
    await pool.open()
    notes, attempts = pool.database("notes"), []

    async def both(_payload, run):
        attempts.append(run.attempt)
        async with run.whole() as tx:
            await tx.execute("select pg_sleep(0.3)")
            await notes.fetchval("select 1")

    async with working(desk.handler("both", both), pool=pool):
        jobs = [await desk.enqueue("both") for _ in range(20)]
        for job in jobs:
            await eventually(lambda job=job: desk.ended(job), within=15)
    await pool.close()
    assert [1] * 20 == attempts


class Press(Protocol):
    """A service that comes late."""


class Printer(Plugin):
    """Provides a press once its paper has come."""

    name = "printer"
    paper = False

    @hookimpl
    def services(self):
        return [Provides(Press)]

    @hookimpl
    @contextlib.asynccontextmanager
    async def lifespan(self):
        if not Printer.paper:
            message = "no paper"
            raise NotReady(message)
        yield self


class Notes(Plugin):
    """Needs a press in a job."""

    name = "notes"
    attempts: ClassVar[list] = []

    @hookimpl
    def jobs(self):
        async def print_(press: Press, run: JobRun) -> None:
            self.attempts.append(run.attempt)

        return [Job("print", print_)]


async def test_a_job_waits_for_the_plugin_it_needs(monkeypatch, eventually):
    """While the provider of a service is tried again, the job goes back to the queue, and no attempt is used up."""
    monkeypatch.setattr(performer, "PAUSE_WITHOUT_PLUGIN", 0.05)
    monkeypatch.setattr(Printer, "paper", False)
    config = {"loader": {"retry_first": 0.2, "retry_longest": 0.2}}
    async with running_hub(plugins=[Printer, Notes], config=config) as hub:
        async with hub.kernel.database("notes").unit(Actor(None, "test", frozenset(), "command")) as tx:
            await hub.kernel.queue.enqueue(tx, "print")
        await eventually(lambda: hub.log.getvalue().count("job.postponed") > 4)
        Printer.paper = True
        await eventually(lambda: Notes.attempts, within=10)
        await hub.jobs.drain()
        left = await hub.kernel.database("core").fetchval("select count(*) from queue.pgqueuer")
    assert ([1], 0) == (Notes.attempts, left)


async def test_a_worker_that_cannot_take_jobs_says_so(monkeypatch, eventually):
    """A worker whose engine cannot be imported is not ready and says why; it tries again, and is ready then."""
    broken = [ImportError("no queue")] * 2
    real = worker_module.import_module

    def import_module(name):
        if broken:
            raise broken.pop()
        return real(name)

    monkeypatch.setattr(worker_module, "import_module", import_module)
    monkeypatch.setattr(kernel, "READY_WITHIN", 0.01)
    async with running_hub(role="worker") as hub:
        assert ["core.jobs: no jobs are taken: ImportError: no queue"] == await hub.kernel.condition.ready()
        assert await hub.kernel.worker.taking(5)
        await eventually(lambda: is_ready(hub), within=3)


async def is_ready(hub) -> bool:
    return not await hub.kernel.condition.ready()


async def test_a_ready_worker_takes_jobs():
    """``hub.ready`` of a worker means that it has looked into the queue; counting the hub's jobs is for ``serve``."""
    async with running_hub(role="worker") as hub:
        assert await hub.kernel.worker.taking(0)
        roles = {task.name: task.roles for task, _ in hub.kernel.assembly.parts.tasks["core"]}
        assert {"serve"} == roles["measure"]
