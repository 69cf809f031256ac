"""Kill -9 of a worker, at every step of a job."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import asyncpg
import psutil

RECEIPT = Path(__file__).parents[1] / "data_files" / "receipt.jpg"
RESUMED_WITHIN = 10.0
QUICK = {"work.heartbeat": "0.2", "work.lost": "0.6"}

ROOM = {"data.pool_size": "48", "data.plugin_share": "0.9"}
"""Connections for 20 jobs at once that hold one in a transaction and want another."""

STARTS = """
select job, array_agg(attempt order by attempt), extract(epoch from max(at) filter (where attempt = 2))::float
from steps.start group by job
"""
OPEN = "select count(*) from queue.pgqueuer where status <> 'failed'"
DONE = "select count(*) from queue.pgqueuer_log where entrypoint = 'ocr.read' and status = 'successful'"
WAITING_COMMITS = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and not granted"
WAITING_FOR_PEOPLE = "select count(*) from pg_locks where relation = 'core.person'::regclass and not granted"


async def test_a_worker_is_killed_at_every_step(make_hub, dsn, wait):
    """Seven jobs of one worker are killed each at another step: each has one result, those unfinished in 10 s."""
    hub = make_hub(dsn, **ROOM)
    await hub.start("serve", "--no-jobs").ready()
    victim = await hub.start("worker").ready()
    commits, people = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    await commits.execute("select pg_advisory_lock(4711)")
    steps = [
        ("parts", "handler"),
        ("parts", "transaction"),
        ("parts", "commit"),
        ("parts", "committed"),
        ("whole", "transaction"),
        ("whole", "commit"),
    ]
    async with hub.client() as client:
        jobs = {step: await hub.order(client, step[1], kind=step[0]) for step in steps}
        await wait(lambda: _are(hub, "select count(*) from steps.stop", 4), within=10, what="the stops")
        await wait(lambda: _are(hub, WAITING_COMMITS, 2), within=10, what="the waiting commits")
        await people.execute("begin; lock table core.person in access exclusive mode")
        jobs["parts", "pick"] = await hub.order(client)  # its handler is not reached before the actor is known
        await wait(lambda: _are(hub, WAITING_FOR_PEOPLE, 1), within=10, what="the pick")
    other = await hub.start("worker").ready()

    killed = victim.kill()
    await people.close()
    await commits.close()
    await wait(lambda: _are(hub, "select count(*) from queue.pgqueuer", 0), within=20, what="the end of all jobs")

    started = {job: (attempts, at) for job, attempts, at in await hub.rows(STARTS)}
    for step, job in jobs.items():
        attempts, resumed = started[job]
        expected = {("whole", "commit"): [1], ("parts", "pick"): [2]}.get(step, [1, 2])
        assert expected == attempts, step
        assert resumed is None or resumed - killed <= RESUMED_WITHIN, step
    results = await hub.rows("select job, attempt from steps.result order by 1")
    first = {jobs["parts", "commit"], jobs["parts", "committed"], jobs["whole", "commit"]}
    assert sorted((job, 1 if job in first else 2) for job in jobs.values()) == results
    await other.stop()


async def test_a_job_that_kills_its_worker_three_times_is_dead(make_hub, dsn, wait):
    """After three workers it is dead, with its reason, for everybody to see; the fourth worker lives and works on."""
    hub = make_hub(dsn, **QUICK)
    await hub.start("serve", "--no-jobs").ready()
    async with hub.client() as client:
        poison = await hub.order(client, "kill")
        for number in range(1, 4):
            worker = hub.start("worker")
            await wait(lambda: worker.popen.poll() is not None, within=20, what=f"death {number}")  # noqa: B023  (awaited here)
            assert -9 == worker.popen.returncode
        worker = await hub.start("worker").ready()
        dead = "select reason from queue.pgqueuer where id = $1 and status = 'failed'"
        await wait(lambda: hub.rows(dead, poison), within=10, what="its end")
        good = await hub.order(client)
        await wait(lambda: _are(hub, "select count(*) from steps.result", 1), within=10, what="the next job")
        async with client.get(f"/business/jobs/{poison}") as answer:
            job = (await answer.json())["job"]
    assert ("dead", 3, "killed its worker 3 times") == (job["state"], job["attempts"], job["reason"])
    assert [(good, 1)] == await hub.rows("select job, attempt from steps.result")
    assert ["job.dead"] == worker.events("warning", "error")
    await worker.stop()


async def test_a_worker_is_killed_while_it_reads_a_document(make_hub, dsn, wait):
    """Its child processes are gone within a second, and another worker reads the document, once."""
    hub = make_hub(dsn, plugins=("ocr",), **QUICK)
    await hub.start("serve", "--no-jobs").ready()
    victim = await hub.start("worker").ready()
    async with hub.client() as client:
        async with client.post("/business/documents/upload", data={"file": io.BytesIO(RECEIPT.read_bytes())}) as answer:
            (document,) = (await answer.json())["documents"]
        children = await wait(lambda: psutil.Process(victim.popen.pid).children(recursive=True), within=10)
        victim.kill()
        await wait(lambda: not any(_alive(child) for child in children), within=1, what="the end of its children")
        other = await hub.start("worker").ready()

        async def is_read() -> str:
            async with client.get(document["url"]) as answer:
                return (await answer.json())["status"] in ("ready", "needs_review")

        await wait(is_read, within=30)
    await wait(lambda: _are(hub, "select count(*) from queue.pgqueuer", 0), within=5, what="the end of the job")
    assert 1 == await hub.value("select count(*) from ocr.page")
    assert 1 == await hub.value(DONE)
    await other.stop()


async def test_workers_are_killed_at_any_moment(make_hub, dsn, wait, form):
    """Two workers on many jobs, one killed again and again: every job has one result, or is dead and says why."""
    form.only_long()
    hub = make_hub(dsn, **QUICK, **ROOM)
    await hub.start("serve", "--no-jobs").ready()
    await hub.start("worker").ready()
    made: list[int] = []

    async def keep_ordering(client) -> None:
        while True:
            made.append(await hub.order(client, "pause", kind=form.chance.choice(("parts", "whole"))))

    async with hub.client() as client:
        ordering = asyncio.create_task(keep_ordering(client))
        for _ in range(30):
            victim = await hub.start("worker").ready()
            await asyncio.sleep(form.chance.uniform(0.5, 2.0))  # it takes its first jobs after some tenths of a second
            victim.kill()
        ordering.cancel()
        await asyncio.gather(ordering, return_exceptions=True)
    await wait(lambda: _are(hub, OPEN, 0), within=60, what="the end of all jobs")
    dead = await hub.rows("select reason from queue.pgqueuer where status = 'failed'")
    assert {("killed its worker 3 times",)} >= set(dead)
    done = await hub.rows("select job from steps.result order by 1")
    assert 0 <= await hub.value("select count(*) from steps.result") + len(dead) - len(made) <= 1  # the last order
    assert done == await hub.rows("select job_id from queue.pgqueuer_log where status = 'successful' order by 1")
    assert 0 < await hub.value("select count(*) from steps.start where attempt > 1"), "no kill met a job"


async def _are(hub, question: str, number: int) -> bool:
    return number == await hub.value(question)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
