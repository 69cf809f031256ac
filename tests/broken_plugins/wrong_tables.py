"""Its tables are a number."""

from heartwood.api import Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    def tables(self):
        return 3
