"""A plugin that does everything right, beside all those that do not."""

from heartwood.api import Permission, Plugin, Role, Route, hookimpl


async def hello() -> str:
    return "hello"


class Good(Plugin):
    @hookimpl
    def permissions(self):
        return [Permission("good.read", "Be greeted.", frozenset({Role.MEMBER}))]

    @hookimpl
    def routes(self):
        return [Route("GET", "/hello", hello, "good.read")]
