"""The job ``read``: from a queued document to its text, page by page, so that it can be broken off anywhere."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import define, field, frozen

from heartwood.api import (
    HUB,
    Actor,
    Blobs,
    ChildFailed,
    Children,
    Database,
    Events,
    JobRun,
    Jobs,
    NotFound,
    Transaction,
)
from heartwood.contracts.documents import DocumentRead
from heartwood_ocr import store
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.kinds import PDF, kind_named
from heartwood_ocr.metrics import DocumentMetrics
from heartwood_ocr.models import PageText, ReadDocument, Status
from heartwood_ocr.reading import PageProbe, Reader, Unreadable
from heartwood_ocr.tools import Tesseract, ToolMissing, can_draw

TOGETHER = 4
"""Pages that are drawn at once, and then recognised side by side."""


@frozen
class Outcome:
    """How a reading ended."""

    status: Status
    problem: str | None = None


@define
class Findings:
    """What is known of the pages of one document while it is being read."""

    confidences: dict[int, float | None]
    problems: list[str] = field(factory=list)
    empty: bool = True

    def note(self, page: PageText) -> None:
        """Remember how a page went."""
        self.confidences[page.number] = page.confidence
        self.empty = self.empty and not page.text.strip()

    def outcome(self, config: OcrConfig, *, total: int) -> Outcome:
        """Say whether a person should look, and why."""
        problems = list(self.problems)
        if total > config.max_pages:
            problems.append(f"Only the first {config.max_pages} of {total} pages were read")
        if not self.confidences:
            return Outcome(Status.FAILED, "; ".join(problems))
        doubtful = [n for n, sure in self.confidences.items() if sure is not None and sure < config.review_below]
        if doubtful:
            problems.append(f"Page {', '.join(map(str, sorted(doubtful)))} is hard to read")
        if self.empty and not self.problems:
            problems.append("No text was found")
        return Outcome(Status.NEEDS_REVIEW, "; ".join(problems)) if problems else Outcome(Status.READY)


@define
class ReadJob:
    """The handler, and the task that takes up again what had to wait for a tool."""

    config: OcrConfig
    metrics: DocumentMetrics
    tesseract: Tesseract
    log: Any

    async def read(
        self,
        payload: ReadDocument,
        run: JobRun,
        actor: Actor,
        *,
        database: Database,
        blobs: Blobs,
        children: Children,
        events: Events,
    ) -> None:
        """Read a document, page by page."""
        async with run.unit() as tx:
            row = await store.start_reading(tx, actor, payload.document)
        if row is None:
            return
        try:
            attempt = _Attempt(self, payload, run, children, await _earlier(database, payload))
            outcome = await attempt.read(blobs, row["sha256"], row["media_type"])
        except ToolMissing as missing:
            outcome = Outcome(Status.QUEUED, str(missing))
        async with run.unit() as tx:
            settled = await store.settle(tx, actor, payload.document, outcome.status, outcome.problem)
            if settled and outcome.status in (Status.READY, Status.NEEDS_REVIEW):
                await events.publish(tx, DocumentRead(payload.document, actor.owner))
        self._tell(payload, row["media_type"], outcome)

    def _tell(self, payload: ReadDocument, media_type: str, outcome: Outcome) -> None:
        if outcome.status is not Status.QUEUED:
            self.metrics.processed.labels(kind_named(media_type).label, outcome.status).inc()
        self.log.info("document.read", document=str(payload.document), status=outcome.status, problem=outcome.problem)

    async def resume(self, database: Database, jobs: Jobs) -> None:
        """Queue the documents that waited for Tesseract, once it is there."""
        waiting = await store.waiting(database)
        if not waiting:
            return
        try:
            await self.tesseract.languages()
            can_draw()
        except ToolMissing:
            return
        for row in waiting:
            owner = Actor(person=row["owner"], name=HUB.name, permissions=HUB.permissions, via=HUB.via)
            async with database.unit(owner) as tx:
                if await enqueue_reading(tx, jobs, row["id"]):
                    await store.unblock(tx, owner, row["id"])


async def _earlier(database: Database, payload: ReadDocument) -> Findings:
    """Return what an attempt that was broken off has left; its pages are not read again."""
    pages = await store.pages_read(database, payload.document)
    return Findings(pages, empty=not pages)


async def enqueue_reading(tx: Transaction, jobs: Jobs, document: UUID) -> bool:
    """Queue the reading of ``document`` as part of ``tx``; False where it is queued or running already."""
    return await jobs.enqueue(tx, "read", ReadDocument(document), dedupe_key=f"read:{document}") is not None


@frozen
class _Attempt:
    job: ReadJob
    payload: ReadDocument
    run: JobRun
    children: Children
    findings: Findings

    async def read(self, blobs: Blobs, sha256: str, media_type: str) -> Outcome:
        try:
            with tempfile.TemporaryDirectory(prefix="heartwood-ocr-", ignore_cleanup_errors=True) as folder:
                async with blobs.local(sha256) as path:
                    return await self._pages(Reader(self.children, self.job.metrics, path, Path(folder), media_type))
        except Unreadable as error:
            return Outcome(Status.FAILED, str(error))
        except NotFound:
            return Outcome(Status.FAILED, "The original is missing from the store; send it in again")
        except ChildFailed as error:
            return Outcome(Status.FAILED, self._final(error))

    async def _pages(self, reader: Reader) -> Outcome:
        config = self.job.config
        probe = await reader.probe(config.max_pages)
        left = [page for page in probe.pages if page.number not in self.findings.confidences]
        await self._keep([page.as_text() for page in left if page.has_good_text])
        pictures = [page for page in left if not page.has_good_text]
        if pictures:
            if reader.media_type == PDF.media_type:
                can_draw()
            languages = (await self.job.tesseract.languages()).present
            for start in range(0, len(pictures), TOGETHER):
                await self._recognise(reader, pictures[start : start + TOGETHER], languages)
        return self.findings.outcome(config, total=probe.total)

    async def _recognise(self, reader: Reader, pages: list[PageProbe], languages: tuple[str, ...]) -> None:
        await reader.render(pages)
        reading = [self._one(reader, page.number, languages) for page in pages]
        ended = await asyncio.gather(*reading, return_exceptions=True)
        await self._keep([page for page in ended if isinstance(page, PageText)])
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    async def _one(self, reader: Reader, number: int, languages: tuple[str, ...]) -> PageText | None:
        try:
            return await reader.recognise(number, languages)
        except Unreadable as error:
            self.findings.problems.append(str(error))
        except ChildFailed as error:
            self.findings.problems.append(f"Page {number} could not be read: {self._final(error)}")
        return None

    async def _keep(self, pages: list[PageText]) -> None:
        if not pages:
            return
        async with self.run.unit() as tx:
            for page in pages:
                await store.put_page(tx, self.payload.document, page)
        for page in pages:
            self.findings.note(page)

    def _final(self, error: ChildFailed) -> str:
        """Return the reason where trying again cannot help: a limit is a result, and so is the last attempt's death.

        Raises:
            ChildFailed: another attempt is worth it.
        """
        if error.limit is None and not self.run.last:
            raise error
        return error.reason
