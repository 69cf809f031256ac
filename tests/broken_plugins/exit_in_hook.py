"""Its hook is a generator that ends the process half-way."""

import sys

from heartwood.api import Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    def jobs(self):
        yield from ()
        sys.exit(4)
