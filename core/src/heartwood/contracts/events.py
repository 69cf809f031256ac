"""Durable events between plugins, and signals for live pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol

from attrs import frozen

from heartwood.contracts.data import Transaction


class Event(Protocol):
    """A frozen attrs class with a stable ``event_name`` (``documents.read``), which is how it is stored."""

    event_name: ClassVar[str]


@frozen
class Subscription:
    """A wish to be told of an event, at least once, after it has committed.

    ``handler`` is bound like a job's: a parameter ``event`` of the event's class, ``run: JobRun`` and services. Each
    subscriber is a job of its own with its own retries; ``run.id`` serves as the key that makes it idempotent.
    """

    event: type
    handler: Callable[..., Awaitable[Any]]


class Events(Protocol):
    """The way to publish."""

    async def publish(self, tx: Transaction, event: object) -> None:
        """Enqueue one job for each recorded subscriber, as part of ``tx``."""
        ...


@frozen
class Signal:
    """A fire-and-forget message: a topic (``documents.changed``) and a small JSON object."""

    topic: str
    payload: Mapping[str, Any]


class Subscriber(Protocol):
    """A stream of signals."""

    def __aiter__(self) -> Subscriber:
        """Iterate over the signals."""
        ...

    async def __anext__(self) -> Signal:
        """Wait for the next signal."""
        ...


class Signals(Protocol):
    """Signals for live pages. Nothing may depend on one: they can be lost, and a slow listener loses the oldest."""

    def send(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Tell every process of the hub; ``payload`` stays below 4,000 bytes of JSON."""
        ...

    def listen(self, *topics: str) -> AbstractAsyncContextManager[Subscriber]:
        """Subscribe to ``topics`` (``documents.*`` takes all of a plugin) for as long as the context lasts."""
        ...
