"""It implements an optional hook that nobody specifies."""

from heartwood.api import Plugin, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl(optionalhook=True)
    def analitycs(self):
        return []
