"""The job ``read``: from a queued document to its text, page by page, so that it can be broken off anywhere."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Iterable
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
"""Pages that one child draws, one after the other; then they are recognised side by side."""

GROUPS = max(2, (os.cpu_count() or 1) // TOGETHER + 1)
"""Such groups that are under way at once, so that some are drawn while others are recognised, and no core waits."""


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
    """The handler, and the tasks that take up what had to wait for a tool, and give up what no job will read."""

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
        self._tell(payload.document, row["media_type"], outcome)

    def _tell(self, document: UUID, media_type: str, outcome: Outcome) -> None:
        if outcome.status is not Status.QUEUED:
            self.metrics.processed.labels(kind_named(media_type).label, outcome.status).inc()
        self.log.info("document.read", document=str(document), status=outcome.status, problem=outcome.problem)

    async def give_up(self, database: Database) -> None:
        """Settle the documents whose job died or was cancelled, so that nobody waits for them."""
        for row in await store.stranded(database):
            owner = _for(row["owner"])
            outcome = Outcome(Status.FAILED, _given_up(row["job"], row["reason"]))
            async with database.unit(owner) as tx:
                settled = await store.settle(tx, owner, row["id"], outcome.status, outcome.problem)
            if settled:
                self._tell(row["id"], row["media_type"], outcome)

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
            owner = _for(row["owner"])
            async with database.unit(owner) as tx:
                if await enqueue_reading(tx, jobs, row["id"]):
                    await store.unblock(tx, owner, row["id"])


def _for(owner: int) -> Actor:
    """Return the hub, acting for the owner of a document."""
    return Actor(person=owner, name=HUB.name, permissions=HUB.permissions, via=HUB.via)


def _given_up(job: int | None, reason: str | None) -> str:
    why = "The job that should read it was cancelled" if job is None else f"Job {job} could not read it: {reason}"
    return f"{why}; send it in again to have it read"


async def _earlier(database: Database, payload: ReadDocument) -> Findings:
    """Return what an attempt that was broken off has left; its pages are not read again."""
    pages = await store.pages_read(database, payload.document)
    return Findings(pages, empty=not pages)


async def enqueue_reading(tx: Transaction, jobs: Jobs, document: UUID) -> bool:
    """Queue the reading of ``document`` as part of ``tx``; False where it is queued or running already."""
    return await jobs.enqueue(tx, "read", ReadDocument(document), dedupe_key=f"read:{document}") is not None


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it, and only then raise what the first that failed has raised."""
    for error in await asyncio.gather(*work, return_exceptions=True):
        if error is not None:
            raise error


@frozen
class _Attempt:
    job: ReadJob
    payload: ReadDocument
    run: JobRun
    children: Children
    findings: Findings
    keeping: asyncio.Lock = field(factory=asyncio.Lock)

    async def read(self, blobs: Blobs, sha256: str, media_type: str) -> Outcome:
        try:
            with tempfile.TemporaryDirectory(prefix="heartwood-ocr-", ignore_cleanup_errors=True) as folder:
                async with blobs.local(sha256) as path:
                    return await self._pages(Reader(self.children, self.job.metrics, path, Path(folder), media_type))
        except Unreadable as error:
            return Outcome(Status.NEEDS_REVIEW if self.findings.confidences else Status.FAILED, str(error))
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
            turn = asyncio.Semaphore(GROUPS)
            groups = [pictures[start : start + TOGETHER] for start in range(0, len(pictures), TOGETHER)]
            await _all(self._recognise(turn, reader, group, languages) for group in groups)
        return self.findings.outcome(config, total=probe.total)

    async def _recognise(
        self, turn: asyncio.Semaphore, reader: Reader, pages: list[PageProbe], languages: tuple[str, ...]
    ) -> None:
        async with turn:
            await self._draw(reader, pages)
            await _all(self._one(reader, page.number, languages) for page in pages)

    async def _draw(self, reader: Reader, pages: list[PageProbe]) -> None:
        """Draw pages; where that kills the child, one by one, so that a page harms no other."""
        try:
            await reader.render(pages)
        except ChildFailed as error:
            if len(pages) > 1:
                for page in pages:
                    await self._draw(reader, [page])
            else:
                self._final(error)  # `_one` finds no picture

    async def _one(self, reader: Reader, number: int, languages: tuple[str, ...]) -> None:
        try:
            await self._keep([await reader.recognise(number, languages)])
        except Unreadable as error:
            self.findings.problems.append(str(error))
        except ChildFailed as error:
            self.findings.problems.append(f"Page {number} could not be read: {self._final(error)}")

    async def _keep(self, pages: list[PageText]) -> None:
        if not pages:
            return
        async with self.keeping, self.run.unit() as tx:
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
