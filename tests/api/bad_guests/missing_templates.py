"""It promises templates that its package does not have."""

from heartwood.api import Assets, Plugin, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl
    def assets(self):
        return Assets("heartwood", templates="no_templates_here", static=None)
