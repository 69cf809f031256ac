"""Its lifespan opens a socket and leaves it open."""

import socket
from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        Guest.forgotten = socket.socket()
        yield
