"""The HTTP API of the documents, below ``/business/documents``."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

from aiohttp import web
from attrs import asdict, frozen

from heartwood.api import Actor, Blobs, Database, Events, Jobs, Page, Route, Stored, Transaction, idempotency_key
from heartwood.contracts.documents import Document, DocumentChanged
from heartwood_ocr import store
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.intake import Intake, digest, received
from heartwood_ocr.kinds import kind_named
from heartwood_ocr.models import ListedDocument, Uploaded
from heartwood_ocr.names import attachment
from heartwood_ocr.service import DocumentService, missing

READ, WRITE = "documents.read", "documents.write"

INERT = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
"""What keeps a browser from running anything that comes out of a document."""


@frozen
class DocumentRoutes:
    """The handlers, with what they need from the plugin."""

    config: OcrConfig
    documents: DocumentService
    url: Callable[[UUID], str]

    def all(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("POST", "/upload", self.upload, WRITE, raw=True, transaction=False),
            Route("GET", "", self.list_documents, READ),
            Route("GET", "/{id}", self.document, READ),
            Route("DELETE", "/{id}", self.delete, WRITE, status=204),
            Route("GET", "/{id}/text", self.text, READ, raw=True),
            Route("GET", "/{id}/original", self.original, READ, raw=True),
        ]

    async def upload(
        self, request: web.Request, actor: Actor, *, database: Database, blobs: Blobs, jobs: Jobs, events: Events
    ) -> web.StreamResponse:
        """Take files in: multipart/form-data with one or several parts named ``file``.

        Answers 202 with ``{"documents": [{"id", "name", "sha256", "size", "status", "duplicate_of", "url"}]}`` once the
        files are durable. Several files are one act: all are stored or none. Bytes that the actor has sent in before
        answer with the first document's id, also in ``duplicate_of``. Refuses with 413 what is too large, with 415
        what is compressed or of an unknown kind, and with 422 what is empty or malformed.
        """
        intake = Intake(database, blobs, jobs, events, self.url)
        key = idempotency_key(request)
        async with (
            received(request, blobs, self.config) as files,
            database.unit(actor, key, body=digest(files)) as tx,
        ):
            body = json.dumps(asdict(Uploaded(await intake.admit(tx, files))), default=str).encode()
            tx.remember(Stored(202, body, {"Content-Type": "application/json"}))
        return web.Response(body=body, status=202, content_type="application/json")

    async def list_documents(
        self, actor: Actor, q: str = "", status: str | None = None, cursor: str | None = None
    ) -> Page[ListedDocument]:
        """List the documents, the newest first; with ``q`` those that match, best first, with snippets."""
        return await self.documents.list(actor, q, status, cursor)

    async def document(self, actor: Actor, id: UUID) -> Document:  # noqa: A002  (the name in the path)
        """Show where a document stands, and its pages."""
        return await self.documents.get(actor, id)

    async def delete(self, tx: Transaction, events: Events, id: UUID) -> None:  # noqa: A002  (the name in the path)
        """Put a document into the trash; sending the same bytes in again brings it back."""
        name = await store.delete(tx, tx.actor, id)
        if name is None:
            raise missing(id)
        await tx.audit("documents.delete", str(id), name=name)
        await events.publish(tx, DocumentChanged(id, tx.actor.owner))

    async def text(self, actor: Actor, id: UUID) -> web.StreamResponse:  # noqa: A002  (the name in the path)
        """Send the text of all pages that have been read so far as text/plain, pages separated by form feeds."""
        text = await self.documents.text(actor, id)
        return web.Response(text=text, content_type="text/plain", charset="utf-8", headers=INERT)

    async def original(
        self,
        request: web.Request,
        actor: Actor,
        blobs: Blobs,
        id: UUID,  # noqa: A002  (the name in the path)
    ) -> web.StreamResponse:
        """Send the bytes as they came in, to be saved and not shown; the ending of the name is that of the content."""
        document = await self.documents.get(actor, id)
        chunks = blobs.read(document.sha256)
        first = await anext(chunks, b"")  # a blob that is missing is found out before the answer has begun
        name = kind_named(document.media_type).named(document.name)
        headers = {**INERT, "Content-Disposition": attachment(name), "Content-Type": document.media_type}
        response = web.StreamResponse(headers=headers)
        response.content_length = document.size
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
        return response
