"""A request that is repeated with its key is answered as the first time, and not done again.

The key counts per person and route for 24 hours. The record is a row of the same transaction as the work, so both are
there or none is; a lock that ends with the transaction tells who is at it right now.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson

from heartwood.contracts.data import Queries, Stored
from heartwood.contracts.errors import Conflict, Invalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heartwood.data.transactions import PgTransaction

__all__ = ["KEPT", "Stored", "look_up", "purge", "run_once", "store"]

KEPT = timedelta(hours=24)

LOOK_UP = """
select pg_try_advisory_xact_lock($1) as mine, kept.person is not null as there, kept.body_sha256, kept.status,
       kept.headers, kept.answer
from (select 1) as one
left join core.idempotency as kept
  on kept.person = $2 and kept.route = $3 and kept.key = $4 and kept.created_at > now() - $5::interval
"""
STORE = """
insert into core.idempotency as old (person, route, key, body_sha256, status, headers, answer)
values ($1, $2, $3, $4, $5, $6::jsonb, $7)
on conflict (person, route, key) do update
  set body_sha256 = excluded.body_sha256, status = excluded.status, headers = excluded.headers,
      answer = excluded.answer, created_at = now()
  where old.created_at <= now() - $8::interval
returning true
"""
PURGE = "delete from core.idempotency where created_at <= now() - $1::interval"


async def run_once(
    tx: PgTransaction, route: str, key: str, body_sha256: bytes, call: Callable[[], Awaitable[Stored]]
) -> Stored:
    """Return the answer stored under ``key``, or that of ``call``, which is stored as part of ``tx``.

    Args:
        tx: the transaction in which ``call`` does its work; it must commit for the answer to be kept.
        route: what the key belongs to, beside the person.
        key: what the client sent.
        body_sha256: the digest of the request's body, 32 bytes.
        call: does the work; where it raises, nothing is stored and the key may be used again.

    Raises:
        Invalid: the key was used with another body.
        Conflict: a request with this key is still running, or finished without an answer that could be repeated.
    """
    stored = await look_up(tx, route, key, body_sha256)
    if stored is not None:
        return stored
    answer = await call()
    await store(tx, route, key, body_sha256, answer)
    return answer


async def look_up(tx: PgTransaction, route: str, key: str, body_sha256: bytes) -> Stored | None:
    """Return what is stored under ``key``, or None and hold the key until ``tx`` ends. Raises as :func:`run_once`."""
    person = tx.actor.person or 0
    row = await tx.fetchrow(LOOK_UP, _lock(person, route, key), person, route, key, KEPT)
    assert row is not None  # noqa: S101  (the left side of the join is one row)
    if not row["there"]:
        if row["mine"]:
            return None
        message = f"A request with the idempotency key {key!r} is still running; ask again when it has ended"
        raise Conflict(message, retry_after=1)
    if row["body_sha256"] != body_sha256:
        message = f"The idempotency key {key!r} was used with another body; take a new key for a new request"
        raise Invalid(message)
    if row["status"] is None:
        message = f"What the idempotency key {key!r} stands for has been done; its answer was not kept"
        raise Conflict(message)
    return Stored(row["status"], row["answer"], orjson.loads(row["headers"] or "{}"), repeated=True)


async def store(tx: PgTransaction, route: str, key: str, body_sha256: bytes, answer: Stored | None) -> None:
    """Keep ``answer`` (None: it was done, there is none) under ``key`` as part of ``tx``.

    Raises:
        Conflict: another request with the key committed in the meantime; ``tx`` must not commit.
    """
    status, headers, text = None, "{}", b""
    if answer is not None:
        status, headers, text = answer.status, orjson.dumps(dict(answer.headers)).decode(), answer.answer
    values = (tx.actor.person or 0, route, key, body_sha256, status, headers, text, KEPT)
    if not await tx.fetchval(STORE, *values):
        message = f"Another request with the idempotency key {key!r} was quicker; ask again for its answer"
        raise Conflict(message, retry_after=1)


async def purge(queries: Queries) -> int:
    """Delete what is older than 24 hours and return how many rows that were."""
    return int((await queries.execute(PURGE, KEPT)).rpartition(" ")[2])


def _lock(person: int, route: str, key: str) -> int:
    digest = hashlib.sha256(f"{person}\0{route}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
