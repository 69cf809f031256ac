"""A parameter in the path of its route has a name that no parameter of Python can have."""

from heartwood.api import Permission, Plugin, Route, hookimpl


async def show() -> str:
    return "nowhere"


class Broken(Plugin):
    @hookimpl
    def permissions(self):
        return [Permission("bad_path.read", "Read it.")]

    @hookimpl
    def routes(self):
        return [Route("GET", "/{a-b}", show, "bad_path.read")]
