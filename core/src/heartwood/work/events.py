"""Durable events: one job for each recorded subscriber, in the transaction of what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.jobs import Job
from heartwood.work import store
from heartwood.work.attempts import JobHandler
from heartwood.work.jobs import headers, payload_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from heartwood.contracts.data import Queries, Transaction
    from heartwood.contracts.events import Subscription
    from heartwood.work.attempts import Attempt


class NotAnEvent(HeartwoodError):
    """The class has no ``event_name``, or one handler is subscribed twice."""


def event_name(event: object) -> str:
    """Return the stable name of an event or of its class.

    Raises:
        NotAnEvent: it has none.
    """
    name = getattr(event, "event_name", None)
    if not isinstance(name, str) or not name:
        kind = event if isinstance(event, type) else type(event)
        message = f"{kind.__qualname__} is no event: give it event_name: ClassVar[str] = '<prefix>.<what happened>'"
        raise NotAnEvent(message)
    return name


def handler_name(subscription: Subscription) -> str:
    """Return the name under which the subscriber is recorded."""
    return str(getattr(subscription.handler, "__name__", type(subscription.handler).__name__))


def event_handler(
    plugin: str, subscription: Subscription, call: Callable[[bytes | None, Attempt], Awaitable[Any]]
) -> JobHandler:
    """Return the job by which ``plugin`` is told; ``call`` is the bound handler."""
    return JobHandler(plugin, Job(f"{handler_name(subscription)}@{event_name(subscription.event)}", call), call)


class EventBus:
    """The way to publish; implements :class:`heartwood.contracts.events.Events`."""

    async def publish(self, tx: Transaction, event: object) -> None:
        """Enqueue one job for each recorded subscriber, as part of ``tx``."""
        await tx.execute(store.PUBLISH, event_name(event), payload_bytes(event), headers(tx.actor))


async def record_subscriptions(queries: Queries, plugin: str, subscriptions: Iterable[Subscription]) -> None:
    """Make ``subscriptions`` the whole of what ``plugin`` is told of, also while it does not run.

    Raises:
        NotAnEvent: a class without ``event_name``, or two handlers of one name for one event.
    """
    wishes = [(event_name(each.event), handler_name(each)) for each in subscriptions]
    for event, handler in wishes:
        if wishes.count((event, handler)) > 1:
            message = f"plugin {plugin!r}: two handlers called {handler!r} subscribe to {event!r}; rename one"
            raise NotAnEvent(message)
    await store.record(queries, plugin, wishes)
