"""Its route returns what JSON cannot say."""

from heartwood.api import Permission, Plugin, Route, hookimpl


class Thing:
    """No attrs class."""


async def thing() -> Thing:
    """Return a thing."""
    return Thing()


class Guest(Plugin):
    name = "guest"

    @hookimpl
    def permissions(self):
        return [Permission("guest.read", "See things.")]

    @hookimpl
    def routes(self):
        return [Route("GET", "/thing", thing, "guest.read")]
