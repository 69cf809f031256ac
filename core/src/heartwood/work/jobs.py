"""Enqueueing: a job is a row that commits or rolls back together with the work it follows from."""

from __future__ import annotations

import difflib
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson

from heartwood.contracts.errors import HeartwoodError
from heartwood.plugins.codec import encode
from heartwood.work import store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heartwood.contracts.data import Transaction
    from heartwood.contracts.jobs import Job
    from heartwood.contracts.people import Actor


class UnknownJob(HeartwoodError):
    """A job was enqueued that its plugin does not have."""


class JobQueue:
    """The way to enqueue; implements :class:`heartwood.contracts.jobs.Jobs`."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Job]] = {}

    def know(self, plugin: str, jobs: Iterable[Job]) -> None:
        """Learn the jobs of ``plugin``: their priorities, and which names are mistakes."""
        self._known[plugin] = {job.name: job for job in jobs}

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
        """Enqueue ``job`` (``<plugin>.<name>``, or ``<name>`` for one's own) as part of ``tx``, for its actor.

        Args:
            tx: the transaction it commits with.
            job: what is to be done.
            payload: an attrs value, what JSON can say, or bytes.
            dedupe_key: at most one job of this name waits or runs under a key.
            delay: seconds until it may start.
            priority: a higher number is taken first; the job's own by default.

        Returns:
            The job's id, or None where a waiting or running job has the same ``dedupe_key``.

        Raises:
            UnknownJob: the plugin runs here and has no such job.
        """
        name = job if "." in job else f"{tx.plugin}.{job}"
        found = self._find(name)
        if priority is None:
            priority = found.priority if found is not None else 0
        key = f"{name}:{dedupe_key}" if dedupe_key is not None else None
        content = payload_bytes(payload)
        made: int | None = await tx.fetchval(
            store.ENQUEUE, name, content, priority, timedelta(seconds=delay), key, headers(tx.actor)
        )
        return made

    def _find(self, name: str) -> Job | None:
        plugin, _, short = name.partition(".")
        jobs = self._known.get(plugin)
        if jobs is None or short in jobs:
            return jobs[short] if jobs else None
        close = difflib.get_close_matches(short, jobs, n=1)
        hint = f"did you mean {f'{plugin}.{close[0]}'!r}?" if close else f"it has {', '.join(sorted(jobs)) or 'none'}"
        message = f"Plugin {plugin!r} has no job {short!r}; {hint}"
        raise UnknownJob(message)


def payload_bytes(payload: object) -> bytes | None:
    """Return ``payload`` as it is stored."""
    return payload if payload is None or isinstance(payload, bytes) else encode(payload)


def headers(actor: Actor) -> str:
    """Return the envelope that remembers for whom a job is done."""
    return orjson.dumps({"person": actor.person, "name": actor.name}).decode()
