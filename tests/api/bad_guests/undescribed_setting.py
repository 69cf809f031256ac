"""One of its settings, inside of another, is not described."""

from attrs import field, frozen

from heartwood.api import Plugin, setting


@frozen
class Upstream:
    """Where it asks."""

    address: str = setting("https://example.org", help="The address.")
    patience: float = field(default=1.0)


@frozen
class Config:
    """What can be set."""

    upstream: Upstream = setting(factory=Upstream, help="The upstream.")


class Guest(Plugin):
    name = "guest"
    config = Config
