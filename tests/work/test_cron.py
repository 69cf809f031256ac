"""Schedules: in the hub's time zone, once in the whole hub, and a missed run is made up once."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.contracts.jobs import Retry
from heartwood.contracts.tasks import Task
from heartwood.work.cron import BadSchedule, CronTable, check_cron, next_run
from heartwood.work.tasks import cron_handler

BERLIN = ZoneInfo("Europe/Berlin")
OVERDUE = "update queue.pgqueuer_schedules set next_run = now() - interval '3 days' where entrypoint = $1"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("30 3 * * *", "2026-01-10 12:00", "2026-01-11 02:30"),
        ("30 3 * * *", "2026-07-10 12:00", "2026-07-11 01:30"),
        ("*/15 * * * *", "2026-07-10 12:00", "2026-07-10 12:15"),
        ("0 8 * * mon", "2026-11-25 12:00", "2026-11-30 07:00"),
        ("30 2 * * *", "2026-03-28 12:00", "2026-03-29 01:00"),
        ("30 4 * * *", "2026-03-28 12:00", "2026-03-29 02:30"),
        ("30 4 * * *", "2026-10-24 12:00", "2026-10-25 03:30"),
    ],
)
def test_a_schedule_is_read_in_the_hubs_time_zone(expression, after, expected):
    """Berlin's clock decides, in winter and in summer; what falls into the lost hour of spring comes right after it."""
    assert at(expected) == next_run(expression, BERLIN, at(after))


@pytest.mark.parametrize("expression", ["", "* * * *", "0 0 3 * * *", "61 * * * *", "daily", "@daily", "0 0 31 2 *"])
def test_a_schedule_that_cannot_be_is_refused(expression):
    """Anything but five fields that make sense names the plugin, the task, the value and the way out."""
    with pytest.raises(BadSchedule) as refused:
        check_cron("notes", "sweep", expression)
    assert str(refused.value).startswith(f"plugin 'notes': task 'sweep' has cron = {expression!r}; give five fields")


@pytest.fixture(name="sweep")
def _sweep():
    """A task with a schedule that is not due during a test, as the job it is, and the list of its runs."""
    runs = []

    async def sweep():
        runs.append(1)

    return cron_handler("notes", Task("sweep", sweep, cron="0 0 1 1 *"), sweep), runs


async def planned(desk) -> dict[str, str]:
    rows = await desk.core.fetch("select entrypoint, expression from queue.pgqueuer_schedules")
    return {row["entrypoint"]: row["expression"] for row in rows}


async def test_a_missed_run_is_made_up_once(desk, working, eventually, sweep):
    """Three days overdue in a hub with two workers: one run, and the next one is where the schedule says."""
    handler, runs = sweep
    async with working(handler):
        await eventually(lambda: planned(desk))
    await desk.core.execute(OVERDUE, handler.name)
    async with working(handler), working(handler):
        await eventually(lambda: runs)
        await eventually(lambda: is_empty(desk))
    assert [1] == runs
    due = await desk.core.fetchval("select next_run from queue.pgqueuer_schedules")
    assert next_run("0 0 1 1 *", UTC, datetime.now(UTC)) == due


async def is_empty(desk) -> bool:
    return not await desk.core.fetchval("select count(*) from queue.pgqueuer")


async def test_what_is_due_is_enqueued_once_however_many_ask(desk, log, sweep):
    """Ten processes look at the same moment: the schedule moves on and the job is made in one statement."""
    name = sweep[0].name
    tables = [CronTable(desk.core, UTC, log) for _ in range(10)]
    for each in tables:
        each.add("notes", {name: "0 0 1 1 *"})
    await tables[0]._look()
    await desk.core.execute(OVERDUE, name)
    await asyncio.gather(*(each._look() for each in tables))
    assert [name] == [row["entrypoint"] for row in await desk.core.fetch("select entrypoint from queue.pgqueuer")]


async def test_a_run_that_is_still_waiting_is_not_doubled(desk, log, sweep):
    """While the job of the last run waits, the next run adds none."""
    name = sweep[0].name
    table = CronTable(desk.core, UTC, log)
    table.add("notes", {name: "0 0 1 1 *"})
    for _ in range(3):
        await table._look()
        await desk.core.execute(OVERDUE, name)
    assert 1 == await desk.core.fetchval("select count(*) from queue.pgqueuer")


