"""It needs settings that nobody has given."""

from attrs import frozen

from heartwood.api import Plugin, setting


@frozen
class Config:
    """How to reach the upstream."""

    address: str = setting(help="Where it is.")
    port: int = setting(help="The port it listens on.")


class Broken(Plugin):
    config = Config
