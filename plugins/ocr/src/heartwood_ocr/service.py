"""Documents as other plugins and the routes ask for them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from attrs import frozen

from heartwood.api import Actor, Database, NotFound, Page
from heartwood.contracts.cursors import decode_cursor, encode_cursor
from heartwood.contracts.documents import Document, DocumentHit
from heartwood_ocr import store
from heartwood_ocr.models import ListedDocument
from heartwood_ocr.names import clean_text, marked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE_SIZE = 50
PAGE_BREAK = "\f"


@frozen
class DocumentService:
    """Implements ``heartwood.contracts.documents.Documents``.

    Args:
        database: gives the plugin's database, asked for each use.
        url: gives the path of a document.
    """

    database: Callable[[], Database]
    url: Callable[[UUID], str]

    async def get(self, actor: Actor, document: UUID) -> Document:
        """Return one document; raises ``NotFound`` where there is none for this actor."""
        found = await store.get(self.database(), actor, document)
        if found is None:
            raise missing(document)
        return found

    async def text(self, actor: Actor, document: UUID) -> str:
        """Return the text of all pages read so far, separated by form feeds."""
        texts = await store.texts(self.database(), actor, document)
        if texts is None:
            raise missing(document)
        return PAGE_BREAK.join(texts)

    async def visible(self, actor: Actor, documents: Sequence[UUID]) -> set[UUID]:
        """Return those of ``documents`` that the actor may see."""
        return await store.visible(self.database(), actor, documents)

    async def search(
        self, actor: Actor, query: str, *, limit: int = 20, cursor: str | None = None
    ) -> Page[DocumentHit]:
        """Return the documents that match ``query``, best first."""
        rows, after = await self._found(actor, query, None, cursor, limit)
        return Page([_hit(row) for row in rows], after)

    async def list(self, actor: Actor, query: str, status: str | None, cursor: str | None) -> Page[ListedDocument]:
        """Return the newest documents, or those that match ``query``, best first."""
        find = self._found if query.strip() else self._newest
        rows, after = await find(actor, query, status, cursor, PAGE_SIZE)
        return Page([self._listed(row) for row in rows], after)

    async def _newest(
        self, actor: Actor, _: str, status: str | None, cursor: str | None, limit: int
    ) -> tuple[Sequence[Any], str | None]:
        after: Any = decode_cursor(cursor, datetime, UUID) if cursor else None
        rows = await store.newest(self.database(), actor, status, after=after, limit=limit + 1)
        return _cut(rows, limit, "created_at")

    async def _found(
        self, actor: Actor, query: str, status: str | None, cursor: str | None, limit: int
    ) -> tuple[Sequence[Any], str | None]:
        after: Any = decode_cursor(cursor, float, UUID) if cursor else None
        rows = await store.search(self.database(), actor, clean_text(query), status, after=after, limit=limit + 1)
        return _cut(rows, limit, "rank")

    def _listed(self, row: Any) -> ListedDocument:
        rank = row.get("rank")
        snippet, matches = marked(row["headline"] or "") if rank is not None else (None, [])
        known = {name: row[name] for name in ("id", "name", "sha256", "size", "media_type", "status", "problem")}
        return ListedDocument(
            **known,
            created=row["created_at"],
            updated=row["updated_at"],
            url=self.url(row["id"]),
            rank=rank,
            snippet=snippet,
            matches=matches,
        )


def _cut(rows: Sequence[Any], limit: int, key: str) -> tuple[Sequence[Any], str | None]:
    """Return at most ``limit`` rows, and the cursor of what comes after them."""
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], encode_cursor(last[key], last["id"])


def _hit(row: Any) -> DocumentHit:
    snippet, matches = marked(row["headline"] or "")
    return DocumentHit(row["id"], row["name"], row["status"], row["created_at"], row["rank"], snippet, matches)


def missing(document: UUID) -> NotFound:
    """Return the error for a document that is not there, or not for the one who asks."""
    return NotFound(f"There is no document {document}")
