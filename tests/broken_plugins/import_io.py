"""It asks its upstream at import, where nobody waits for it and nothing retries."""

import socket

from heartwood.api import Plugin

UPSTREAM = socket.create_connection(("127.0.0.1", 1), timeout=1)


class Broken(Plugin):
    pass
