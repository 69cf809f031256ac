"""Its hook asks for something that the specification does not give."""

from heartwood.api import Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    def routes(self, ctx, request):
        return []
