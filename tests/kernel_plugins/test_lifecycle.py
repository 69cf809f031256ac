"""Starting and stopping plugins."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from contextlib import asynccontextmanager

import pytest
import structlog
from attrs import evolve

from heartwood.contracts.errors import NotReady, ServiceUnavailable
from heartwood.contracts.services import Provides
from heartwood.plugins.calls import Hooks
from heartwood.plugins.lifecycle import Lifecycle, Limits
from heartwood.plugins.order import in_order
from heartwood.plugins.plugin import Plugin, hookimpl
from heartwood.plugins.records import Phase, State
from heartwood.plugins.services import ServiceCatalog
from heartwood.plugins.settings import LoaderSettings

QUICK = Limits(start=0.2, stop=0.2)


class Bell:
    pass


class Hub:
    """One life cycle with its log, and what happened in it, in order."""

    def __init__(self, records, *, limits, settings):
        self.happened = []
        self.logged = []
        self.records = {each.name: each for each in records}
        self.services = ServiceCatalog()
        self.running_fails = None
        hooks = Hooks()
        hooks.register(records)
        self.cycle = Lifecycle(
            in_order(records),
            hooks,
            self.services,
            settings,
            structlog.wrap_logger(None, processors=[self._note], wrapper_class=structlog.BoundLogger),
            limits=lambda name: limits.get(name, Limits(start=5, stop=5)),
            on_running=self._running,
            on_stopped=self._stopped,
        )

    def _note(self, _logger, method, event):
        self.logged.append((method, event["event"], event["plugin"]))
        raise structlog.DropEvent

    async def _running(self, record):
        self.happened.append(f"{record.name} runs")
        if self.running_fails == record.name:
            msg = "no"
            raise RuntimeError(msg)

    async def _stopped(self, record):
        self.happened.append(f"{record.name} stops")

    def labels(self):
        return {name: record.label for name, record in self.records.items()}


@pytest.fixture(name="hub")
async def _hub(record):
    """Make a hub of plugin classes; no task of it may be there at the end."""
    before = asyncio.all_tasks()
    hubs = []

    def make(*classes, limits=None, **settings):
        settings = evolve(LoaderSettings(), **({"retry_first": 0.01, "retry_longest": 0.05} | settings))
        hub = Hub([record(cls) for cls in classes], limits=limits or {}, settings=settings)
        hubs.append(hub)
        return hub

    yield make
    for hub in hubs:
        await hub.cycle.stop()
    assert set() == asyncio.all_tasks() - before - {asyncio.current_task()}


def _plugin(name, lifespan=None, **attributes):
    members = {"name": name, **attributes}
    if lifespan is not None:
        members["lifespan"] = hookimpl(lambda self, ctx: lifespan())
    return type(name.title(), (Plugin,), members)


def _span(happened, name, *, enter=None, leave=None, value=None):
    """Return a lifespan that writes down what it does, awaiting ``enter`` and ``leave`` on the way."""

    @asynccontextmanager
    async def lifespan():
        if enter:
            await enter()
        happened.append(f"{name} enters")
        try:
            yield value
        finally:
            if leave:
                await leave()
            happened.append(f"{name} leaves")

    return lifespan


async def _forever():
    await asyncio.Event().wait()


def _raising(error):
    async def raise_it():
        raise error

    return raise_it


async def test_plugins_start_in_order_and_stop_in_reverse(hub):
    """A plugin runs once its lifespan is entered; its tasks are stopped before the lifespan is left."""
    did = []
    made = hub(
        _plugin("a", _span(did, "a"), requires=("b",)), _plugin("b", _span(did, "b")), _plugin("c", after=("a",))
    )
    made.happened = did

    await made.cycle.start()
    labels = made.labels()
    await made.cycle.stop()

    assert {"a": "running", "b": "running", "c": "running"} == labels
    started = ["b enters", "b runs", "a enters", "a runs", "c runs"]
    assert [*started, "c stops", "a stops", "a leaves", "b stops", "b leaves"] == did
    assert {"stopped"} == set(made.labels().values())
    assert made.records["a"].start_seconds >= 0


async def test_each_lifespan_lives_in_one_task_of_its_own(hub):
    """Entering and leaving happen in the same task, so cancel scopes, task groups and context variables work."""
    tasks = []
    variable = contextvars.ContextVar("variable")

    @asynccontextmanager
    async def lifespan():
        tasks.append(asyncio.current_task())
        token = variable.set(1)
        async with asyncio.TaskGroup() as group, asyncio.timeout(60):
            helper = group.create_task(_forever())
            yield
            helper.cancel()
        variable.reset(token)
        tasks.append(asyncio.current_task())

    made = hub(_plugin("a", lifespan))
    await made.cycle.start()
    await made.cycle.stop()

    assert tasks[0] is tasks[1]
    assert tasks[0] is not asyncio.current_task()
    assert [] == list(made.records["a"].failures)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("no"), "ValueError: no"),
        (SystemExit(3), "SystemExit: 3"),
        (BaseException("no"), "BaseException: no"),
        (asyncio.CancelledError("no"), "CancelledError: no"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
async def test_a_raising_start_fails_that_plugin_only(hub, error, sentence):
    """Errors, exits and cancellations are the plugin's; what requires it is skipped, the others run."""
    made = hub(
        _plugin("a", _span([], "a", enter=_raising(error))), _plugin("b", requires=("a",)), _plugin("c", _span([], "c"))
    )

    await made.cycle.start()

    assert {"a": "failed(start)", "b": "skipped(needs a, which is failed(start))", "c": "running"} == made.labels()
    assert sentence == made.records["a"].reason
    assert "start" == made.records["a"].failures[-1].where
    assert ("error", "plugin.failed", "a") in made.logged


