"""The summary: every plugin's sections, each on its own."""

from __future__ import annotations

import asyncio

import pytest

from heartwood.api import Actor, Contribution, PluginUnavailable
from heartwood.contracts.analytics import Figure, FigureState, Section
from heartwood.observe.metrics import Metrics
from heartwood.plugins.records import Record, State
from heartwood_metrics import hub
from heartwood_metrics.instruments import Instruments
from heartwood_metrics.summary import read, sources

ANN = Actor(1, "Ann", frozenset({"ocr.read"}), "token")


class Plain:
    """Calls what it is given without injecting anything."""

    async def call(self, owner, function, *, actor, where):
        assert "analytics" == where
        return await function()


async def _figures():
    return [Figure("pages", 3.0, "pages")]


def _section(function=_figures, permission="ocr.read", timeout=2.0):
    return Contribution("ocr", [Section("documents", "Documents", function, permission, timeout)])


async def _read(*contributions, actor=ANN, instruments=None):
    summary = await read(sources(contributions), actor, Plain(), instruments or Instruments())
    return summary.sections


async def test_figures_of_a_plugin_are_shown():
    """A section has its plugin, title and figures, and no problem."""
    (section,) = await _read(_section())

    assert ("ocr", "documents", "Documents", None) == (section.plugin, section.name, section.title, section.problem)
    assert [Figure("pages", 3.0, "pages")] == section.figures


async def test_who_lacks_the_permission_of_a_section_does_not_see_it():
    """It is left out, not shown empty."""
    assert [] == await _read(_section(permission="ocr.secret"))


async def _crash():
    msg = "password=hunter2"
    raise ZeroDivisionError(msg)


async def _unavailable():
    msg = "ocr"
    raise PluginUnavailable(msg, "stopped", "")


async def _exit():
    raise SystemExit(3)


async def _interrupt():
    raise KeyboardInterrupt


async def _cancelled():
    raise asyncio.CancelledError


async def _late():
    msg = "the upstream did not answer"
    raise TimeoutError(msg)


async def _hang():
    await asyncio.sleep(600)


async def _wrong():
    return [3]


async def _zero_without_data():
    return [Figure("pages", 0.0, "pages", FigureState.NO_DATA)]


async def _value_missing():
    return [Figure("pages", None, "pages")]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (_crash, "failed with ZeroDivisionError; the log says more"),
        (_unavailable, "Plugin 'ocr' is stopped"),
        (_exit, "failed with SystemExit; the log says more"),
        (_interrupt, "failed with KeyboardInterrupt; the log says more"),
        (_cancelled, "failed with CancelledError; the log says more"),
        (_late, "failed with TimeoutError; the log says more"),
        (_hang, "did not answer within 0.05 s"),
        (_wrong, "a figure was expected, got int"),
        (_zero_without_data, "figure 'pages' has the state no_data and the value 0.0"),
        (_value_missing, "figure 'pages' has the state value and the value None"),
    ],
)
async def test_a_section_that_cannot_be_read_says_why_and_hurts_nobody(function, problem):
    """There are no figures then, never zeros, and the other sections are there."""
    broken, good = await _read(_section(function, timeout=0.05), _section())

    assert ([], problem) == (broken.figures, broken.problem)
    assert 1 == len(good.figures)


async def test_a_reader_that_leaves_ends_the_reading():
    """Who is cancelled gets no summary; what the sections were about is cancelled with it."""
    ended = asyncio.Event()

    async def slow():
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await _read(_section(slow, timeout=600))

    assert ended.is_set()


@pytest.mark.parametrize("value", [[3], 3, ["x"]])
async def test_a_hook_that_returns_something_else_is_told(value):
    """The plugin is named, and the others are there."""
    broken, good = await _read(Contribution("bad", value), _section())

    assert "bad" == broken.plugin
    assert "returned no sections" in broken.problem
    assert 1 == len(good.figures)


async def test_a_hook_that_raises_is_told():
    """The plugin is named with the kind of its error."""
    (broken,) = await _read(Contribution("bad", None, ZeroDivisionError("x")))

    assert "its hook `analytics` failed: failed with ZeroDivisionError; the log says more" == broken.problem


async def test_a_hook_that_returns_nothing_adds_nothing():
    """None is as good as an empty list."""
    assert [] == await _read(Contribution("quiet", None), Contribution("empty", []))


async def test_reading_is_timed_and_errors_are_counted_by_plugin():
    """The instruments tell which plugin is slow or broken."""
    instruments = Instruments()
    await _read(_section(), _section(_crash), instruments=instruments)

    samples = {
        sample.name: sample.value
        for metric in (instruments.seconds, instruments.errors)
        for family in metric.collect()
        for sample in family.samples
        if sample.labels == {"plugin": "ocr"}
    }
    assert 2.0 == samples["heartwood_analytics_section_duration_seconds_count"]
    assert 1.0 == samples["heartwood_analytics_section_errors_total"]


def test_the_hubs_own_figures_are_read_from_what_is_exported():
    """What has been counted is a value; what nobody has counted yet has no data."""
    metrics = Metrics()
    metrics.plugins = [Record("a", State.RUNNING), Record("b", State.FAILED)]
    metrics.http_request_duration_seconds.labels("GET", "/a", "200").observe(1)
    metrics.http_request_duration_seconds.labels("GET", "/b", "200").observe(1)

    running, served, errors = hub.figures(metrics.registry)

    assert ("plugins_running", 1.0, FigureState.VALUE) == (running.name, running.value, running.state)
    assert ("requests_served", 2.0, FigureState.VALUE) == (served.name, served.value, served.state)
    assert ("plugin_errors", None, FigureState.NO_DATA) == (errors.name, errors.value, errors.state)
