"""A hook of it writes a file, though hooks are asked before anything is started."""

import tempfile
from pathlib import Path

from heartwood.api import Plugin, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl
    def permissions(self):
        Path(tempfile.gettempdir(), "heartwood-guest").write_text("here I am")
        return []