@pytest.mark.parametrize("value", ["text", 3, _forever])
async def test_a_lifespan_is_a_context_manager(hub, value):
    """Anything else is named in the sentence."""
    made = hub(_plugin("a", lambda: value))

    await made.cycle.start()

    assert made.records["a"].reason.startswith("lifespan returned ")
    assert made.records["a"].reason.endswith("it returns an async context manager")


async def test_a_hanging_start_costs_its_limit_only(hub):
    """A warning comes at a quarter of the limit, the failure at its end, and the lifespan is cancelled."""
    did = []

    async def hang():
        try:
            await _forever()
        finally:
            did.append("cancelled")

    made = hub(_plugin("a", _span([], "a", enter=hang)), _plugin("b"), limits={"a": QUICK})
    loop = asyncio.get_running_loop()
    began = loop.time()
    await made.cycle.start()
    took = loop.time() - began

    assert 0.2 <= took < 1
    assert {"a": "failed(start)", "b": "running"} == made.labels()
    assert "did not start within 0.2 s (start_timeout)" == made.records["a"].reason
    assert ["cancelled"] == did
    assert [("warning", "plugin.slow_start", "a"), ("error", "plugin.failed", "a")] == made.logged[:2]


async def test_a_slow_start_is_warned_of_and_runs(hub):
    """Past a quarter of the limit there is one warning and nothing else."""
    made = hub(_plugin("a", _span([], "a", enter=lambda: asyncio.sleep(0.3))), limits={"a": Limits(start=0.8, stop=1)})

    await made.cycle.start()

    assert {"a": "running"} == made.labels()
    assert [("warning", "plugin.slow_start", "a"), ("info", "plugin.running", "a")] == made.logged


async def test_what_the_kernel_starts_for_a_plugin_can_fail_it(hub):
    """The lifespan is left again, after the kernel was told to stop what it had begun."""
    did = []
    made = hub(_plugin("a", _span(did, "a")), _plugin("b"))
    made.happened, made.running_fails = did, "a"

    await made.cycle.start()

    assert {"a": "failed(start)", "b": "running"} == made.labels()
    assert ["a enters", "a runs", "a stops", "a leaves", "b runs"] == did


async def test_a_service_is_there_while_its_plugin_runs(hub):
    """What the lifespan yields is given out, and taken back before the lifespan is left."""
    seen = []

    async def leave():
        with pytest.raises(ServiceUnavailable, match="stopped"):
            made.services.one(Bell, consumer="x")
        seen.append("gone")

    made = hub(_plugin("a", _span([], "a", value="ding", leave=leave)))
    made.services.promise(made.records["a"], Provides(Bell))

    await made.cycle.start()
    assert "ding" == made.services.one(Bell, consumer="x")
    await made.cycle.stop()

    assert ["gone"] == seen


async def test_a_promise_that_is_not_kept_fails_the_start(hub):
    """The lifespan is left, and the sentence names plugin and contract."""
    did = []
    made = hub(_plugin("a", _span(did, "a")))
    made.services.promise(made.records["a"], Provides(Bell))

    await made.cycle.start()

    assert "plugin 'a' provides Bell, but its lifespan did not yield it" == made.records["a"].reason
    assert ["a enters", "a leaves"] == did


