"""Two of its routes are the same, though a part of the path is called differently."""

from heartwood.api import Permission, Plugin, Route, hookimpl


async def by_id(id: int) -> int:
    return id


async def by_name(name: str) -> str:
    return name


class Broken(Plugin):
    @hookimpl
    def permissions(self):
        return [Permission("route_clash.read", "Read it.")]

    @hookimpl
    def routes(self):
        return [
            Route("GET", "/{id}", by_id, "route_clash.read"),
            Route("GET", "/{name}", by_name, "route_clash.read"),
        ]
