"""Tasks: run again and again, restarted with a growing wait, and held by one process of the hub at a time."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest
from attrs import define, field

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.contracts.tasks import Scope, Task
from heartwood.observe.metrics import Metrics
from heartwood.work import locks, tasks
from heartwood.work.tasks import Reports, TaskRunner

CRASH = RuntimeError("no ink")


@define
class Notebook:
    """What the runner reports."""

    crashed: list = field(factory=list)
    degraded: list = field(factory=list)
    recovered: list = field(factory=list)

    def reports(self) -> Reports:
        return Reports(
            lambda *facts: self.crashed.append(facts),
            lambda *facts: self.degraded.append(facts),
            self.recovered.append,
        )


@pytest.fixture(name="notebook")
def _notebook() -> Notebook:
    return Notebook()


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    return Metrics()


@pytest.fixture(name="runners")
async def _runners(pool, log, metrics, notebook):
    """``runners(role="worker")`` makes a runner as another process of the hub has it; all are closed at the end."""
    made = []

    def make(role: str = "serve") -> TaskRunner:
        made.append(TaskRunner(pool.connect, role, log, metrics, notebook.reports()))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture(name="hasty")
def _hasty(monkeypatch):
    """Restart and take over without long waits."""
    monkeypatch.setattr(tasks, "DELAY_FIRST", 0.01)
    monkeypatch.setattr(locks, "TRY_EVERY", 0.05)


def local(name: str = "tick", **more) -> Task:
    return Task(name, print, scope=Scope.PROCESS, **more)


def counted(metrics: Metrics, family: str, task: str = "tick") -> float:
    return metrics.registry.get_sample_value(f"heartwood_{family}", {"plugin": "notes", "task": task}) or 0.0


async def test_an_every_task_waits_between_its_runs(runners, metrics, eventually):
    """``every`` counts from the end of a run to the start of the next; runs and the last success are measured."""
    starts, ends = [], []

    async def tick():
        starts.append(time.monotonic())
        await asyncio.sleep(0.05)
        ends.append(time.monotonic())

    runners().start("notes", local(every=0.1), tick)
    await eventually(lambda: len(starts) == 3)
    assert min(start - end for start, end in zip(starts[1:], ends, strict=False)) >= 0.099
    assert 3 == counted(metrics, "task_runs_total")
    assert abs(counted(metrics, "task_last_success_timestamp_seconds") - time.time()) < 5
    assert 0 == counted(metrics, "task_failures_total")


@pytest.mark.parametrize("error", [CRASH, SystemExit(3), asyncio.CancelledError()])
async def test_a_crash_is_noted_and_the_task_restarted(runners, hasty, notebook, metrics, *, eventually, error):
    """Whatever it raises, even sys.exit and a stray cancellation, it is noted, counted, and runs again."""
    runs = []

    async def tick():
        runs.append(1)
        if len(runs) == 1:
            raise error

    runners().start("notes", local(every=0.01), tick)
    await eventually(lambda: len(runs) >= 3)
    assert [("notes", "task tick", error)] == notebook.crashed
    assert 1 == counted(metrics, "task_failures_total")
    assert [] == notebook.degraded


async def test_the_wait_after_crashes_grows(runners, monkeypatch, eventually):
    """A task that crashes at every start is started less and less often."""
    monkeypatch.setattr(tasks, "DELAY_FIRST", 0.04)
    starts = []

    async def tick():
        starts.append(time.monotonic())
        raise CRASH

    runners().start("notes", local(every=0), tick)
    await eventually(lambda: len(starts) == 4)
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits[0] >= 0.03
    assert waits[1] >= 0.06
    assert waits[2] >= 0.12


async def test_five_crashes_degrade_the_plugin_until_the_task_ends_well(runners, hasty, notebook, eventually):
    """The plugin is degraded once, with a sentence, and well again after a run without a crash."""
    runs, ill = [], True

    async def tick():
        runs.append(1)
        if ill:
            raise CRASH

    runners().start("notes", local(every=0.01), tick)
    await eventually(lambda: len(runs) >= 7)
    assert [("notes", "task 'tick' crashed 5 times in ten minutes: RuntimeError: no ink")] == notebook.degraded
    assert [] == notebook.recovered
    ill = False
    await eventually(lambda: notebook.recovered)
    assert ["notes"] == notebook.recovered


async def test_crashes_far_apart_degrade_nothing(runners, hasty, monkeypatch, notebook, eventually):
    """Five crashes count only where they happened within ten minutes."""
    monkeypatch.setattr(tasks, "WINDOW", 0.0)
    runs = []

    async def tick():
        runs.append(1)
        raise CRASH

    runners().start("notes", local(every=0.0), tick)
    await eventually(lambda: len(runs) >= 7)
    assert [] == notebook.degraded


async def test_a_forever_task_must_not_return(runners, hasty, notebook, eventually):
    """Returning is a crash; one that runs on for long enough is well again."""
    runs = []

    async def loop():
        runs.append(1)
        if len(runs) > 5:
            await asyncio.Event().wait()

    runners().start("notes", local(forever=True), loop)
    await eventually(lambda: notebook.degraded)
    assert "it returned, and it should run for ever" in notebook.degraded[0][1]
    assert [] == notebook.recovered


async def test_a_forever_task_that_keeps_running_is_well_again(runners, hasty, monkeypatch, notebook, eventually):
    """After ten minutes without a crash the plugin is not degraded any more, although the task never ends."""
    runs = []

    async def loop():
        runs.append(1)
        if len(runs) <= 5:
            raise CRASH
        monkeypatch.setattr(tasks, "WINDOW", 600.0)
        await asyncio.Event().wait()

    monkeypatch.setattr(tasks, "WINDOW", 1.0)
    runners().start("notes", local(forever=True), loop)
    await eventually(lambda: notebook.degraded)
    await eventually(lambda: notebook.recovered)
    assert ["notes"] == notebook.recovered
    assert 6 == len(runs)


async def test_a_database_that_is_away_is_no_crash(runners, hasty, notebook, eventually, lines):
    """A task whose query fails because PostgreSQL is away is tried again, and the plugin stays well."""
    runs = []

    async def tick():
        runs.append(1)
        if len(runs) < 8:
            message = "PostgreSQL is away"
            raise DatabaseUnavailable(message)

    runners().start("notes", local(every=0.01), tick)
    await eventually(lambda: len(runs) > 8)
    assert ([], []) == (notebook.crashed, notebook.degraded)
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_a_process_task_runs_in_its_roles_only(runners, eventually):
    """Two processes: one that lists ``worker`` alone runs in the worker, and one of both roles in each."""
    ran = []

    def note(word):
        async def tick():
            ran.append(word)

        return tick

    for role in ("serve", "worker"):
        runner = runners(role)
        runner.start("notes", local("one", every=60, roles=frozenset({"worker"})), note(f"one in {role}"))
        runner.start("notes", local("both", every=60), note(f"both in {role}"))
    await eventually(lambda: len(ran) == 3)
    assert {"one in worker", "both in serve", "both in worker"} == set(ran)


async def test_a_stopped_plugins_tasks_have_ended(runners, eventually):
    """Stopping waits until the task has cleaned up, and leaves those of other plugins alone."""
    events = []

    async def loop():
        events.append("started")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            events.append("cleaned")

    runner, other = runners(), []
    runner.start("notes", local(forever=True), loop)

    async def tick():
        other.append(1)

    runner.start("other", local(every=0.01), tick)
    await eventually(lambda: events)
    await runner.stop("notes")
    assert ["started", "cleaned"] == events
    before = len(other)
    await eventually(lambda: len(other) > before)


async def test_a_hub_task_runs_in_one_process_and_moves(runners, hasty, eventually):
    """Two processes: the second takes over when the first gives the lock up; never do both run."""
    running, seen = set(), []

    def loop(name):
        async def work():
            assert not running
            running.add(name)
            seen.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                running.discard(name)

        return work

    first, second = runners(), runners("worker")
    task = Task("watch", print, forever=True)
    first.start("notes", task, loop("first"))
    await eventually(lambda: seen == ["first"])
    second.start("notes", task, loop("second"))
    with pytest.raises(AssertionError):
        await eventually(lambda: len(seen) > 1, within=0.3)
    await first.close()
    await eventually(lambda: seen == ["first", "second"])


async def test_a_hub_task_of_a_killed_process_is_taken_over(runners, program, eventually):
    """After a kill -9 of the process that runs it, another one runs it within ten seconds."""
    victim, started = program(task=True), []
    await victim.said("watching")

    async def watch():
        started.append(1)
        await asyncio.Event().wait()

    runners().start("notes", Task("watch", print, forever=True), watch)
    with pytest.raises(AssertionError):
        await eventually(lambda: started, within=0.3)
    victim.kill()
    await eventually(lambda: started, within=10)


async def test_a_hub_task_whose_connection_is_gone_ends_at_once(runners, hasty, desk, eventually, crash_postgres):
    """Whoever loses PostgreSQL loses the lock: it ends its task before another can start it, and tries again."""
    running, most, starts = 0, 0, 0

    async def work():
        nonlocal running, most, starts
        running += 1
        starts += 1
        most = max(most, running)
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1

    for runner in (runners(), runners()):
        runner.start("notes", Task("watch", print, forever=True), work)
    await eventually(lambda: starts == 1)
    await crash_postgres()
    await eventually(lambda: starts == 2, within=10)
    assert 1 == most


async def test_two_hub_tasks_of_one_process_are_apart(runners, hasty, eventually):
    """All locks of a process hang on one connection, and each is given up alone."""
    ran = []

    def tick(word):
        async def work():
            ran.append(word)

        return work

    first, second = runners(), runners()
    first.start("notes", Task("one", print, every=0.01), tick("first one"))
    first.start("other", Task("two", print, every=0.01), tick("first two"))
    await eventually(lambda: {"first one", "first two"} <= set(ran))
    second.start("notes", Task("one", print, every=0.01), tick("second one"))
    second.start("other", Task("two", print, every=0.01), tick("second two"))
    await first.stop("notes")
    await eventually(lambda: "second one" in ran)
    assert "second two" not in ran
