"""Its collector cannot say which metrics it has."""

from heartwood.api import Plugin, hookimpl


class Collector:
    def describe(self):
        return [1 / 0]

    def collect(self):
        return []


class Broken(Plugin):
    @hookimpl
    def metrics(self):
        return [Collector()]