async def test_a_plugins_schedules_are_those_it_has_now(desk, log):
    """A changed expression replaces the old one, a task that was removed leaves nothing; other plugins keep theirs."""
    old = {"notes.sweep@cron": "0 0 1 1 *", "notes.gone@cron": "5 5 * * *"}
    for mine in (old, {"notes.sweep@cron": "0 1 * * *"}, {}):
        table = CronTable(desk.core, UTC, log)
        table.add("notes", mine)
        if mine is old:
            table.add("other", {"other.wake@cron": "5 5 * * *"})
        await table._look()
        assert {**mine, "other.wake@cron": "5 5 * * *"} == await planned(desk)


async def test_runs_are_measured_like_those_of_other_tasks(pool, working, eventually, desk):
    """A schedule's runs, failures and last success are in the families of tasks, its attempts in that of jobs."""
    errors = [ValueError("no broom")]

    async def sweep():
        if errors:
            raise errors.pop()

    handler = cron_handler("notes", Task("sweep", sweep, cron="0 0 1 1 *"), sweep)
    handler = evolve(handler, job=evolve(handler.job, retry=Retry(first=0.05)))
    labels = {"plugin": "notes", "task": "sweep"}

    def counted(family: str, labels: dict = labels):
        return pool.metrics.registry.get_sample_value(f"heartwood_{family}", labels)

    async with working(handler):
        await desk.core.execute(BY_NOBODY, handler.name)
        await eventually(lambda: counted("task_last_success_timestamp_seconds"))
    assert (2, 1) == (counted("task_runs_total"), counted("task_failures_total"))
    assert 2 == counted("job_duration_seconds_count", {"plugin": "notes", "job": "sweep@cron"})
    assert abs(counted("task_last_success_timestamp_seconds") - time.time()) < 5


async def test_schedules_of_a_withdrawn_plugin_rest_and_are_made_up(desk, working, eventually, sweep):
    """What is due while the plugin is away waits in the table until it is back."""
    handler, runs = sweep
    async with working(handler) as worker:
        await eventually(lambda: planned(desk))
        await worker.withdraw("notes")
        await desk.core.execute(OVERDUE, handler.name)
        other = cron_handler("other", Task("wake", print, cron="0 0 1 1 *"), print)
        worker.serve("other", [other])
        await eventually(lambda: has_two(desk))
        assert [] == runs
        worker.serve("notes", [handler])
        await eventually(lambda: runs)


async def has_two(desk) -> bool:
    return len(await planned(desk)) == 2


async def test_schedules_survive_postgresql(desk, working, eventually, sweep, crash_postgres):
    """After every connection was lost a schedule still fires; PgQueuer's own would not."""
    handler, runs = sweep
    async with working(handler):
        await eventually(lambda: planned(desk))
        await crash_postgres()
        await eventually(lambda: is_overdue(desk, handler.name), within=10)
        await eventually(lambda: runs, within=15)


async def is_overdue(desk, name) -> bool:
    try:
        await desk.core.execute(OVERDUE, name)
    except DatabaseUnavailable:
        return False
    return True


BY_NOBODY = "insert into queue.pgqueuer (entrypoint, priority, status) values ($1, 0, 'queued')"


async def test_a_scheduled_run_acts_for_the_hub(desk, working, eventually):
    """It was enqueued by nobody, so the job's actor is the hub itself, via ``job``."""
    actors = []

    async def note(_payload, run):
        actors.append((run.actor.person, run.actor.name, run.actor.via))

    async with working(desk.handler("sweep@cron", note)):
        await desk.core.execute(BY_NOBODY, "notes.sweep@cron")
        await eventually(lambda: actors)
    assert [(None, "hub", "job")] == actors


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_together_with_a_change_ends_the_table(log, turns):
    """A cancellation is not lost when it meets the end of a wait."""
    table = CronTable(None, UTC, log)  # without a schedule it asks the database nothing
    running = asyncio.create_task(table.run())
    for _ in range(5):
        await asyncio.sleep(0)
    table.remove("notes")
    table._changed.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()

    done, _ = await asyncio.wait({running}, timeout=1)

    running.cancel()
    assert done, "it goes on"
