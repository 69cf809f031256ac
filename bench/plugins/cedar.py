"""A trivial plugin: one route and one metric."""

from prometheus_client import Counter

from heartwood.api import Permission, Plugin, Role, Route, hookimpl


class Cedar(Plugin):
    """Says hello and counts it."""

    name = "cedar"

    def __init__(self) -> None:
        self.greetings = Counter("heartwood_cedar_greetings", "How often it has said hello.", registry=None)

    @hookimpl
    def permissions(self) -> list[Permission]:
        """Give who may greet."""
        return [Permission("cedar.greet", "Be greeted.", frozenset({Role.MEMBER, Role.READER}))]

    @hookimpl
    def routes(self) -> list[Route]:
        """Give the greeting."""
        return [Route("GET", "/hello", self.hello, "cedar.greet")]

    @hookimpl
    def metrics(self) -> list[Counter]:
        """Give the count."""
        return [self.greetings]

    async def hello(self) -> str:
        """Say hello."""
        self.greetings.inc()
        return "hello"
