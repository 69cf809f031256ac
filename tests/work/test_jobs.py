"""Jobs: enqueued with their cause, taken, retried, and given up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from attrs import frozen

from heartwood.contracts.errors import Discard, HeartwoodError, LeaseLost
from heartwood.contracts.jobs import Job, Retry
from heartwood.contracts.people import Actor
from heartwood.work.jobs import JobQueue, UnknownJob
from heartwood.work.performer import delay


@frozen
class Note:
    text: str


async def test_a_job_is_run_with_its_payload(desk, working, eventually):
    """A handler gets what was enqueued, as JSON, and its job is done then."""
    seen = []

    async def read(payload, run):
        seen.append((payload, run.id, run.attempt, run.last))

    async with working(desk.handler("read", read)):
        job = await desk.enqueue("read", Note("milk"))
        await eventually(lambda: desk.ended(job))
    assert [(b'{"text":"milk"}', job, 1, False)] == seen


@pytest.mark.pg15
async def test_a_job_is_part_of_the_transaction(desk):
    """Where the transaction is rolled back, there is no job."""

    async def enqueue_and_fail():
        async with desk.notes.unit(desk.anna) as tx:
            await desk.queue.enqueue(tx, "read")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await enqueue_and_fail()
    assert 0 == await desk.core.fetchval("select count(*) from queue.pgqueuer")


async def test_a_name_with_and_without_plugin(desk):
    """``read`` is the plugin's own job, ``ocr.read`` another's."""
    jobs = [await desk.enqueue("read"), await desk.enqueue("ocr.read")]
    assert ["notes.read", "ocr.read"] == [(await desk.row(job))["entrypoint"] for job in jobs]


async def test_a_mistyped_job_is_refused(desk):
    """A name that the plugin does not have is an error that names the likely one."""
    desk.queue.know("notes", [Job("read", print)])
    with pytest.raises(UnknownJob, match=r"Plugin 'notes' has no job 'raed'; did you mean 'notes.read'\?"):
        await desk.enqueue("raed")


@pytest.mark.pg15
async def test_a_dedupe_key_counts_while_a_job_waits_or_runs(desk, working, eventually):
    """The second job of a key is skipped, without an error, until the first one has ended."""
    go = asyncio.Event()

    async def read(_payload, _run):
        await go.wait()

    first = await desk.enqueue("read", dedupe_key="a")
    assert await desk.enqueue("read", dedupe_key="a") is None
    assert await desk.enqueue("read", dedupe_key="b") is not None
    assert await desk.enqueue("write", dedupe_key="a") is not None
    async with working(desk.handler("read", read)) as worker:
        await eventually(lambda: worker.running == 2)
        assert await desk.enqueue("read", dedupe_key="a") is None
        go.set()
        await eventually(lambda: desk.ended(first))
        assert await desk.enqueue("read", dedupe_key="a") is not None


async def test_a_skipped_job_leaves_the_transaction_usable(desk):
    """A dedupe key that is taken does not abort the transaction."""
    await desk.enqueue("read", dedupe_key="a")
    async with desk.notes.unit(desk.anna) as tx:
        assert await desk.queue.enqueue(tx, "read", dedupe_key="a") is None
        assert 1 == await tx.fetchval("select 1")


async def test_priority_and_delay(desk, working, eventually):
    """A higher number is taken first, the job's own by default, and a delayed job waits."""
    order = []

    async def read(payload, _run):
        order.append(payload)

    desk.queue.know("notes", [Job("read", read, priority=5)])
    for payload, more in [(b"low", {"priority": 1}), (b"own", {}), (b"high", {"priority": 9})]:
        await desk.enqueue("read", payload, **more)
    late = await desk.enqueue("read", b"late", priority=99, delay=60)
    created, due = await desk.core.fetchrow("select created, execute_after from queue.pgqueuer where id = $1", late)
    assert timedelta(seconds=60) == due - created
    async with working(desk.handler("read", read), settings={"concurrency": 2, "batch": 1}):
        await eventually(lambda: order == [b"high", b"own", b"low"])
        await desk.core.execute("update queue.pgqueuer set execute_after = now() where id = $1", late)
        await eventually(lambda: desk.ended(late))
    assert [b"high", b"own", b"low", b"late"] == order


async def test_an_actor_is_remembered(desk, working, eventually):
    """The handler acts for the person who enqueued, with what that person may do now, via ``job``."""
    actors = []

    async def read(_payload, run):
        actors.append(run.actor)

    async def actor_of(person, name):
        return Actor(person, name, frozenset({"notes.write"}), "token")

    async with working(desk.handler("read", read), actor_of=actor_of):
        await eventually(await_ended(desk, await desk.enqueue("read")))
    async with working(desk.handler("read", read)):
        await eventually(await_ended(desk, await desk.enqueue("read")))
    assert [Actor(1, "anna", frozenset({"notes.write"}), "job"), Actor(1, "anna", frozenset(), "job")] == actors


def await_ended(desk, job):
    return lambda: desk.ended(job)


@pytest.mark.pg15
async def test_a_job_that_raises_is_tried_again_and_then_dead(desk, working, eventually, lines):
    """It is tried as often as its retry says, noted each time, and then kept with its reason."""
    attempts, noted = [], []

    async def read(_payload, run):
        attempts.append((run.attempt, run.last))
        message = "no ink"
        raise ValueError(message)

    async with working(desk.handler("read", read), on_error=lambda *facts: noted.append(facts[:2])):
        job = await desk.enqueue("read")
        await eventually(lambda: desk.dead(job))
    row = await desk.row(job)
    assert [(1, False), (2, False), (3, True)] == attempts
    assert (3, "ValueError: no ink") == (row["attempts"], row["reason"])
    assert [("notes", "job read")] * 3 == noted
    assert ["job.failed", "job.failed", "job.dead"] == [line["event"] for line in lines]


