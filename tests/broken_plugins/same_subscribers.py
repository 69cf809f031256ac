"""Two of its handlers have one name and want to be told of one event."""

from typing import ClassVar

from attrs import frozen

from heartwood.api import Plugin, Subscription, hookimpl


@frozen
class Rang:
    event_name: ClassVar[str] = "same_subscribers.rang"


def handler():
    async def on_rang(event: Rang) -> None:
        """Do nothing."""

    return on_rang


class Broken(Plugin):
    @hookimpl
    def subscriptions(self):
        return [Subscription(Rang, handler()), Subscription(Rang, handler())]
