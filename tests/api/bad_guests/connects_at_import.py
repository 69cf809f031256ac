"""It looks for its upstream while it is imported, and hides that it did."""

import contextlib
import socket

from heartwood.api import Plugin

with contextlib.suppress(OSError, RuntimeError):
    socket.create_connection(("127.0.0.1", 1), timeout=1)


class Guest(Plugin):
    name = "guest"
