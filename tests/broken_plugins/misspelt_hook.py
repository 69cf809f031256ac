"""Its hook has a name that nobody asks."""

from heartwood.api import Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    def rotues(self, ctx):
        return []
