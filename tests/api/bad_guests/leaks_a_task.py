"""Its lifespan starts a task and forgets it."""

import asyncio
from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        self.forgotten = asyncio.create_task(asyncio.Event().wait(), name="the forgotten task")
        yield
