"""Jobs as people see them: listed, shown with their attempts, tried again, cancelled, and forgotten in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from heartwood.contracts.cursors import encode_cursor
from heartwood.contracts.errors import Conflict, Invalid, NotFound
from heartwood.contracts.jobs import JobState, Retry
from heartwood.work import store
from heartwood.work.inspect import cancel_job, list_jobs, retry_job, show_job


async def nothing(_payload, _run):
    pass


async def fail(_payload, _run):
    message = "no ink"
    raise ValueError(message)


@pytest.fixture(name="five")
async def _five(desk, working, eventually):
    """One job in each state, by state: queued, running, done, dead and cancelled."""
    go = asyncio.Event()

    async def wait(_payload, _run):
        await go.wait()

    cancelled = await desk.enqueue("later")
    async with desk.core.unit(desk.anna) as tx:
        await cancel_job(tx, cancelled)
    handlers = (
        desk.handler("wait", wait),
        desk.handler("good", nothing),
        desk.handler("bad", fail, retry=Retry(attempts=2, first=0.01)),
    )
    async with working(*handlers) as worker:
        running, done, dead = await desk.enqueue("wait"), await desk.enqueue("good"), await desk.enqueue("bad")
        await eventually(lambda: desk.ended(done))
        await eventually(lambda: desk.dead(dead))
        await eventually(lambda: worker.running == 1)
        queued = await desk.enqueue("other.later")
        yield dict(zip(JobState, (queued, running, done, dead, cancelled), strict=True))
        go.set()


async def test_a_list_has_all_states_newest_first(desk, five):
    """Each job says what it is, whose it is, how it stands and for whom it is done."""
    found = (await list_jobs(desk.core)).items
    assert [five[each] for each in JobState] == [
        job.id for job in sorted(found, key=lambda job: [*JobState].index(job.state))
    ]
    assert sorted((job.id for job in found), reverse=True) == [job.id for job in found]
    dead = next(job for job in found if job.state is JobState.DEAD)
    assert ("notes.bad", "notes", 2, "ValueError: no ink", "anna") == (
        dead.name, dead.plugin, dead.attempts, dead.reason, dead.actor.name,
    )  # fmt: skip
    assert dead.created < dead.updated


async def test_a_list_by_state_and_plugin(desk, five):
    """Filters combine; none means all."""

    async def ids(**filters):
        return {job.id for job in (await list_jobs(desk.core, **filters)).items}

    for state, job in five.items():
        assert {job} == await ids(states=[state])
    assert {five[JobState.DEAD], five[JobState.DONE]} == await ids(states=[JobState.DEAD, JobState.DONE])
    assert {five[JobState.QUEUED]} == await ids(plugin="other")
    assert set() == await ids(plugin="other", states=[JobState.DONE])


async def test_pages_cover_everything_once(desk, five):
    """Following ``next`` leads through all jobs, ended ones among them, and ends."""
    seen, cursor = [], None
    while True:
        page = await list_jobs(desk.core, limit=2, cursor=cursor)
        seen += [job.id for job in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert sorted(five.values(), reverse=True) == seen


@pytest.mark.parametrize("cursor", ["x", encode_cursor("later"), encode_cursor(2**63), encode_cursor(1, 2)])
async def test_a_cursor_that_no_answer_gave_is_refused(desk, cursor):
    """Whatever somebody makes up is a fault of theirs, and no error of the database."""
    with pytest.raises(Invalid, match="The cursor cannot be used"):
        await list_jobs(desk.core, cursor=cursor)


@pytest.mark.parametrize("limit", [0, 501])
async def test_a_page_has_1_to_500_jobs(desk, limit):
    """The sentence says what can be asked for."""
    with pytest.raises(Invalid, match=f"limit = {limit}: give 1 to 500"):
        await list_jobs(desk.core, limit=limit)


async def test_a_dead_job_shows_why_each_attempt_ended(desk, five):
    """Two failed attempts with reason and traceback, oldest first."""
    history = await show_job(desk.core, five[JobState.DEAD])
    assert [JobState.QUEUED, JobState.DEAD] == [each.state for each in history.attempts]
    assert ["ValueError: no ink"] * 2 == [each.reason for each in history.attempts]
    assert all("raise ValueError(message)" in each.trace for each in history.attempts)
    assert all(each.started < each.ended for each in history.attempts)


async def test_the_others_show_what_there_is(desk, five):
    """A running one has an open attempt, a done one a closed one, and one that never ran has none."""
    assert [None] == [each.ended for each in (await show_job(desk.core, five[JobState.RUNNING])).attempts]
    assert [JobState.DONE] == [each.state for each in (await show_job(desk.core, five[JobState.DONE])).attempts]
    assert [] == (await show_job(desk.core, five[JobState.QUEUED])).attempts
    cancelled = (await show_job(desk.core, five[JobState.CANCELLED])).job
    assert (JobState.CANCELLED, "cancelled by anna") == (cancelled.state, cancelled.reason)


async def test_an_attempt_whose_worker_died_says_so(desk, program, eventually):
    """Nobody wrote down its end, so the next pick tells."""
    job = await desk.enqueue("read")
    victim = program(hang="handler")
    await victim.said("handler")
    victim.kill()
    program()
    await eventually(lambda: desk.ended(job), within=10)
    assert ["its worker died", None] == [each.reason for each in (await show_job(desk.core, job)).attempts]


@pytest.mark.parametrize("job", [77, 0, -1, 2**63])
async def test_a_job_that_nobody_knows(desk, job):
    """Showing, retrying and cancelling it is answered with the same sentence, whatever the number."""
    sentence = f"There is no job {job}, or it ended longer ago than work.log_keep_days"
    with pytest.raises(NotFound, match=sentence):
        await show_job(desk.core, job)
    for change in (retry_job, cancel_job):
        with pytest.raises(NotFound, match=sentence):
            await changed(desk, change, job)


async def changed(desk, change, job):
    async with desk.core.unit(desk.anna) as tx:
        await change(tx, job)


async def test_a_dead_job_is_tried_again_with_all_its_attempts(desk, five, eventually):
    """A person's retry counts from zero and is audited; it fails twice again here."""
    job = five[JobState.DEAD]
    await changed(desk, retry_job, job)
    await eventually(lambda: has_attempts(desk, job, 4))
    await eventually(lambda: desk.dead(job))
    assert 2 == (await desk.row(job))["attempts"]
    rows = await desk.core.fetch("select actor, action, subject from core.audit where action = 'jobs.retry'")
    assert [("anna", "jobs.retry", f"job:{job}")] == [tuple(row) for row in rows]


