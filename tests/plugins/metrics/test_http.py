"""The plugin in a whole hub."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from heartwood.api import Permission, Plugin, Role, hookimpl
from heartwood.contracts.analytics import Figure, Section
from heartwood.testing import running_hub
from heartwood_metrics.plugin import MetricsPlugin
from heartwood_ocr.plugin import OcrPlugin

SUMMARY = "/business/analytics/summary"
RECEIPT = Path(__file__).parents[2] / "data_files" / "receipt.jpg"


class Shop(Plugin):
    """Another author's plugin that adds a section."""

    name = "shop"

    @hookimpl
    def permissions(self, ctx):
        return [Permission("shop.read", "See the shop.", frozenset({Role.MEMBER}))]

    @hookimpl(optionalhook=True)
    def analytics(self, ctx):
        yield Section("sales", "Sales", self.read, "shop.read")
        yield Section("closing", "Closing", self.close, "shop.read")

    async def read(self):
        return [Figure("sales", 12.0, "sales")]

    async def close(self):
        sys.exit("closed")


def _config(listen):
    return {"plugins": {"metrics": {"config": {"listen": listen}}}}


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest_asyncio.fixture(name="exporting", scope="module", loop_scope="module")
async def _exporting():
    """A hub with documents, into which a receipt was sent; yields it and how to scrape it."""
    listen = f"127.0.0.1:{_free_port()}"
    async with running_hub(plugins=[OcrPlugin, MetricsPlugin, Shop], config=_config(listen)) as hub:
        form = aiohttp.FormData()
        form.add_field("file", RECEIPT.read_bytes(), filename="receipt.jpg")
        answer = await hub.client.post("/business/documents/upload", data=form)
        assert 202 == answer.status, await answer.text()
        await hub.jobs.drain()

        async def scrape():
            async with hub.stranger.get(f"http://{listen}/metrics") as answer:
                return await answer.text()

        yield hub, scrape


@pytest.mark.asyncio(loop_scope="module")
async def test_another_plugin_adds_a_section(exporting):
    """A hook that one plugin specifies is answered by another, and read with its handler bound by the kernel."""
    hub, _ = exporting

    answer = await hub.client.get(SUMMARY)
    sections = {section["name"]: section for section in (await answer.json())["sections"]}

    assert 200 == answer.status
    assert ("shop", 12.0) == (sections["sales"]["plugin"], sections["sales"]["figures"][0]["value"])
    running = next(each for each in sections["hub"]["figures"] if each["name"] == "plugins_running")
    assert (4.0, "value") == (running["value"], running["state"])


@pytest.mark.asyncio(loop_scope="module")
async def test_a_section_that_exits_is_told_and_the_hub_goes_on(exporting):
    """``sys.exit`` in a plugin's section is that section's problem: logged as the plugin's, and nobody else is hurt."""
    hub, _ = exporting

    answer = await hub.client.get(SUMMARY)
    sections = {section["name"]: section for section in (await answer.json())["sections"]}

    assert ([], "failed with SystemExit; the log says more") == (
        sections["closing"]["figures"],
        sections["closing"]["problem"],
    )
    logged = [json.loads(line) for line in hub.log.getvalue().splitlines() if "contribution.crashed" in line]
    assert ("shop", "analytics") == (logged[-1]["plugin"], logged[-1]["where"])
    assert "SystemExit" in logged[-1]["exception"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_scrape_of_a_whole_hub_is_what_promtool_accepts(exporting):
    """After an upload and its reading, every family of kernel, documents and metrics passes promtool with values."""
    hub, scrape = exporting
    await hub.client.get(SUMMARY)
    core = hub.kernel.by_name["core"].plugin
    await core.measure(hub.kernel.database("core"))  # as every 15 s

    text = await scrape()

    for series in (
        'heartwood_plugin_up{plugin="shop"} 1.0',
        f'heartwood_http_request_duration_seconds_count{{method="GET",route="{SUMMARY}",status="200"}}',
        'heartwood_documents_processed_total{kind="jpeg",outcome="ready"} 1.0',
        'heartwood_job_duration_seconds_count{job="read",plugin="ocr"} 1.0',
        'heartwood_user_activity_total{action="documents.upload",plugin="ocr"} 1.0',
        'heartwood_collector_up{collector="ocr"} 1.0',
        'heartwood_database_query_seconds_count{plugin="ocr"}',
    ):
        assert series in text
    assert hub.kernel.metrics.registry.get_sample_value("heartwood_database_size_bytes") > 1e6
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)


async def test_a_port_in_use_is_the_plugins_problem_alone(hub_factory):
    """The plugin is ``failed(start)`` with a sentence, its prefix answers 503 that names it, the rest serves."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        hub = await hub_factory(plugins=[MetricsPlugin, Shop], config=_config(listen))

        refused = await hub.client.get(SUMMARY)
        health = await hub.client.get("/business/health")

    problem = await refused.json()
    assert (503, "metrics") == (refused.status, problem["owner"])
    assert listen in problem["detail"]
    assert 200 == health.status


async def test_a_worker_exports_only_where_it_is_told_to(hub_factory):
    """By default the worker does not fight with the server for the port."""
    port = _free_port()
    await hub_factory(plugins=[MetricsPlugin], config=_config(f"127.0.0.1:{port}"), role="worker")

    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
