"""The description of the API: valid, complete, and the same as the committed one.

After a change that is meant, renew ``docs/api/openapi.json`` and commit it::

    HEARTWOOD_RENEW=1 .venv/bin/pytest tests/system/test_openapi.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from heartwood_metrics.plugin import MetricsPlugin
from heartwood_ocr.plugin import OcrPlugin

COMMITTED = Path(__file__).parents[2] / "docs" / "api" / "openapi.json"
RENEW = "HEARTWOOD_RENEW=1 .venv/bin/pytest tests/system/test_openapi.py"


@pytest.fixture(name="hub")
async def _hub(hub_factory):
    config = {"plugins": {"metrics": {"config": {"listen": ""}}}}
    return await hub_factory(plugins=[OcrPlugin, MetricsPlugin], config=config)


async def described(hub):
    async with hub.client.get("/business/openapi.json") as answer:
        assert (200, "application/json") == (answer.status, answer.content_type)
        return await answer.json()


async def test_openapi_covers_every_route_and_validates(hub):
    """It is OpenAPI 3.1, has exactly the operations on the router, and each is typed or described in words."""
    document = await described(hub)
    OpenAPIV31SpecValidator(document).validate()
    operations = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    routes = hub.kernel.mount.app.router.routes()
    mounted = {(each.method, each.resource.canonical) for each in routes if each.method not in ("*", "HEAD")}

    assert mounted == operations
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
            raw = "2XX" in operation["responses"]
            assert raw or {"200", "204"} & set(operation["responses"]), path


async def test_the_committed_description_is_current(hub):
    """``docs/api/openapi.json`` says what the hub with all plugins of this repository says, but for its version."""
    document = await described(hub)
    document["info"]["version"] = ""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("HEARTWOOD_RENEW"):
        COMMITTED.parent.mkdir(parents=True, exist_ok=True)
        COMMITTED.write_text(text)

    assert COMMITTED.read_text() == text, f"where this is meant: {RENEW}"
