"""Its route has neither a docstring nor a summary."""

from heartwood.api import Permission, Plugin, Route, hookimpl


async def hello() -> str:
    return "hello"


class Guest(Plugin):
    name = "guest"

    @hookimpl
    def permissions(self):
        return [Permission("guest.read", "Be greeted.")]

    @hookimpl
    def routes(self):
        return [Route("GET", "/hello", hello, "guest.read")]
