"""Its lifespan raises when it is left."""

from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        yield
        msg = "the upstream did not say goodbye"
        raise RuntimeError(msg)
