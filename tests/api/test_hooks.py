"""Every hook at work in one hub, each with a test of its name; a hook without a test or a page fails."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from pathlib import Path

import pytest

from heartwood.api import Database
from heartwood.plugins.spec import KERNEL_SPECS
from heartwood.testing import running_hub
from heartwood_metrics.hookspecs import AnalyticsSpecs
from heartwood_metrics.plugin import MetricsPlugin

HERE = Path(__file__).parent
PAGES = HERE.parent.parent / "docs" / "plugins" / "hooks"
HOOKS = sorted(
    name
    for spec in (*KERNEL_SPECS, AnalyticsSpecs)
    for name, value in vars(spec).items()
    if hasattr(value, "heartwood_spec")
)


def _garden():
    spec = importlib.util.spec_from_file_location("garden", HERE / "garden.py")
    module = sys.modules["garden"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", name="seen")
def _seen():
    """Water one plant in a hub that has the garden; returns what could be seen."""
    garden = _garden()
    plugins = [garden.GardenPlugin, garden.SeedsPlugin, MetricsPlugin]
    config = {"plugins": {"metrics": {"config": {"listen": ""}}}}

    async def until(condition):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async def look():
        async with running_hub(plugins=plugins, config=config) as hub:
            record = hub.kernel.by_name["garden"]
            async with hub.client.post("/business/garden/plants/basil/water") as answer:
                accepted = answer.status
            async with hub.stranger.post("/business/garden/plants/basil/water") as answer:
                refused = answer.status
            await hub.jobs.drain()
            await until(lambda: record.plugin.told and record.plugin.looked)
            async with hub.client.get("/business/garden/plants/basil") as answer:
                times = await answer.json()
            async with hub.client.get("/business/analytics/summary") as answer:
                summary = await answer.json()
            return {
                "plugin": record.plugin,
                "contributions": record.contributions,
                "accepted": accepted,
                "refused": refused,
                "times": times,
                "summary": summary,
                "health": {f"{each.plugin}.{each.name}": each.message for each in await hub.kernel.condition.look()},
                "measured": hub.kernel.metrics.registry.get_sample_value("heartwood_garden_waterings_total"),
                "rows": await hub.kernel.services.one(Database, consumer="garden").fetchval(
                    "select times from garden.plant where name = 'basil'"
                ),
                "folder": record.context.data_dir.is_dir(),
                "almanac": await record.context.one(garden.Almanac).watered("basil"),
            }

    return asyncio.run(look())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test_and_a_page(hook):
    """A hook that nobody tested or documented does not come in."""
    assert f"test_hook_{hook}" in globals()
    assert (PAGES / f"{hook}.md").is_file()


def test_no_page_is_left_of_a_hook_that_is_gone():
    """Each page of the folder is that of a hook."""
    assert HOOKS == sorted(page.stem for page in PAGES.glob("*.md"))


def test_hook_hookspecs(seen):
    """A hook that a plugin specifies is answered by another plugin."""
    assert ["basil"] == seen["plugin"].sown


def test_hook_services(seen):
    """What the lifespan yields is found under its contract."""
    assert 1 == seen["almanac"]


def test_hook_routes(seen):
    """Routes answer below the prefix, with what their signatures ask for."""
    assert 202 == seen["accepted"]
    assert 1 == seen["times"]


def test_hook_permissions(seen):
    """Who holds no permission is refused."""
    assert 401 == seen["refused"]
    assert ["garden.read", "garden.water"] == seen["contributions"]["permissions"]


def test_a_plugin_has_a_folder(seen):
    """The folder of a plugin is there once it is asked for."""
    assert seen["folder"]


def test_hook_assets(seen):
    """The package of the assets is known."""
    assert ["heartwood_garden"] == seen["contributions"]["assets"]


def test_hook_jobs(seen):
    """The job ran once."""
    assert 1 == seen["rows"]


def test_hook_tasks(seen):
    """The task of the process ran, and the one by the clock is known."""
    assert 1 == seen["plugin"].looked
    assert ["look", "count"] == seen["contributions"]["tasks"]


def test_hook_subscriptions(seen):
    """The subscriber was told of what committed."""
    assert ["basil"] == seen["plugin"].told


def test_hook_lifespan(seen):
    """The lifespan was entered before anything else of the plugin ran: it sowed."""
    assert ["basil"] == seen["plugin"].sown


def test_hook_tables(seen):
    """The table is in the plugin's schema."""
    assert 1 == seen["rows"]


def test_hook_metrics(seen):
    """The counter is scraped."""
    assert 1 == seen["measured"]


def test_hook_health_checks(seen):
    """The check says its sentence."""
    assert "the pump runs" == seen["health"]["garden.pump"]


def test_hook_analytics(seen):
    """The section is in the summary."""
    figures = {each["name"]: each["figures"] for each in seen["summary"]["sections"]}
    assert [("plants", 1)] == [(each["name"], each["value"]) for each in figures["garden"]]
