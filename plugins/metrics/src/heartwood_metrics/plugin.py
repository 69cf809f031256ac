"""The metrics plugin: what it adds to the hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from prometheus_client.registry import Collector

from heartwood.api import Actor, Permission, Plugin, PluginContext, Role, Route, hookimpl
from heartwood.contracts.analytics import Figure, Section
from heartwood.contracts.calls import Caller
from heartwood.contracts.metrics import MetricsRegistry
from heartwood_metrics import hub, summary
from heartwood_metrics.config import MetricsConfig
from heartwood_metrics.exporter import exporting
from heartwood_metrics.hookspecs import AnalyticsSpecs
from heartwood_metrics.instruments import Instruments
from heartwood_metrics.models import Summary

READ = "analytics.read"


class MetricsPlugin(Plugin):
    """Exports the hub's metrics to Prometheus, and collects figures from all plugins in one summary."""

    name = "metrics"
    config = MetricsConfig

    def __init__(self) -> None:
        self.instruments = Instruments()
        self.sources: list[summary.Source] = []

    @hookimpl
    def hookspecs(self) -> Iterable[type]:
        """Add the hook ``analytics``."""
        return [AnalyticsSpecs]

    @hookimpl
    def permissions(self, ctx: PluginContext) -> Iterable[Permission]:
        """Return the permission to read the summary."""
        everyone = frozenset({Role.MEMBER, Role.READER})
        return [Permission(READ, "Read the figures of the analytics summary.", everyone)]

    @hookimpl
    def routes(self, ctx: PluginContext) -> Iterable[Route]:
        """Return the summary."""
        return [Route("GET", "/summary", self.summary, READ)]

    @hookimpl
    def metrics(self, ctx: PluginContext) -> Iterable[Collector]:
        """Return what this plugin measures of itself."""
        return [self.instruments.seconds, self.instruments.errors]

    @hookimpl
    def analytics(self, ctx: PluginContext) -> Iterable[Section]:
        """Return the hub's own section."""
        return [Section("hub", "The hub", self.hub_figures, READ)]

    @hookimpl
    def lifespan(self, ctx: PluginContext) -> AbstractAsyncContextManager[None]:
        """Collect the sections, and export for as long as the plugin runs."""
        return self._running(ctx)

    @asynccontextmanager
    async def _running(self, ctx: PluginContext) -> AsyncIterator[None]:
        self.sources = summary.sources(ctx.contributions("analytics"))
        listen = {"serve": ctx.config.listen, "worker": ctx.config.worker_listen}.get(ctx.role, "")
        if not listen:
            yield
            return
        metrics = ctx.one(MetricsRegistry)
        async with exporting(metrics.registry, listen) as address:
            ctx.log.info("metrics.exporting", address=address)
            yield

    async def summary(self, actor: Actor, caller: Caller) -> Summary:
        """Return the figures of all plugins that you may see."""
        return await summary.read(self.sources, actor, caller, self.instruments)

    async def hub_figures(self, metrics: MetricsRegistry) -> list[Figure]:
        """Read the hub's own figures."""
        return hub.figures(metrics.registry)
