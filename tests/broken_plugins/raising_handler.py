"""Its handler raises what nobody foresaw."""

from heartwood.api import Permission, Plugin, Route, hookimpl


async def broken() -> str:
    msg = "a secret detail"
    raise ZeroDivisionError(msg)


class Broken(Plugin):
    @hookimpl
    def permissions(self):
        return [Permission("raising_handler.read", "Read it.")]

    @hookimpl
    def routes(self):
        return [Route("GET", "", broken, "raising_handler.read")]