async def test_a_plugin_whose_upstream_is_away_is_tried_again(hub, eventually):
    """It is ``retrying(n)`` with the upstream's sentence; once that is there, the plugin runs and counts anew."""
    tries, upstream = [], asyncio.Event()

    async def enter():
        tries.append(len(tries) + 1)
        if not upstream.is_set():
            msg = "no answer from the bridge"
            raise NotReady(msg)

    made = hub(_plugin("a", _span([], "a", enter=enter)), _plugin("b"))
    await made.cycle.start()
    first = (made.labels(), made.records["a"].reason)
    await eventually(lambda: made.records["a"].label == "retrying(4)")
    upstream.set()
    await eventually(lambda: made.records["a"].serving)

    assert ({"a": "retrying(1)", "b": "running"}, "no answer from the bridge") == first
    assert {"a": "running", "b": "running"} == made.labels()
    assert ("", 0) == (made.records["a"].reason, made.records["a"].attempt)
    assert 5 == len(tries)


async def test_the_waits_between_tries_double_up_to_the_longest(hub, eventually, monkeypatch):
    """Each wait is twice the one before, a quarter more or less, and never longer than the limit."""
    waits = []
    monkeypatch.setattr("heartwood.plugins.lifecycle.random.uniform", lambda low, high: waits.append((low, high)) or 1)
    made = hub(_plugin("a", _span([], "a", enter=_raising(NotReady("no")))), retry_first=0.01, retry_longest=0.05)
    loop = asyncio.get_running_loop()
    began = loop.time()

    await made.cycle.start()
    await eventually(lambda: made.records["a"].attempt == 6)
    took = loop.time() - began

    assert {(0.75, 1.25)} == set(waits)
    assert 0.01 + 0.02 + 0.04 + 0.05 + 0.05 <= took < 1


async def test_dependents_wait_and_start_when_it_comes_up(hub, eventually):
    """The whole chain waits, says for whom, and starts in order; what follows only does not wait."""
    did, upstream = [], asyncio.Event()

    async def enter():
        if not upstream.is_set():
            msg = "no"
            raise NotReady(msg)

    made = hub(
        _plugin("a", _span(did, "a", enter=enter)),
        _plugin("b", _span(did, "b"), requires=("a",)),
        _plugin("c", _span(did, "c"), requires=("b",)),
        _plugin("d", _span(did, "d"), after=("a",)),
    )
    await made.cycle.start()
    waiting = made.labels()
    upstream.set()
    await eventually(lambda: made.records["c"].serving)

    assert "skipped(waits for a, which is not up yet)" == waiting["b"]
    assert "skipped(waits for b, which is not up yet)" == waiting["c"]
    assert "running" == waiting["d"]
    assert {"running"} == set(made.labels().values())
    assert ["d enters", "a enters", "b enters", "c enters"] == did


async def test_dependents_of_two_wait_for_both(hub, eventually):
    """One that requires two absent upstreams starts once, after the second."""
    did, there = [], {"a": asyncio.Event(), "b": asyncio.Event()}

    def waits(name):
        async def enter():
            if not there[name].is_set():
                msg = "no"
                raise NotReady(msg)

        return _plugin(name, _span(did, name, enter=enter))

    made = hub(waits("a"), waits("b"), _plugin("c", _span(did, "c"), requires=("a", "b")))
    await made.cycle.start()
    there["a"].set()
    await eventually(lambda: made.records["a"].serving)
    between = made.labels()["c"]
    there["b"].set()
    await eventually(lambda: made.records["c"].serving)

    assert "skipped(waits for b, which is not up yet)" == between
    assert ["a enters", "b enters", "c enters"] == did


async def test_dependents_are_told_when_it_fails_for_good(hub, eventually):
    """A try that ends in another error ends the waiting too, with the reason."""
    errors = iter([NotReady("no"), ValueError("bad key")])

    async def enter():
        raise next(errors)

    made = hub(_plugin("a", _span([], "a", enter=enter)), _plugin("b", requires=("a",)))
    await made.cycle.start()
    await eventually(lambda: made.records["a"].state is State.FAILED)

    await eventually(lambda: made.labels()["b"] == "skipped(needs a, which is failed(start))")


async def test_stopping_ends_the_tries(hub):
    """A plugin that waits for its upstream is not tried again, also where a try is under way."""
    entering = asyncio.Event()
    tries = []

    async def enter():
        tries.append(1)
        if len(tries) == 1:
            msg = "no"
            raise NotReady(msg)
        entering.set()
        await _forever()

    made = hub(_plugin("a", _span([], "a", enter=enter)))
    await made.cycle.start()
    await asyncio.wait_for(entering.wait(), 5)
    await made.cycle.stop()

    assert 2 == len(tries)
    assert not made.records["a"].serving


