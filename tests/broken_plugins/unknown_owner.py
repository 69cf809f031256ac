"""Its route says that it belongs to a plugin which is not there."""

from heartwood.api import Permission, Plugin, Route, hookimpl


async def show() -> str:
    return "nobody's"


class Broken(Plugin):
    @hookimpl
    def permissions(self):
        return [Permission("unknown_owner.read", "Read it.")]

    @hookimpl
    def routes(self):
        return [Route("GET", "", show, "unknown_owner.read", owner="nobody")]
