"""Background work that is not a job: schedules and things that run for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from attrs import field, frozen


class Scope(StrEnum):
    """Where an ``every`` or ``forever`` task runs: in one process of the hub, or in each whose role is listed."""

    HUB = "hub"
    PROCESS = "process"


@frozen
class Task:
    """Something that runs by itself. Exactly one of ``cron``, ``every`` and ``forever`` is given.

    Args:
        name: unique in the plugin.
        fn: an async function; service types in its signature are injected. A crash restarts it with a growing
            delay; five crashes in ten minutes make the plugin ``degraded``.
        cron: five fields in ``hub.timezone``. Fires once in the whole hub, and one missed run is made up.
        every: seconds between the end of one run and the start of the next.
        forever: the function itself loops; returning counts as a crash.
        scope: for ``every`` and ``forever`` only.
        roles: the process roles (``serve``, ``worker``) in which a ``process`` task runs.
    """

    name: str
    fn: Callable[..., Awaitable[Any]]
    cron: str | None = field(default=None, kw_only=True)
    every: float | None = field(default=None, kw_only=True)
    forever: bool = field(default=False, kw_only=True)
    scope: Scope = field(default=Scope.HUB, kw_only=True)
    roles: frozenset[str] = field(default=frozenset({"serve", "worker"}), kw_only=True)
