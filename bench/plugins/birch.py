"""A trivial plugin: one route and one metric."""

from prometheus_client import Counter

from heartwood.api import Permission, Plugin, Role, Route, hookimpl


class Birch(Plugin):
    """Says hello and counts it."""

    name = "birch"

    def __init__(self) -> None:
        self.greetings = Counter("heartwood_birch_greetings", "How often it has said hello.", registry=None)

    @hookimpl
    def permissions(self) -> list[Permission]:
        """Give who may greet."""
        return [Permission("birch.greet", "Be greeted.", frozenset({Role.MEMBER, Role.READER}))]

    @hookimpl
    def routes(self) -> list[Route]:
        """Give the greeting."""
        return [Route("GET", "/hello", self.hello, "birch.greet")]

    @hookimpl
    def metrics(self) -> list[Counter]:
        """Give the count."""
        return [self.greetings]

    async def hello(self) -> str:
        """Say hello."""
        self.greetings.inc()
        return "hello"
