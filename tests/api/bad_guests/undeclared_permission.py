"""Its route asks for a permission that nobody declares."""

from heartwood.api import Plugin, Route, hookimpl


async def hello() -> str:
    """Greet."""
    return "hello"


class Guest(Plugin):
    name = "guest"

    @hookimpl
    def routes(self):
        return [Route("GET", "/hello", hello, "guest.read")]
