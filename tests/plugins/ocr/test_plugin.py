"""What the plugin contributes is complete, and each part passes the kernel's own checks."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from heartwood.contracts.analytics import FigureState
from heartwood.contracts.documents import Documents
from heartwood.plugins.plugin import PluginContext
from heartwood_ocr import store
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.metrics import figures
from heartwood_ocr.models import Status
from heartwood_ocr.plugin import OcrPlugin
from heartwood_ocr.tools import Tesseract, ToolMissing


@pytest.fixture(name="ctx")
def _ctx():
    def reverse(name, **parts):
        return f"/business/documents/{parts['id']}" if name == "ocr:document" else None

    return PluginContext(
        name="ocr", config=OcrConfig(), log=structlog.get_logger(), role="serve", data_dir=Path("/nonexistent"),
        services=None, ask=None, reverse=reverse,
    )  # fmt: skip


def test_every_route_has_a_permission_that_is_listed(ctx):
    """Routes ask only for permissions that the plugin describes; writing is for members, reading for readers too."""
    plugin = OcrPlugin()
    permissions = {each.name: each.roles for each in plugin.permissions()}
    assert {"documents.read", "documents.write"} == set(permissions)
    assert {"member"} == permissions["documents.write"]
    assert {"member", "reader"} == permissions["documents.read"]
    routes = plugin.routes(ctx)
    assert {each.permission for each in routes} == set(permissions)
    unsafe = {each.permission for each in routes if each.method != "GET"}
    assert {"documents.write"} == unsafe


async def test_lifespan_provides_the_documents(ctx):
    """The promised service is what the lifespan yields, and it fits the contract."""
    plugin = OcrPlugin()
    assert [Documents] == [each.contract for each in plugin.services()]
    async with plugin.lifespan(ctx) as documents:
        for name in ("get", "text", "search", "visible"):
            assert callable(getattr(documents, name))


def test_hooks_of_one_instance_share_their_parts(ctx):
    """What the job measures is what the metrics hook exports."""
    plugin = OcrPlugin()
    (job,) = plugin.jobs(ctx)
    assert set(plugin.metrics(ctx)) == set(job.handler.__self__.metrics.collectors())


async def test_analytics_tells_numbers_and_success(house):
    """The section shows no success while nothing was read, and the share of what could be read afterwards."""
    (section,) = OcrPlugin().analytics()
    before = {each.name: each for each in await section.read(actor=house.owner, database=house.database)}
    assert (0, FigureState.VALUE) == (before["documents"].value, before["documents"].state)
    assert (None, FigureState.NO_DATA) == (before["ocr_success"].value, before["ocr_success"].state)
    for number, status in enumerate((Status.READY, Status.NEEDS_REVIEW, Status.FAILED, Status.READY)):
        document = await house.put(b"\xff\xd8\xff%d" % number)
        async with house.database.unit(house.owner) as tx:
            await store.settle(tx, house.owner, document, status, None)
    after = {each.name: each.value for each in await section.read(actor=house.owner, database=house.database)}
    assert (4, 0, 1, 0.75) == (after["documents"], after["waiting"], after["failed"], after["ocr_success"])


def test_success_counts_what_has_ended_only():
    """Documents that still wait do not lower the success."""
    counts = dict.fromkeys(Status, 0) | {Status.QUEUED: 5, Status.READY: 1}
    assert 1 == {each.name: each.value for each in figures(counts)}["ocr_success"]


async def test_health_names_what_is_missing(monkeypatch):
    """The check says what Tesseract reads, which language it lacks, and what to install where it is missing."""
    assert "Tesseract reads eng, deu" == await Tesseract(["eng", "deu"]).check()
    with pytest.raises(ToolMissing, match="lacks xyz: install tesseract-ocr-xyz"):
        await Tesseract(["eng", "xyz"]).check()
    with pytest.raises(ToolMissing, match="none of the languages xyz"):
        await Tesseract(["xyz"]).check()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolMissing, match="install tesseract-ocr"):
        await Tesseract(["eng"]).check()
