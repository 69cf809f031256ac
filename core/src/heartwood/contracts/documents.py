"""All that other plugins know of documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Protocol
from uuid import UUID

from attrs import frozen

from heartwood.contracts.people import Actor
from heartwood.contracts.routes import Page


@frozen
class DocumentPage:
    """One page: ``source`` says where its text is from (``text_layer``, ``ocr``), ``confidence`` is 0 to 1 or None."""

    number: int
    source: str | None
    confidence: float | None


@frozen
class Document:
    """A document as others see it. ``status`` may take values that are not known yet: accept them."""

    id: UUID
    name: str
    sha256: str
    size: int
    media_type: str
    status: str
    problem: str | None
    created: datetime
    updated: datetime
    pages: list[DocumentPage]


@frozen
class DocumentHit:
    """A search result: ``snippet`` is plain text in which ``matches`` gives (start, end) of each match."""

    id: UUID
    name: str
    status: str
    created: datetime
    rank: float
    snippet: str
    matches: list[list[int]]


class Documents(Protocol):
    """Documents for other plugins. Every call takes the actor and shows only what they may see."""

    async def get(self, actor: Actor, document: UUID) -> Document:
        """Return one document.

        Raises:
            NotFound: there is none, or it is not for this actor.
        """
        ...

    async def text(self, actor: Actor, document: UUID) -> str:
        """Return the text of all its pages, separated by form feeds."""
        ...

    async def search(
        self, actor: Actor, query: str, *, limit: int = 20, cursor: str | None = None
    ) -> Page[DocumentHit]:
        """Return the documents that match ``query``, best first."""
        ...

    async def visible(self, actor: Actor, documents: Sequence[UUID]) -> set[UUID]:
        """Return those of ``documents`` that the actor may see."""
        ...


@frozen
class DocumentRead:
    """All pages of a document have been read."""

    event_name: ClassVar[str] = "documents.read"
    document: UUID
    owner: int


@frozen
class DocumentChanged:
    """A document's name, text or visibility changed."""

    event_name: ClassVar[str] = "documents.changed"
    document: UUID
    owner: int


@frozen
class DocumentDeleted:
    """A document is gone for good."""

    event_name: ClassVar[str] = "documents.deleted"
    document: UUID
    owner: int
