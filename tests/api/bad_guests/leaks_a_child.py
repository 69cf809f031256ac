"""Its lifespan starts a program and forgets it; the program ends with its own input, so the test leaves none."""

import subprocess
import sys
from contextlib import asynccontextmanager

from heartwood.api import Plugin, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        Guest.forgotten = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        yield
