"""Health checks and what they say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from attrs import field, frozen


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@frozen
class HealthCheck:
    """A question about something the plugin depends on.

    Args:
        name: unique in the plugin.
        fn: an async function without arguments (service types are injected); it returns a sentence or None when all
            is well, and raises with a sentence when it is not.
        timeout: seconds after which it counts as down.
        critical: whether the hub is not ready while it is down. Anything else only degrades the plugin.
    """

    name: str
    fn: Callable[..., Awaitable[str | None]]
    timeout: float = field(default=2.0, kw_only=True)
    critical: bool = field(default=False, kw_only=True)


@frozen
class HealthResult:
    """The answer to one check: verdict, sentence, and how long it took in seconds."""

    plugin: str
    name: str
    verdict: Verdict
    message: str
    seconds: float
    critical: bool
