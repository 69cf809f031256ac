"""A plugin that comes as a wheel, with a table of its own."""

from heartwood.api import Plugin, Tables, hookimpl


class Shelf(Plugin):
    name = "shelf"

    @hookimpl
    def tables(self):
        return Tables("shelf.tables:metadata", "shelf.migrations")
