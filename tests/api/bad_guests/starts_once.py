"""It keeps something between two hubs of one process, and so starts only once."""

from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl

STARTED = []


class Guest(Plugin):
    name = "guest"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        if STARTED:
            msg = "started already"
            raise ValueError(msg)
        STARTED.append(True)
        yield
