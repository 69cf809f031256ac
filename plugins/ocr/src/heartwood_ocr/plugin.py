"""What the documents contribute to the hub."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from attrs import frozen

from heartwood.api import (
    Actor,
    Database,
    HealthCheck,
    Job,
    Permission,
    Plugin,
    PluginContext,
    Provides,
    Role,
    Route,
    Scope,
    Tables,
    Task,
    hookimpl,
)
from heartwood.contracts.analytics import Figure, Section
from heartwood.contracts.documents import Documents
from heartwood_ocr import store
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.jobs import ReadJob
from heartwood_ocr.metrics import DocumentMetrics, figures
from heartwood_ocr.routes import READ, WRITE, DocumentRoutes
from heartwood_ocr.service import DocumentService
from heartwood_ocr.tools import Tesseract

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

LONGEST_READING = 30 * 60.0
"""Seconds that one attempt at a document may take."""


@frozen
class _Parts:
    """What one hub's instance is made of; made once, when the first hook asks."""

    metrics: DocumentMetrics
    job: ReadJob
    documents: DocumentService
    routes: DocumentRoutes


class OcrPlugin(Plugin):
    """Documents: taken in, read, found again."""

    name = "ocr"
    config: ClassVar[type | None] = OcrConfig

    def __init__(self) -> None:
        self._made: _Parts | None = None

    def _parts(self, ctx: PluginContext) -> _Parts:
        if self._made is None:
            metrics = DocumentMetrics()

            def url(document: UUID) -> str:
                return ctx.url_for("document", id=document)

            documents = DocumentService(lambda: ctx.one(Database), url)
            job = ReadJob(ctx.config, metrics, Tesseract(ctx.config.languages), ctx.log)
            self._made = _Parts(metrics, job, documents, DocumentRoutes(ctx.config, documents, url))
        return self._made

    @hookimpl
    def tables(self) -> Tables:
        """Give the tables of schema ``ocr``."""
        return Tables("heartwood_ocr.tables:metadata", "heartwood_ocr.migrations")

    @hookimpl
    def permissions(self) -> list[Permission]:
        """Give who may read documents and who may send them in."""
        everybody = frozenset({Role.MEMBER, Role.READER})
        return [
            Permission(READ, "See one's own documents, their text and their originals.", everybody),
            Permission(WRITE, "Send documents in and delete them.", frozenset({Role.MEMBER})),
        ]

    @hookimpl
    def routes(self, ctx: PluginContext) -> list[Route]:
        """Give the API below ``/business/documents``."""
        return self._parts(ctx).routes.all()

    @hookimpl
    def jobs(self, ctx: PluginContext) -> list[Job]:
        """Give the job that reads one document."""
        return [Job("read", self._parts(ctx).job.read, timeout=LONGEST_READING)]

    @hookimpl
    def tasks(self, ctx: PluginContext) -> list[Task]:
        """Give what counts documents, takes up those that waited for Tesseract, and gives up those without a job."""
        parts = self._parts(ctx)
        serve = frozenset({"serve"})
        return [
            Task("resume", parts.job.resume, every=60.0),
            Task("give_up", parts.job.give_up, every=15.0),
            Task("count", parts.metrics.refresh, every=15.0, scope=Scope.PROCESS, roles=serve),
        ]

    @hookimpl
    def services(self) -> list[Provides]:
        """Promise documents to other plugins."""
        return [Provides(Documents)]

    @hookimpl
    def lifespan(self, ctx: PluginContext) -> AbstractAsyncContextManager[Any]:
        """Provide the documents for as long as the plugin runs."""
        return _provide(self._parts(ctx).documents)

    @hookimpl
    def metrics(self, ctx: PluginContext) -> list[Collector]:
        """Give what is measured of documents."""
        return self._parts(ctx).metrics.collectors()

    @hookimpl
    def health_checks(self, ctx: PluginContext) -> list[HealthCheck]:
        """Ask whether pictures can be read; without Tesseract documents are still taken in, and wait."""
        return [HealthCheck("tesseract", self._parts(ctx).job.tesseract.check)]

    @hookimpl(optionalhook=True)
    def analytics(self) -> list[Section]:
        """Give the section of the summary about documents."""
        return [Section("documents", "Documents", _figures, READ)]


@asynccontextmanager
async def _provide(documents: Documents) -> AsyncIterator[Documents]:
    yield documents


async def _figures(actor: Actor, database: Database) -> list[Figure]:
    return figures(await store.counts(database, actor))
