"""Durable work: jobs that survive the process, and the run of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from attrs import field, frozen

from heartwood.contracts.data import Transaction
from heartwood.contracts.people import Actor


@frozen
class Retry:
    """How often and when a job that raised is tried again.

    The wait before attempt ``n + 1`` is ``first * factor ** (n - 1)`` seconds, at most ``longest``, spread by up to
    a quarter either way so that jobs which failed together do not return together.
    """

    attempts: int = 3
    first: float = 2.0
    factor: float = 4.0
    longest: float = 600.0


@frozen
class Job:
    """A kind of durable work.

    The handler's signature is bound like a route's: ``payload`` is an attrs class (the JSON it was enqueued with),
    ``run: JobRun``, ``Actor`` (the person it was enqueued for), ``Transaction`` (one fenced transaction around the
    handler) and service types are injected. Delivery is at least once; results are fenced by attempt.

    Args:
        name: unique in the plugin; the queue calls it ``<plugin>.<name>``.
        handler: an async function or method. It must not block the loop: heavy work goes to ``Children``.
        retry: what happens when it raises.
        limit: how many may run at once in the whole hub; None is no limit.
        timeout: seconds one attempt may take.
        priority: a higher number is taken first.
    """

    name: str
    handler: Callable[..., Awaitable[Any]]
    retry: Retry = field(factory=Retry, kw_only=True)
    limit: int | None = field(default=None, kw_only=True)
    timeout: float = field(default=600.0, kw_only=True)
    priority: int = field(default=0, kw_only=True)


class JobState(StrEnum):
    """Where a job stands. ``dead`` has used up its attempts (or was discarded) and waits for a person."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


class JobRun(Protocol):
    """One attempt at a job."""

    @property
    def id(self) -> int:
        """The job's id, the same in every attempt: use it as an idempotency key."""
        ...

    @property
    def attempt(self) -> int:
        """Which attempt this is, counted from 1."""
        ...

    @property
    def last(self) -> bool:
        """Whether the job is dead when this attempt fails."""
        ...

    def unit(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that commits only while this attempt still owns the job.

        Raises:
            LeaseLost: another worker has resumed the job meanwhile.
        """
        ...


class Jobs(Protocol):
    """The way to enqueue."""

    async def enqueue(
        self,
        tx: Transaction,
        job: str,
        payload: object = None,
        *,
        dedupe_key: str | None = None,
        delay: float = 0.0,
        priority: int | None = None,
    ) -> int | None:
        """Enqueue ``job`` (``<plugin>.<name>``, or ``<name>`` for one's own) as part of ``tx``.

        Returns the job's id, or None where a waiting or running job has the same ``dedupe_key``.
        """
        ...


@frozen
class JobInfo:
    """What is known of one job, for people."""

    id: int
    name: str
    plugin: str
    state: JobState
    attempts: int
    reason: str | None
    created: datetime
    updated: datetime
    actor: Actor | None = None
