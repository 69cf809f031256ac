"""It exports a metric of the kernel."""

from prometheus_client import Gauge

from heartwood.api import Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    def metrics(self):
        return [Gauge("heartwood_plugin_up", "Whether the plugin serves.", registry=None)]
