"""All SQL of the documents. Every function takes the actor, and sees only what belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heartwood.contracts.documents import Document, DocumentPage
from heartwood_ocr.models import UNREAD, Status
from heartwood_ocr.names import MARK_END, MARK_START

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from heartwood.contracts.data import Queries
    from heartwood.contracts.people import Actor
    from heartwood_ocr.models import NewDocument, PageText

INSERT = """
insert into ocr.document (owner, name, sha256, size, media_type, status)
values ($1, $2, $3, $4, $5, 'queued')
on conflict (owner, sha256) do nothing
returning id
"""
KNOWN = """
select id, name, status, deleted_at is not null as in_trash from ocr.document
where owner = $1 and sha256 = $2 for update
"""
REVIVE = """
update ocr.document
set name = $3, deleted_at = null, updated_at = now(),
    status = case when status = 'failed' then 'queued' else status end,
    problem = case when status = 'failed' then null else problem end
where owner = $1 and id = $2
returning status
"""
READ_AGAIN = """
update ocr.document set status = 'queued', problem = null, updated_at = now()
where owner = $1 and id = $2 and status = 'failed'
"""
COLUMNS = "id, name, sha256, size, media_type, status, problem, created_at, updated_at"
GET = f"select {COLUMNS} from ocr.document where owner = $1 and id = $2 and deleted_at is null"  # noqa: S608  (constants)
PAGES = "select number, source, confidence from ocr.page where document = $1 order by number"
TEXTS = "select text from ocr.page where document = $1 order by number"
VISIBLE = "select id from ocr.document where owner = $1 and id = any($2::uuid[]) and deleted_at is null"
DELETE = """
update ocr.document set deleted_at = now(), updated_at = now()
where owner = $1 and id = $2 and deleted_at is null
returning name
"""

LIST = f"""
select {COLUMNS} from ocr.document
where owner = $1 and deleted_at is null and ($2::text is null or status = $2)
  and ($3::timestamptz is null or (created_at, id) < ($3, $4))
order by created_at desc, id desc
limit $5
"""  # noqa: S608  (constants)

_OPTIONS = f'StartSel="{MARK_START}", StopSel="{MARK_END}", MinWords=8, MaxWords=24, MaxFragments=2'
_HEADLINE = f"ts_headline('{{language}}', page.text, query.words, '{_OPTIONS}')"
SEARCH = f"""
with query as (
    select websearch_to_tsquery('simple', $2) || websearch_to_tsquery('english', $2)
        || websearch_to_tsquery('german', $2) as words
),
hit as (
    select page.document, page.number, ts_rank(page.words, query.words) as rank
    from ocr.page, query where page.words @@ query.words
    union all
    select document.id, null, ts_rank(document.words, query.words)
    from ocr.document, query where document.words @@ query.words
),
best as (
    select document, max(rank)::real as rank, (array_agg(number order by rank desc, number)
        filter (where number is not null))[1] as number
    from hit group by document
),
chosen as (
    select {COLUMNS}, best.rank, best.number
    from best join ocr.document on document.id = best.document
    where owner = $1 and deleted_at is null and ($3::text is null or status = $3)
      and ($4::real is null or (best.rank, id) < ($4::real, $5))
    order by best.rank desc, id desc
    limit $6
)
select chosen.*, snippet.headline
from chosen cross join query
left join ocr.page on page.document = chosen.id and page.number = chosen.number
left join lateral (
    select headline from (values
        (1, {_HEADLINE.format(language="english")}),
        (2, {_HEADLINE.format(language="german")}),
        (3, {_HEADLINE.format(language="simple")})
    ) as made (place, headline)
    where page.number is not null
    order by strpos(headline, '{MARK_START}') = 0, place limit 1
) as snippet on true
order by chosen.rank desc, chosen.id desc
"""  # noqa: S608  (constants)

START = """
update ocr.document set status = 'reading', problem = null, updated_at = now()
where owner = $1 and id = $2 and deleted_at is null and status in ('queued', 'reading', 'failed')
returning name, sha256, media_type
"""
PAGE_NUMBERS = "select number, confidence from ocr.page where document = $1"
PUT_PAGE = """
insert into ocr.page (document, number, source, confidence, text) values ($1, $2, $3, $4, $5)
on conflict (document, number) do update
set source = excluded.source, confidence = excluded.confidence, text = excluded.text
"""
SETTLE = """
update ocr.document set status = $3, problem = $4, updated_at = now()
where owner = $1 and id = $2 and deleted_at is null and status in ('queued', 'reading')
returning id
"""

WAITING = """
select id, owner from ocr.document
where status = 'queued' and problem is not null and deleted_at is null
order by created_at limit 500
"""
_JOB = "job.dedupe_key = 'ocr.read:read:' || {document}.id"
STRANDED = f"""
with stranded as materialized (
    select id, owner, media_type from ocr.document
    where deleted_at is null and (status = 'reading' or (status = 'queued' and problem is null))
      and not exists (
        select from queue.pgqueuer job where {_JOB.format(document="document")}
          and job.status = any(array['queued'::queue.pgqueuer_status, 'picked'::queue.pgqueuer_status])
      )
    limit 500
)
select stranded.*, dead.id as job, dead.reason from stranded left join lateral (
    select job.id, job.reason from queue.pgqueuer job
    where {_JOB.format(document="stranded")} and job.status = 'failed' order by job.id desc limit 1
) dead on true
"""  # noqa: S608  (constants)
"""One statement sees a document and its job as of one moment: both are written in one transaction, and a reading is
settled before its job ends. So what is unread and has no job will stay so: the job died or was cancelled."""
UNBLOCK = "update ocr.document set problem = null where owner = $1 and id = $2 and status = 'queued'"
COUNTS = "select status, count(*) as n from ocr.document where deleted_at is null group by status"
COUNTS_OF = "select status, count(*) as n from ocr.document where owner = $1 and deleted_at is null group by status"
OLDEST = "select min(created_at) from ocr.document where status = any($1::text[]) and deleted_at is null"


async def add(queries: Queries, actor: Actor, new: NewDocument) -> UUID | None:
    """Insert a document and return its id, or None where the actor has these bytes already."""
    values = (actor.owner, new.name, new.sha256, new.size, new.media_type)
    made: UUID | None = await queries.fetchval(INSERT, *values)
    return made


async def known(queries: Queries, actor: Actor, sha256: str) -> asyncpg.Record:
    """Return and lock the actor's document with these bytes: ``id``, ``name``, ``status``, ``in_trash``."""
    row = await queries.fetchrow(KNOWN, actor.owner, sha256)
    assert row is not None  # noqa: S101  (asked after the insert met it)
    return row


