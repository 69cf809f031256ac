"""Two of its routes are the same, though a part of the path is called differently."""

from heartwood.api import Permission, Plugin, Route, hookimpl


async def by_number(number: int) -> int:
    return number


async def by_name(name: str) -> str:
    return name


class Broken(Plugin):
    @hookimpl
    def permissions(self):
        return [Permission("route_clash.read", "Read it.")]

    @hookimpl
    def routes(self):
        return [
            Route("GET", "/{number}", by_number, "route_clash.read"),
            Route("GET", "/{name}", by_name, "route_clash.read"),
        ]
