"""The values of documents that this plugin's API speaks of; those that others know are in ``contracts.documents``."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from attrs import field, frozen


class Status(StrEnum):
    """Where a document stands. More may come, so clients accept what they do not know."""

    QUEUED = "queued"
    READING = "reading"
    READY = "ready"
    NEEDS_REVIEW = "needs_review"
    FAILED = "failed"


UNREAD = (Status.QUEUED, Status.READING)


class Source(StrEnum):
    """Where the text of a page comes from."""

    TEXT_LAYER = "text_layer"
    OCR = "ocr"


@frozen
class UploadedDocument:
    """One file of an upload. ``duplicate_of`` is set where the bytes had been sent in before."""

    id: UUID
    name: str
    sha256: str
    size: int
    status: str
    duplicate_of: UUID | None
    url: str


@frozen
class Uploaded:
    """The answer to an upload: its files in the order in which they came."""

    documents: list[UploadedDocument]


@frozen
class ListedDocument:
    """A document in a list. After a search, ``snippet`` is plain text with ``matches`` as (start, end) in it."""

    id: UUID
    name: str
    sha256: str
    size: int
    media_type: str
    status: str
    problem: str | None
    created: datetime
    updated: datetime
    url: str
    rank: float | None = None
    snippet: str | None = None
    matches: list[list[int]] = field(factory=list)


@frozen
class NewDocument:
    """What is known of a file before it becomes a document."""

    name: str
    sha256: str
    size: int
    media_type: str


@frozen
class ReadDocument:
    """The payload of the job ``read``."""

    document: UUID


@frozen
class PageText:
    """What was read on one page; ``confidence`` is 0 to 1, and None for a text layer or an empty page."""

    number: int
    source: Source
    text: str
    confidence: float | None
