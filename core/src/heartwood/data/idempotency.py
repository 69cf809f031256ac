"""A request that is repeated with its key is answered as the first time, and not done again.

The key counts per person and plugin for 24 hours; that of a request (``idempotency_key``) says its route too. The
record is a row of the same transaction as the work, so both are there or none is; a lock that ends with the transaction
tells who is at it right now.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson

from heartwood.contracts.data import Queries, Stored
from heartwood.contracts.errors import Conflict, Invalid

if TYPE_CHECKING:
    from heartwood.data.transactions import PgTransaction

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


async def look_up(tx: PgTransaction, key: str, body_sha256: bytes) -> Stored | None:
    """Return what is stored under ``key``, or None and hold the key until ``tx`` ends.

    Raises:
        Invalid: the key was used with another body.
        Conflict: a request with this key is still running, or finished without an answer that could be repeated.
    """
    person = tx.actor.person or 0
    row = await tx.fetchrow(LOOK_UP, _lock(person, tx.plugin, key), person, tx.plugin, key, KEPT)
    assert row is not None  # noqa: S101  (the left side of the join is one row)
    if not row["there"]:
        if row["mine"]:
            return None
        message = "A request with this idempotency key is still running; ask again when it has ended"
        raise Conflict(message, retry_after=1)
    if row["body_sha256"] != body_sha256:
        message = "This idempotency key was used with another body; take a new key for a new request"
        raise Invalid(message)
    if row["status"] is None:
        message = "What this idempotency key stands for has been done; its answer was not kept"
        raise Conflict(message)
    return Stored(row["status"], row["answer"], orjson.loads(row["headers"] or "{}"), repeated=True)


async def store(tx: PgTransaction, key: str, body_sha256: bytes, answer: Stored | None) -> None:
    """Keep ``answer`` (None: it was done, there is none) under ``key`` as part of ``tx``.

    Raises:
        Conflict: another request with the key committed in the meantime; ``tx`` must not commit.
    """
    status, headers, text = None, "{}", b""
    if answer is not None:
        status, headers, text = answer.status, orjson.dumps(dict(answer.headers)).decode(), answer.answer
    values = (tx.actor.person or 0, tx.plugin, key, body_sha256, status, headers, text, KEPT)
    if not await tx.fetchval(STORE, *values):
        message = "Another request with this idempotency key was quicker; ask again for its answer"
        raise Conflict(message, retry_after=1)


async def purge(queries: Queries) -> int:
    """Delete what is older than 24 hours and return how many rows that were."""
    return int((await queries.execute(PURGE, KEPT)).rpartition(" ")[2])


def _lock(person: int, plugin: str, key: str) -> int:
    digest = hashlib.sha256(f"{person}\0{plugin}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