async def has_attempts(desk, job, number) -> bool:
    return len((await show_job(desk.core, job)).attempts) == number


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.DEAD])
async def test_only_a_dead_job_can_be_tried_again(desk, five, state):
    """The sentence says how it stands."""
    with pytest.raises(Conflict, match=f"Job {five[state]} is {state}; only a dead one can be tried again"):
        await changed(desk, retry_job, five[state])


async def test_a_retry_yields_to_a_job_of_the_same_key(desk, working, eventually):
    """Where another job of the dedupe key waits, the dead one stays dead."""
    async with working(desk.handler("read", fail, retry=desk.once)):
        dead = await desk.enqueue("read", dedupe_key="a")
        await eventually(lambda: desk.dead(dead))
    assert await desk.enqueue("read", dedupe_key="a") is not None
    with pytest.raises(Conflict, match="another one with its dedupe key waits or runs"):
        await changed(desk, retry_job, dead)


async def test_a_running_job_is_cancelled_in_its_worker(desk, working, eventually):
    """The handler is stopped at once, can clean up, and nothing it still wants to write is written."""
    ended = []

    async def read(_payload, run):
        try:
            async with run.unit() as tx:
                await tx.execute("insert into result values ($1, 1, 'half')", run.id)
                await asyncio.Event().wait()
        finally:
            ended.append(run.id)

    async with working(desk.handler("read", read), settings={"heartbeat": 60.0, "lost": 120.0}) as worker:
        job = await desk.enqueue("read")
        await eventually(lambda: worker.running)
        await changed(desk, cancel_job, job)
        await eventually(lambda: ended and not worker.running)
    assert [] == await desk.results()
    history = await show_job(desk.core, job)
    assert (JobState.CANCELLED, JobState.CANCELLED) == (history.job.state, history.attempts[0].state)


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED])
async def test_an_ended_job_cannot_be_cancelled(desk, five, state):
    """The sentence says how it ended."""
    with pytest.raises(Conflict, match=f"Job {five[state]} is {state} already"):
        await changed(desk, cancel_job, five[state])


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.DEAD])
async def test_a_job_that_does_not_run_can_be_cancelled(desk, five, state):
    """It leaves the queue and is remembered as cancelled."""
    await changed(desk, cancel_job, five[state])
    assert JobState.CANCELLED is (await show_job(desk.core, five[state])).job.state
    assert await desk.row(five[state]) is None


async def test_old_jobs_are_forgotten_and_young_or_dead_ones_kept(desk, five, monkeypatch):
    """What ended longer ago than the log is kept goes, step by step; a dead job waits for a person."""
    monkeypatch.setattr(store, "AT_ONCE", 2)
    await desk.core.execute("update queue.pgqueuer_log set created = created - interval '31 days'")
    young = await desk.enqueue("later")
    await changed(desk, cancel_job, young)
    old = await desk.core.fetchval("select count(*) from queue.pgqueuer_log where created < now() - interval '30 days'")
    assert old > 5
    assert old == await store.purge(desk.core, timedelta(days=30))
    assert 1 == await desk.core.fetchval("select count(*) from queue.pgqueuer_log")
    expected = {five[JobState.QUEUED], five[JobState.RUNNING], five[JobState.DEAD], young}
    assert expected == {job.id for job in (await list_jobs(desk.core)).items}


async def test_the_queue_is_counted_by_name_and_state(desk, five):
    """What the metrics show: the jobs that are still in the queue."""
    assert five
    expected = {("notes.bad", "failed"): 1, ("notes.wait", "picked"): 1, ("other.later", "queued"): 1}
    assert expected == await store.counts(desk.core)
