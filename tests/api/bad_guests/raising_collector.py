"""Its collector raises when it is scraped."""

from prometheus_client.registry import Collector

from heartwood.api import Plugin, hookimpl


class Sensor(Collector):
    scraped = False

    def describe(self):
        return []

    def collect(self):
        msg = "the sensor is unplugged"
        raise OSError(msg)


class Guest(Plugin):
    name = "guest"

    @hookimpl
    def metrics(self):
        return [Sensor()]
