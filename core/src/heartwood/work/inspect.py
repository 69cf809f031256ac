"""Jobs as people see them: list, show, retry, cancel."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from attrs import define, frozen

from heartwood.contracts.cursors import decode_cursor, encode_cursor
from heartwood.contracts.errors import Conflict, Invalid, NotFound
from heartwood.contracts.jobs import JobInfo, JobState
from heartwood.contracts.people import Actor
from heartwood.contracts.routes import Page
from heartwood.work import store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heartwood.contracts.data import Queries, Transaction

STATES = {
    "queued": JobState.QUEUED,
    "picked": JobState.RUNNING,
    "failed": JobState.DEAD,
    "successful": JobState.DONE,
    "canceled": JobState.CANCELLED,
}
"""PgQueuer's words and ours."""
LONGEST_PAGE = 500
LARGEST_ID = 2**63 - 1


@define
class AttemptInfo:
    """One attempt of the past or present: ``ended`` and ``state`` are None while it runs or where its worker died."""

    started: datetime
    ended: datetime | None = None
    state: JobState | None = None
    reason: str | None = None
    trace: str | None = None


@frozen
class JobHistory:
    """A job with its attempts, oldest first, as far back as the log reaches."""

    job: JobInfo
    attempts: list[AttemptInfo]


async def list_jobs(
    queries: Queries,
    *,
    states: Iterable[JobState] = (),
    plugin: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[JobInfo]:
    """Return jobs, newest first.

    Args:
        queries: the kernel's way to PostgreSQL.
        states: only these; all by default.
        plugin: only those of this plugin.
        limit: how many at most, 1 to 500.
        cursor: the ``next`` of the page before.

    Raises:
        Invalid: a limit or a cursor that cannot be.
    """
    if not 1 <= limit <= LONGEST_PAGE:
        message = f"limit = {limit}: give 1 to {LONGEST_PAGE}"
        raise Invalid(message)
    chosen = set(states)
    words = [word for word, state in STATES.items() if state in chosen or not chosen]
    (before,) = decode_cursor(cursor, int) if cursor is not None else (None,)
    rows = await queries.fetch(store.LIST, before, words, plugin, limit + 1)
    more = encode_cursor(rows[limit - 1]["id"]) if len(rows) > limit else None
    return Page([_info(row) for row in rows[:limit]], more)


async def show_job(queries: Queries, job: int) -> JobHistory:
    """Return one job with its attempts and why they ended.

    Raises:
        NotFound: there is none, or it ended longer ago than ``work.log_keep_days``.
    """
    row = await queries.fetchrow(store.SHOW, _number(job))
    if row is None:
        raise _missing(job)
    return JobHistory(_info(row), _attempts(await queries.fetch(store.HISTORY, job)))


async def retry_job(tx: Transaction, job: int) -> None:
    """Queue a dead job again, with all its attempts before it.

    Raises:
        NotFound: there is no such job.
        Conflict: it is not dead, or another job with its dedupe key waits or runs.
    """
    try:
        found = await tx.fetchval(store.RETRY, _number(job), f"tried again by {tx.actor.name}")
    except asyncpg.UniqueViolationError as error:
        message = f"Job {job} cannot be tried again: another one with its dedupe key waits or runs"
        raise Conflict(message) from error
    if not found:
        state = (await show_job(tx, job)).job.state
        message = f"Job {job} is {state}; only a dead one can be tried again"
        raise Conflict(message)
    await tx.audit("jobs.retry", f"job:{job}")


async def cancel_job(tx: Transaction, job: int) -> None:
    """End a job that waits, runs or is dead. The handler of a running one is stopped; its results are not written.

    Raises:
        NotFound: there is no such job.
        Conflict: it has ended already.
    """
    was = await tx.fetchval(store.CANCEL, _number(job), f"cancelled by {tx.actor.name}")
    if was is None:
        state = (await show_job(tx, job)).job.state
        message = f"Job {job} is {state} already"
        raise Conflict(message)
    if STATES[was] is JobState.RUNNING:
        await tx.execute(store.STOP, job)
    await tx.audit("jobs.cancel", f"job:{job}")


def _number(job: int) -> int:
    """Return ``job`` where it may be the id of one."""
    if not 0 < job <= LARGEST_ID:
        raise _missing(job)
    return job


def _missing(job: int) -> NotFound:
    return NotFound(f"There is no job {job}, or it ended longer ago than work.log_keep_days")


def _info(row: Any) -> JobInfo:
    plugin, _, _ = row["entrypoint"].partition(".")
    actor = None
    if row["headers"] is not None:
        envelope = orjson.loads(row["headers"])
        actor = Actor(envelope.get("person"), envelope.get("name", ""), frozenset(), "job")
    return JobInfo(
        id=row["id"],
        name=row["entrypoint"],
        plugin=plugin,
        state=STATES[row["status"]],
        attempts=row["attempts"],
        reason=row["reason"],
        created=row["created"],
        updated=row["updated"],
        actor=actor,
    )


def _attempts(log: Iterable[Any]) -> list[AttemptInfo]:
    attempts: list[AttemptInfo] = []
    for row in log:
        running = attempts[-1] if attempts and attempts[-1].ended is None else None
        if row["status"] == "picked":
            if running is not None:
                running.reason = "its worker died"
            attempts.append(AttemptInfo(row["created"]))
        elif running is not None:
            running.ended = row["created"]
            running.state = STATES[row["status"]]
            running.reason = row["reason"]
            running.trace = orjson.loads(row["traceback"])["traceback"] if row["traceback"] else None
    return attempts