@pytest.mark.parametrize(
    ("error", "sentence"), [(ValueError("no"), "ValueError: no"), (SystemExit(3), "the lifespan raised SystemExit")]
)
async def test_a_raising_teardown_does_not_stop_the_others(hub, error, sentence):
    """The tear-down goes on in order; the error is in the record and in the log."""
    did = []
    made = hub(
        _plugin("a", _span(did, "a")),
        _plugin("b", _span(did, "b", leave=_raising(error))),
        _plugin("c", _span(did, "c")),
    )

    await made.cycle.start()
    await made.cycle.stop()

    assert ["c leaves", "a leaves"] == did[3:]
    assert {"stopped"} == set(made.labels().values())
    assert sentence in made.records["b"].failures[-1].message
    assert "stop" == made.records["b"].failures[-1].where
    assert ("error", "plugin.stop_failed", "b") in made.logged


async def test_a_hanging_teardown_costs_its_limit_only(hub):
    """A warning at a quarter, a cancellation at the end, and the others are stopped."""
    did = []
    made = hub(_plugin("a", _span(did, "a")), _plugin("b", _span(did, "b", leave=_forever)), limits={"b": QUICK})
    await made.cycle.start()
    loop = asyncio.get_running_loop()
    began = loop.time()

    await made.cycle.stop()
    took = loop.time() - began

    assert 0.2 <= took < 1
    assert ["a leaves"] == did[2:]
    assert "did not stop within 0.2 s (stop_timeout)" in made.records["b"].failures[-1].message
    assert [("warning", "plugin.slow_stop", "b"), ("error", "plugin.stop_failed", "b")] == made.logged[2:4]


async def test_a_teardown_that_ignores_cancellation_is_left_behind(hub, monkeypatch):
    """It is named in the log, and the others are stopped all the same."""
    monkeypatch.setattr("heartwood.plugins.lifecycle.GRACE", 0.05)
    did, let_go = [], asyncio.Event()

    async def stubborn():
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    made = hub(_plugin("a", _span(did, "a")), _plugin("b", _span(did, "b", leave=stubborn)), limits={"b": QUICK})
    await made.cycle.start()
    await made.cycle.stop()
    named = [each for each in made.logged if each[1] == "plugin.left_behind"]
    (left,) = [each for each in asyncio.all_tasks() if each.get_name() == "b: lifespan"]
    let_go.set()
    await asyncio.wait({left}, timeout=5)

    assert [("warning", "plugin.left_behind", "b")] == named
    assert "a leaves" in did


async def test_a_kernel_callback_that_hangs_does_not_keep_the_others_from_stopping(hub):
    """What the kernel stops for a plugin is under the plugin's limit too."""
    did = []
    made = hub(_plugin("a", _span(did, "a")), _plugin("b", _span(did, "b")), limits={"b": QUICK})
    stopped = made._stopped

    async def hang(record):
        await (_forever() if record.name == "b" else stopped(record))

    made.cycle._on_stopped = hang
    await made.cycle.start()
    await made.cycle.stop()

    assert ["b leaves", "a leaves"] == did[2:]
    assert "did not stop within 0.2 s (stop_timeout)" in made.records["b"].failures[-1].message


async def test_a_lifespan_that_ends_by_itself_fails_the_plugin(hub, eventually):
    """A task group whose task dies ends the lifespan; the plugin is ``failed(run)`` and the hub goes on."""
    die = asyncio.Event()

    async def mortal():
        await die.wait()
        msg = "dead"
        raise ValueError(msg)

    @asynccontextmanager
    async def lifespan():
        async with asyncio.TaskGroup() as group:
            group.create_task(mortal())
            yield "ding"

    made = hub(_plugin("a", lifespan), _plugin("b"))
    made.services.promise(made.records["a"], Provides(Bell))
    await made.cycle.start()
    die.set()
    await eventually(lambda: made.records["a"].state is State.FAILED)

    assert Phase.RUN is made.records["a"].phase
    assert made.records["a"].reason.startswith("its lifespan ended by itself: ")
    with pytest.raises(ServiceUnavailable):
        made.services.one(Bell, consumer="x")
    assert "running" == made.labels()["b"]


