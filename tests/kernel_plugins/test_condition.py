"""Whether the hub is ready, and what its plugins' health checks say of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from heartwood.api import HealthCheck, Plugin, hookimpl
from heartwood.plugins import condition


class Pump(Plugin):
    """It depends on water, and would like to have music."""

    name = "pump"

    def __init__(self):
        self.faults = {}
        self.asked = []
        self.slow = None

    @hookimpl
    def health_checks(self):
        return [HealthCheck("water", self.water, critical=True), HealthCheck("music", self.music)]

    async def water(self):
        self._answer("water")

    async def music(self):
        self._answer("music")
        if self.slow:
            await self.slow()

    def _answer(self, name):
        self.asked.append(name)
        if name in self.faults:
            raise RuntimeError(self.faults[name])


@pytest.fixture(name="hub")
async def _hub(hub_factory):
    return await hub_factory(plugins=[Pump])


async def health(hub):
    async with hub.stranger.get("/business/health") as answer:
        return answer.status, await answer.text()


async def test_strangers_cost_one_question_a_second(hub, monkeypatch):
    """Only critical checks are asked for ``/business/health``, and not again for a moment, however many ask."""
    pump = hub.kernel.by_name["pump"].plugin
    pump.asked.clear()

    answers = [await health(hub) for _ in range(5)]

    assert [(200, "ok\n")] * 5 == answers
    assert ["water"] == [name for name in pump.asked if name == "water"]
    assert "music" not in pump.asked
    monkeypatch.setattr(condition, "REMEMBERED", 0.0)
    pump.faults["water"] = "dry"
    assert (503, "down\n") == await health(hub)
    assert ["pump.water: dry"] == await hub.kernel.condition.ready()


async def test_what_a_check_says_is_seen(hub):
    """A check that fails degrades its plugin until it is well; the report, the state, a metric and the log say so."""
    record = hub.kernel.by_name["pump"]
    record.plugin.faults["music"] = "no record player"
    await hub.kernel.condition.look()
    async with hub.client.get("/business/plugins/pump") as answer:
        report = await answer.json()
    state = {"plugin": "pump", "state": "degraded"}
    degraded = hub.kernel.metrics.registry.get_sample_value("heartwood_plugin_state", state)
    up = hub.kernel.metrics.registry.get_sample_value("heartwood_plugin_up", {"plugin": "pump"})
    ready = await hub.kernel.condition.ready()
    record.plugin.faults.clear()
    await hub.kernel.condition.look()

    assert ("degraded", "music: no record player") == (report["state"], report["reason"])
    assert {"water": ("ok", ""), "music": ("degraded", "no record player")} == {
        each["name"]: (each["verdict"], each["message"]) for each in report["health"]
    }
    assert (1, 0, []) == (degraded, up, ready)
    assert ("running", "") == (record.label, record.reason)
    events = [json.loads(line)["event"] for line in hub.log.getvalue().splitlines()]
    assert ["plugin.degraded", "plugin.recovered"] == [
        event for event in events if event in {"plugin.degraded", "plugin.recovered"}
    ]


async def test_a_plugin_is_well_once_nobody_finds_fault(hub):
    """What its tasks and its checks say is kept apart: the one does not take back the other."""
    record, of_hub = hub.kernel.by_name["pump"], hub.kernel.condition
    record.plugin.faults["water"] = "dry"
    of_hub.degrade("pump", "task 'turn' crashed")
    await of_hub.look()
    assert "task 'turn' crashed; water: dry" == record.reason

    of_hub.recover("pump")
    assert ("degraded", "water: dry") == (record.label, record.reason)
    record.plugin.faults.clear()
    await of_hub.look()
    assert "running" == record.label


async def test_an_earlier_look_does_not_overwrite_a_later_one(hub):
    """The periodic look may be under way, with a slow check, when somebody looks: the newest answer stays."""
    record, slow = hub.kernel.by_name["pump"], asyncio.Event()
    record.plugin.slow = slow.wait
    record.plugin.asked.clear()
    earlier = asyncio.create_task(hub.kernel.condition.look())
    while "music" not in record.plugin.asked:
        await asyncio.sleep(0)
    record.plugin.slow, record.plugin.faults["music"] = None, "no record player"
    later = asyncio.create_task(hub.kernel.condition.look())
    await asyncio.sleep(0.05)
    slow.set()
    await asyncio.gather(earlier, later)

    assert ("degraded", "music: no record player") == (record.label, record.reason)