async def test_discard_is_not_tried_again(desk, working, eventually):
    """A handler that raises Discard makes the job dead at once, with its sentence."""

    async def read(_payload, _run):
        message = "the file is empty"
        raise Discard(message)

    async with working(desk.handler("read", read)):
        job = await desk.enqueue("read")
        await eventually(lambda: desk.dead(job))
    assert (1, "the file is empty") == ((row := await desk.row(job))["attempts"], row["reason"])


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), Exception("\0\ud800" * 3000)])
async def test_whatever_a_handler_raises_fails_its_job_only(desk, working, eventually, error):
    """sys.exit, a stray cancellation and text that cannot be stored are failures like any other."""

    async def read(_payload, _run):
        raise error

    async with working(desk.handler("read", read, retry=Retry(attempts=1)), desk.handler("write", nothing)):
        job = await desk.enqueue("read")
        await eventually(lambda: desk.dead(job))
        other = await desk.enqueue("write")
        await eventually(lambda: desk.ended(other))
    assert (await desk.row(job))["reason"].startswith(type(error).__name__)


async def nothing(_payload, _run):
    pass


async def test_an_attempt_has_a_time_limit(desk, working, eventually):
    """A handler that takes longer is cancelled, and the reason says so."""

    async def read(_payload, _run):
        await asyncio.Event().wait()

    async with working(desk.handler("read", read, timeout=0.05, retry=Retry(attempts=1))):
        job = await desk.enqueue("read")
        await eventually(lambda: desk.dead(job))
    assert "ran longer than its 0.05 s" == (await desk.row(job))["reason"]


async def test_a_limit_holds_in_the_whole_hub(desk, working, eventually):
    """Two workers together run no more of a kind at once than its limit."""
    now, most, done = 0, 0, 0

    async def read(_payload, _run):
        nonlocal now, most, done
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        done += 1

    limited = desk.handler("read", read, limit=2)
    for _ in range(12):
        await desk.enqueue("read")
    async with working(limited), working(limited):
        await eventually(lambda: done == 12, within=20)
    assert 2 == most


async def test_a_worker_takes_only_jobs_it_has_handlers_for(desk, working, eventually):
    """A job of a plugin that is not here waits for a worker that has it."""
    foreign = await desk.enqueue("ocr.read")
    async with working(desk.handler("write", nothing)):
        job = await desk.enqueue("write")
        await eventually(lambda: desk.ended(job))
    assert "queued" == (await desk.row(foreign))["status"]


async def test_handlers_come_and_go(desk, working, eventually):
    """A worker serves what it is given later, and leaves what is withdrawn."""
    async with working() as worker:
        job = await desk.enqueue("write")
        worker.serve("notes", [desk.handler("write", nothing)])
        await eventually(lambda: desk.ended(job))
        await worker.withdraw("notes")
        worker.serve("notes", [desk.handler("read", nothing)])
        waiting, job = await desk.enqueue("write"), await desk.enqueue("read")
        await eventually(lambda: desk.ended(job))
    assert "queued" == (await desk.row(waiting))["status"]


@pytest.mark.pg15
async def test_a_whole_transaction_ends_the_job(desk, working, eventually):
    """Rows of a handler's injected transaction commit with the end of its job, and not where it raises."""

    async def read(_payload, run):
        async with run.whole() as tx:
            await tx.execute("insert into result values ($1, $2, 'half')", run.id, run.attempt)
            if run.attempt == 1:
                raise ValueError

    async with working(desk.handler("read", read)):
        job = await desk.enqueue("read")
        await eventually(lambda: desk.ended(job))
    assert [(job, 2, "half")] == await desk.results()
    assert await desk.row(job) is None


@pytest.mark.pg15
async def test_results_of_a_lost_attempt_are_refused(desk, working, eventually):
    """A transaction of an attempt whose job was taken by another is rolled back, and the job is not marked done."""
    refused = []

    async def read(_payload, run):
        if run.attempt > 1:
            return
        await desk.core.execute("update queue.pgqueuer set status = 'picked', queue_manager_id = gen_random_uuid()")
        try:
            async with run.unit() as tx:
                await tx.execute("insert into result values ($1, $2, 'late')", run.id, run.attempt)
        except LeaseLost as error:
            refused.append(str(error))
            raise

    async with working(desk.handler("read", read)):
        job = await desk.enqueue("read")
        await eventually(lambda: refused)
        assert [] == await desk.results()
        assert [f"Attempt 1 of job {job} (notes.read) does not own it any more"] == refused
        await eventually(lambda: desk.ended(job))


def test_the_wait_between_attempts_grows_and_is_spread():
    """The wait is first * factor ** (n - 1), at most longest, a quarter more or less."""
    retry = Retry(first=2, factor=4, longest=60)
    for attempt, expected in [(1, 2), (2, 8), (3, 32), (4, 60), (9, 60)]:
        waits = {delay(retry, attempt).total_seconds() for _ in range(50)}
        assert 0.75 * expected <= min(waits) < max(waits) <= 1.25 * expected


def test_a_queue_without_catalog_takes_any_name():
    """A process that does not have the plugin cannot know its jobs."""
    assert JobQueue()._find("ocr.read") is None
    assert issubclass(UnknownJob, HeartwoodError)
