"""Its lifespan starts a thread that nobody ends."""

import threading
from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        Guest.forgotten = threading.Event()
        threading.Thread(target=Guest.forgotten.wait, name="the forgotten thread").start()
        yield