async def test_what_a_failed_plugin_began_is_stopped_and_its_dependents_are_skipped(hub, eventually):
    """The kernel stops what runs for it; what requires it is left in reverse and says why; the others go on."""
    did, die = [], asyncio.Event()

    @asynccontextmanager
    async def lifespan():
        async with asyncio.TaskGroup() as group:
            group.create_task(_raising_after(die))
            yield "ding"

    made = hub(
        _plugin("a", lifespan),
        _plugin("b", _span(did, "b", value=Bell()), requires=("a",)),
        _plugin("c", _span(did, "c"), requires=("b",)),
        _plugin("d", after=("a",)),
    )
    made.services.promise(made.records["b"], Provides(Bell))
    made.happened = did
    await made.cycle.start()
    del did[:]
    die.set()
    await eventually(lambda: "b leaves" in did)
    with pytest.raises(ServiceUnavailable):
        made.services.one(Bell, consumer="x")
    labels = made.labels()
    await made.cycle.stop()

    assert {
        "a": "failed(run)",
        "b": "skipped(needs a, which is failed(run))",
        "c": "skipped(needs b, which is skipped(needs a, which is failed(run)))",
        "d": "running",
    } == labels
    assert ["a stops", "c stops", "c leaves", "b stops", "b leaves", "d stops"] == did
    assert "failed(run)" == made.labels()["a"]
    assert 1 == len(made.records["a"].failures)


async def _raising_after(event):
    await event.wait()
    msg = "dead"
    raise ValueError(msg)


async def test_a_lifespan_that_dies_while_its_plugin_starts_fails_the_start(hub):
    """It ended right after it had begun, before the plugin was called running: it is not running for ever."""

    @asynccontextmanager
    async def lifespan():
        async with asyncio.TaskGroup() as group:
            group.create_task(_raising(ValueError("dead"))())
            yield

    made = hub(_plugin("a", lifespan), _plugin("b", requires=("a",)))
    running = made._running

    async def slowly(record):
        (life,) = [each for each in asyncio.all_tasks() if each.get_name() == "a: lifespan"]
        await asyncio.wait({life})
        await running(record)

    made.cycle._on_running = slowly
    await made.cycle.start()

    assert {"a": "failed(start)", "b": "skipped(needs a, which is failed(start))"} == made.labels()
    assert made.records["a"].reason.startswith("its lifespan ended by itself: ")
    assert ["a runs", "a stops"] == made.happened


async def test_a_plugin_is_skipped_where_what_it_requires_fails_while_it_starts(hub, eventually):
    """Nothing was running yet that could have been skipped when the other one failed."""
    did, die = [], asyncio.Event()

    @asynccontextmanager
    async def lifespan():
        async with asyncio.TaskGroup() as group:
            group.create_task(_raising_after(die))
            yield

    async def enter():
        die.set()
        await eventually(lambda: made.records["a"].state is State.FAILED)

    made = hub(_plugin("a", lifespan), _plugin("b", _span(did, "b", enter=enter), requires=("a",)))
    await made.cycle.start()
    await eventually(lambda: "b leaves" in did)

    assert "skipped(needs a, which is failed(run))" == made.labels()["b"]


async def test_a_start_that_swallows_its_cancellation_is_left_all_the_same(hub):
    """It enters after all, and is told to leave at once."""
    did = []

    async def swallow():
        with contextlib.suppress(asyncio.CancelledError):
            await _forever()

    made = hub(_plugin("a", _span(did, "a", enter=swallow)), limits={"a": QUICK})
    await made.cycle.start()

    assert "failed(start)" == made.labels()["a"]
    assert ["a enters", "a leaves"] == did


async def test_a_cancelled_start_stops_what_had_begun(hub):
    """Ctrl-C while a plugin starts cancels its lifespan and leaves those that run."""
    did, entering = [], asyncio.Event()

    async def enter():
        entering.set()
        try:
            await _forever()
        finally:
            did.append("b cancelled")

    made = hub(_plugin("a", _span(did, "a")), _plugin("b", _span(did, "b", enter=enter)))
    starting = asyncio.create_task(made.cycle.start())
    await asyncio.wait_for(entering.wait(), 5)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await made.cycle.stop()

    assert ["a enters", "b cancelled", "a leaves"] == did


async def test_two_hubs_share_nothing(hub):
    """The same classes run in two hubs at once; stopping one leaves the other running."""
    did = []
    cls = _plugin("a", _span(did, "a"))
    one, two = hub(cls), hub(cls)
    await one.cycle.start()
    await two.cycle.start()

    await one.cycle.stop()

    assert ("stopped", "running") == (one.labels()["a"], two.labels()["a"])
    assert ["a enters", "a enters", "a leaves"] == did
