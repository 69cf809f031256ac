"""Taking files in: count and hash while they stream, then make all of them durable, or none."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError
from attrs import define, frozen

from heartwood.api import (
    Blobs,
    Database,
    Events,
    Fault,
    Invalid,
    Jobs,
    Staged,
    TooLarge,
    Transaction,
    UnsupportedMedia,
)
from heartwood.contracts.documents import DocumentChanged
from heartwood_ocr import store
from heartwood_ocr.jobs import enqueue_reading
from heartwood_ocr.kinds import HEAD, Kind, kind_of
from heartwood_ocr.models import NewDocument, Status, UploadedDocument
from heartwood_ocr.names import clean_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from uuid import UUID

    from heartwood_ocr.config import OcrConfig

FIELD = "file"
CHUNK = 16 * 1024
MOST_BESIDES = 64 * 1024
"""Bytes that fields which are no files may have together; they are passed over."""


@frozen
class Incoming:
    """One file of an upload, hashed and lying beside the store."""

    new: NewDocument
    staged: Staged


@define
class _Stream:
    """The bytes of one part. What they are is told by the first of them, before the rest is read."""

    part: BodyPartReader
    name: str
    kind: Kind | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        head = b""
        while chunk := await _chunk(self.part):
            if self.kind is None:
                head += chunk
                if len(head) < HEAD:
                    continue
                self._judge(head)
                chunk, head = head, b""
            yield chunk
        if self.kind is None:
            self._judge(head)
            yield head

    def _judge(self, head: bytes) -> None:
        if not head:
            msg = f"The file {self.name!r} is empty"
            raise Invalid(msg)
        self.kind = kind_of(head)
        if self.kind is None:
            msg = f"{self.name!r} is none of what is read here: PDF, JPEG, PNG or TIFF, told by its content"
            raise UnsupportedMedia(msg)


@asynccontextmanager
async def received(request: web.Request, blobs: Blobs, config: OcrConfig) -> AsyncIterator[list[Incoming]]:
    """Read an upload to its end and give its files; what has not been kept when the context ends is dropped.

    Raises:
        UnsupportedMedia: it is compressed, not multipart, or a file is of a kind that is not read.
        TooLarge: a file is larger than ``max_size``, or there are more than ``max_files``.
        Invalid: it is malformed, a file is empty, or there is none.
    """
    _refuse_early(request, config)
    files: list[Incoming] = []
    try:
        async for part in _parts(request, config):
            files.append(await _stage(part, blobs, config))  # noqa: PERF401  (one by one: those before a refusal are dropped)
        if not files:
            msg = f"There is no file in the upload; send each in a part named {FIELD!r}"
            raise Invalid(msg, faults=[Fault(FIELD, "missing")])
        yield files
    finally:
        for file in files:
            await blobs.discard(file.staged)


def _refuse_early(request: web.Request, config: OcrConfig) -> None:
    if _is_encoded(request.headers):
        msg = "An upload may not be compressed: send it without Content-Encoding"
        raise UnsupportedMedia(msg)
    if request.content_type != "multipart/form-data":
        msg = f"An upload is multipart/form-data with parts named {FIELD!r}, not {request.content_type}"
        raise UnsupportedMedia(msg)
    room = config.max_files * (config.max_size + CHUNK)
    if request.content_length is not None and request.content_length > room:
        msg = f"The upload announces {request.content_length} bytes; at most {room} are taken in at once"
        raise TooLarge(msg)


def _is_encoded(headers: Any) -> bool:
    return headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}


async def _parts(request: web.Request, config: OcrConfig) -> AsyncIterator[BodyPartReader]:
    """Yield the files among the parts; other fields are counted and passed over."""
    number, besides = 0, MOST_BESIDES
    with _well_formed():
        parts = await request.multipart()
    while (part := await _next(parts)) is not None:
        number += 1
        if number > config.max_files:
            msg = f"At most {config.max_files} files are taken in at once; send the others in a second upload"
            raise TooLarge(msg)
        if not isinstance(part, BodyPartReader):
            msg = "A part of the upload holds further parts; send every file in a part of its own"
            raise Invalid(msg)
        if part.name == FIELD:
            yield part
            continue
        while chunk := await _chunk(part):
            besides -= len(chunk)
            if besides < 0:
                msg = f"The fields beside the files have more than {MOST_BESIDES} bytes; send files as {FIELD!r}"
                raise TooLarge(msg)


async def _next(parts: MultipartReader) -> MultipartReader | BodyPartReader | None:
    with _well_formed():
        return await parts.next()


async def _chunk(part: BodyPartReader) -> bytes:
    with _well_formed():
        return await part.read_chunk(CHUNK)


@contextmanager
def _well_formed() -> Iterator[None]:
    """Turn what aiohttp raises about a malformed body, which is all sorts, into a refusal."""
    try:
        yield
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as error:
        why = error.message if isinstance(error, HttpProcessingError) else error
        msg = f"The upload is not well-formed multipart/form-data: {why}"
        raise Invalid(msg) from error


async def _stage(part: BodyPartReader, blobs: Blobs, config: OcrConfig) -> Incoming:
    if _is_encoded(part.headers) or part.headers.get("Content-Transfer-Encoding", "binary").lower() not in {
        "binary", "8bit", "7bit",
    }:  # fmt: skip
        msg = "A file of the upload is encoded: send its bytes as they are"
        raise UnsupportedMedia(msg)
    stream = _Stream(part, clean_name(part.filename))
    try:
        staged = await blobs.stage(stream.chunks(), limit=config.max_size)
    except TooLarge as error:
        msg = f"{stream.name!r} is larger than {config.max_size} bytes"
        raise TooLarge(msg) from error
    assert stream.kind is not None  # noqa: S101  (the stream or the database said otherwise before)
    return Incoming(NewDocument(stream.name, staged.sha256, staged.size, stream.kind.media_type), staged)


def digest(files: list[Incoming]) -> bytes:
    """Return what an idempotency key is compared by: the names and hashes of the files."""
    text = "\n".join(f"{file.new.sha256} {file.new.name}" for file in files)
    return hashlib.sha256(text.encode()).digest()


@frozen
class Intake:
    """Makes documents of files; all in one transaction."""

    database: Database
    blobs: Blobs
    jobs: Jobs
    events: Events
    url: Callable[[UUID], str]

    async def admit(self, tx: Transaction, files: list[Incoming]) -> list[UploadedDocument]:
        """Make the bytes durable and write the rows; the answers are in the order of ``files``.

        Rows are written in the order of their hashes, so that two uploads of the same files do not wait for each other.
        """
        for file in files:
            await self.blobs.keep(file.staged)
        answers = {}
        for index, file in sorted(enumerate(files), key=lambda pair: (pair[1].new.sha256, pair[0])):
            answers[index] = await self._admit(tx, file.new)
        return [answers[index] for index in range(len(files))]

    async def _admit(self, tx: Transaction, new: NewDocument) -> UploadedDocument:
        document = await store.add(tx, tx.actor, new)
        if document is not None:
            await enqueue_reading(tx, self.jobs, document)
            await tx.audit("documents.upload", str(document), name=new.name, sha256=new.sha256)
            return self._answer(document, new, Status.QUEUED, duplicate=False)
        return await self._known(tx, new)

    async def _known(self, tx: Transaction, new: NewDocument) -> UploadedDocument:
        row = await store.known(tx, tx.actor, new.sha256)
        document, status = row["id"], Status(row["status"])
        if row["in_trash"]:
            status = await store.revive(tx, tx.actor, document, new.name)
            await self.events.publish(tx, DocumentChanged(document, tx.actor.owner))
            await tx.audit("documents.restore", str(document), name=new.name)
        elif status is Status.FAILED:
            await store.read_again(tx, tx.actor, document)
            status = Status.QUEUED
        if status in {Status.QUEUED, Status.READING}:
            await enqueue_reading(tx, self.jobs, document)
        return self._answer(document, new, status, duplicate=not row["in_trash"])

    def _answer(self, document: UUID, new: NewDocument, status: Status, *, duplicate: bool) -> UploadedDocument:
        return UploadedDocument(
            id=document,
            name=new.name,
            sha256=new.sha256,
            size=new.size,
            status=status,
            duplicate_of=document if duplicate else None,
            url=self.url(document),
        )
