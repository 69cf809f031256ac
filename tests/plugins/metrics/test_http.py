"""The plugin in a whole hub."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from heartwood.api import Permission, Plugin, Role, hookimpl
from heartwood.contracts.analytics import Figure, Section
from heartwood_metrics.plugin import MetricsPlugin

SUMMARY = "/business/analytics/summary"
OFF = {"plugins": {"metrics": {"config": {"listen": ""}}}}


class Shop(Plugin):
    """Another author's plugin that adds a section."""

    name = "shop"

    @hookimpl
    def permissions(self, ctx):
        return [Permission("shop.read", "See the shop.", frozenset({Role.MEMBER}))]

    @hookimpl(optionalhook=True)
    def analytics(self, ctx):
        return [Section("sales", "Sales", self.read, "shop.read")]

    async def read(self):
        return [Figure("sales", 12.0, "sales")]


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


async def test_another_plugin_adds_a_section(hub_factory):
    """A hook that one plugin specifies is answered by another, and read with its handler bound by the kernel."""
    hub = await hub_factory(plugins=[MetricsPlugin, Shop], config=OFF)

    answer = await hub.client.get(SUMMARY)
    sections = {section["name"]: section for section in (await answer.json())["sections"]}

    assert 200 == answer.status
    assert ("shop", 12.0) == (sections["sales"]["plugin"], sections["sales"]["figures"][0]["value"])
    running = next(each for each in sections["hub"]["figures"] if each["name"] == "plugins_running")
    assert (2.0, "value") <= (running["value"], running["state"])


async def test_the_exporter_serves_the_hubs_own_registry(hub_factory):
    """What the hub has just done shows in the scrape."""
    port = _free_port()
    config = {"plugins": {"metrics": {"config": {"listen": f"127.0.0.1:{port}"}}}}
    hub = await hub_factory(plugins=[MetricsPlugin, Shop], config=config)
    await hub.client.get(SUMMARY)

    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()

    assert 'heartwood_plugin_up{plugin="shop"} 1.0' in text
    assert f'route="{SUMMARY}"' in text


async def test_a_port_in_use_is_the_plugins_problem_alone(hub_factory):
    """The plugin is ``failed(start)`` with a sentence, its prefix answers 503 that names it, the rest serves."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        config = {"plugins": {"metrics": {"config": {"listen": listen}}}}
        hub = await hub_factory(plugins=[MetricsPlugin, Shop], config=config)

        refused = await hub.client.get(SUMMARY)
        health = await hub.client.get("/business/health")

    problem = await refused.json()
    assert (503, "metrics") == (refused.status, problem["owner"])
    assert listen in problem["detail"]
    assert 200 == health.status


@pytest.mark.parametrize("role", ["worker"])
async def test_a_worker_exports_only_where_it_is_told_to(hub_factory, role):
    """By default the worker does not fight with the server for the port."""
    port = _free_port()
    config = {"plugins": {"metrics": {"config": {"listen": f"127.0.0.1:{port}"}}}}
    await hub_factory(plugins=[MetricsPlugin], config=config, role=role)

    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
