"""The exporter: what Prometheus scrapes, on a listener of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from heartwood.api import HeartwoodError
from heartwood.contracts.settings import host_and_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

KEEPALIVE = 75.0
"""Seconds an idle connection stays open: longer than Prometheus' usual interval of 15 to 60 seconds."""


@asynccontextmanager
async def exporting(registry: CollectorRegistry, listen: str) -> AsyncIterator[str]:
    """Answer ``GET /metrics`` on ``listen`` for as long as the context lasts; yields the address of that page.

    The format is what the client accepts (OpenMetrics or the text format), compressed where it accepts that.
    prometheus-async's own server only knows the global registry.

    Raises:
        HeartwoodError: ``listen`` cannot be listened on.
    """
    app = web.Application()
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, port = host_and_port(listen)
        site = web.TCPSite(runner, host, port)
        await _start(site, listen)
        yield f"http://{f'[{host}]' if ':' in host else host}:{site.port}/metrics"
    finally:
        await runner.cleanup()


async def _start(site: web.TCPSite, listen: str) -> None:
    try:
        await site.start()
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"listen: cannot listen on {listen}: {reason}; stop what listens there, or set another address"
        raise HeartwoodError(msg) from error
