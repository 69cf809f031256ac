"""Its lifespan waits for something that never comes."""

import asyncio
from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        await asyncio.Event().wait()
        yield