async def revive(queries: Queries, actor: Actor, document: UUID, name: str) -> Status:
    """Bring a document back from the trash under ``name``; one that could not be read will be read again."""
    return Status(await queries.fetchval(REVIVE, actor.owner, document, name))


async def read_again(queries: Queries, actor: Actor, document: UUID) -> None:
    """Queue a document that could not be read."""
    await queries.execute(READ_AGAIN, actor.owner, document)


async def get(queries: Queries, actor: Actor, document: UUID) -> Document | None:
    """Return a document with its pages, or None."""
    row = await queries.fetchrow(GET, actor.owner, document)
    if row is None:
        return None
    pages = [DocumentPage(*page) for page in await queries.fetch(PAGES, document)]
    created, updated = row["created_at"], row["updated_at"]
    known = {name: row[name] for name in ("id", "name", "sha256", "size", "media_type", "status", "problem")}
    return Document(**known, created=created, updated=updated, pages=pages)


async def texts(queries: Queries, actor: Actor, document: UUID) -> list[str] | None:
    """Return the texts of the pages that have been read, or None where there is no such document."""
    if await queries.fetchrow(GET, actor.owner, document) is None:
        return None
    return [row["text"] for row in await queries.fetch(TEXTS, document)]


async def visible(queries: Queries, actor: Actor, documents: Sequence[UUID]) -> set[UUID]:
    """Return those of ``documents`` that the actor may see."""
    return {row["id"] for row in await queries.fetch(VISIBLE, actor.owner, list(documents))}


async def delete(queries: Queries, actor: Actor, document: UUID) -> str | None:
    """Put a document into the trash and return its name, or None where there is none."""
    name: str | None = await queries.fetchval(DELETE, actor.owner, document)
    return name


async def newest(
    queries: Queries, actor: Actor, status: str | None, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[asyncpg.Record]:
    """Return documents, the newest first, from behind ``after``."""
    created, last = after or (None, None)
    return await queries.fetch(LIST, actor.owner, status, created, last, limit)


async def search(
    queries: Queries, actor: Actor, words: str, status: str | None, *, after: tuple[float, UUID] | None, limit: int
) -> list[asyncpg.Record]:
    """Return documents that match ``words``, the best first, from behind ``after``, with ``rank`` and ``headline``."""
    rank, last = after or (None, None)
    return await queries.fetch(SEARCH, actor.owner, words, status, rank, last, limit)


async def start_reading(queries: Queries, actor: Actor, document: UUID) -> asyncpg.Record | None:
    """Mark a document as being read; returns None where it has been read or deleted.

    One that failed is read all the same, for its dead job may have been tried again.
    """
    return await queries.fetchrow(START, actor.owner, document)


async def pages_read(queries: Queries, document: UUID) -> dict[int, float | None]:
    """Return the numbers of the pages that an earlier attempt has read, with their confidence."""
    return {row["number"]: row["confidence"] for row in await queries.fetch(PAGE_NUMBERS, document)}


async def put_page(queries: Queries, document: UUID, page: PageText) -> None:
    """Store what was read on a page; it can be found from then on."""
    await queries.execute(PUT_PAGE, document, page.number, page.source, page.confidence, page.text)


async def settle(queries: Queries, actor: Actor, document: UUID, status: Status, problem: str | None) -> bool:
    """Write how the reading ended; False where the document has been deleted or was settled by another."""
    return await queries.fetchval(SETTLE, actor.owner, document, status, problem) is not None


async def waiting(queries: Queries) -> list[asyncpg.Record]:
    """Return ``id`` and ``owner`` of documents, of all people, that wait for a tool that was missing."""
    return await queries.fetch(WAITING)


async def stranded(queries: Queries) -> list[asyncpg.Record]:
    """Return unread documents, of all people, that no job will read: ``id``, ``owner``, ``media_type``.

    Where the job is dead, ``job`` is its id and ``reason`` says why; both are None where it was cancelled.
    """
    return await queries.fetch(STRANDED)


async def unblock(queries: Queries, actor: Actor, document: UUID) -> None:
    """Forget why a document had to wait."""
    await queries.execute(UNBLOCK, actor.owner, document)


async def counts(queries: Queries, actor: Actor | None = None) -> dict[Status, int]:
    """Return how many documents stand where; those of everybody without ``actor``."""
    rows = await (queries.fetch(COUNTS) if actor is None else queries.fetch(COUNTS_OF, actor.owner))
    return dict.fromkeys(Status, 0) | {Status(row["status"]): row["n"] for row in rows}


async def oldest_unread(queries: Queries) -> datetime | None:
    """Return when the oldest document that has not been read came in, or None where all have been."""
    oldest: datetime | None = await queries.fetchval(OLDEST, list(UNREAD))
    return oldest
