"""What the bookmarks give to the hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from attrs import frozen
from bookmarks_contracts import Label, Link, Links, LinkSaved
from prometheus_client import Counter

from heartwood.api import (
    Actor,
    Assets,
    Database,
    Events,
    Fault,
    HealthCheck,
    Invalid,
    Job,
    Jobs,
    Page,
    Permission,
    Plugin,
    PluginContext,
    Provides,
    Role,
    Route,
    Tables,
    Transaction,
    hookimpl,
)
from heartwood.contracts.cursors import decode_cursor, encode_cursor
from heartwood_bookmarks import store
from heartwood_bookmarks.config import BookmarksConfig
from heartwood_bookmarks.hookspecs import BookmarkSpecs

READ, WRITE = "links.read", "links.write"
MANY = 50


@frozen
class NewLink:
    """What a client sends."""

    url: str
    title: str


@frozen
class LinkToLabel:
    """What the job is told."""

    link: int


class BookmarksPlugin(Plugin):
    """Keeps links, labels them, and tells others."""

    name = "bookmarks"
    config = BookmarksConfig

    def __init__(self) -> None:
        self.saved = Counter("heartwood_bookmarks_saved_total", "Links that were kept.", registry=None)
        self.labels: list[Label] = []
        self.longest = 0

    @hookimpl
    def hookspecs(self) -> Iterable[type]:
        """Let other plugins add labels."""
        return [BookmarkSpecs]

    @hookimpl
    def services(self) -> Iterable[Provides]:
        """Promise links to other plugins."""
        return [Provides(Links)]

    @hookimpl
    def tables(self) -> Tables:
        """Return where tables and revisions are."""
        return Tables("heartwood_bookmarks.tables:metadata", "heartwood_bookmarks.migrations")

    @hookimpl
    def assets(self) -> Assets:
        """Return where the templates are."""
        return Assets("heartwood_bookmarks", static=None)

    @hookimpl
    def permissions(self) -> Iterable[Permission]:
        """Return who may read and who may keep links."""
        return [
            Permission(READ, "See one's own links.", frozenset({Role.MEMBER, Role.READER})),
            Permission(WRITE, "Keep links.", frozenset({Role.MEMBER})),
        ]

    @hookimpl
    def routes(self, ctx: PluginContext) -> Iterable[Route]:
        """Return the routes below ``/business/links``."""
        self.longest = ctx.config.longest
        return [Route("POST", "", self.add, WRITE, status=201), Route("GET", "", self.listed, READ)]

    @hookimpl
    def jobs(self) -> Iterable[Job]:
        """Return the job that labels a link."""
        return [Job("label", self.label)]

    @hookimpl
    def metrics(self) -> Iterable[Counter]:
        """Return what is measured."""
        return [self.saved]

    @hookimpl
    def health_checks(self) -> Iterable[HealthCheck]:
        """Ask whether the table is there."""
        return [HealthCheck("table", self.table)]

    @hookimpl
    def lifespan(self, ctx: PluginContext) -> AbstractAsyncContextManager[Links]:
        """Ask the others for labels, and provide the links."""
        return self._running(ctx)

    @asynccontextmanager
    async def _running(self, ctx: PluginContext) -> AsyncIterator[Links]:
        self.labels = [label for each in ctx.contributions("link_labels") for label in each.value or ()]
        yield _Links(ctx.one(Database))

    async def add(self, body: NewLink, actor: Actor, tx: Transaction, jobs: Jobs) -> Link:
        """Keep a link; it is labelled in the background."""
        if len(body.url) > self.longest:
            msg = "The address is too long"
            raise Invalid(
                msg, faults=[Fault("url", f"has {len(body.url)} characters; at most {self.longest} are kept")]
            )
        link = await store.add(tx, actor, body.url, body.title)
        await jobs.enqueue(tx, "label", LinkToLabel(link))
        tx.after_commit(self.saved.inc)
        return Link(link, body.url, body.title, [])

    async def listed(self, actor: Actor, database: Database, cursor: str | None = None) -> Page[Link]:
        """Return one's links, newest first."""
        before = decode_cursor(cursor, int)[0] if cursor else None
        links = await store.page(database, actor, before=before, limit=MANY + 1)
        return Page(links[:MANY], encode_cursor(links[MANY - 1].id) if len(links) > MANY else None)

    async def label(self, payload: LinkToLabel, tx: Transaction, events: Events) -> None:
        """Label a link by its title; the labels and the event commit together."""
        title = str(await tx.fetchval(store.TITLE, payload.link)).lower()
        labels = sorted({label.name for label in self.labels if label.word in title})
        await tx.execute(store.LABEL, payload.link, labels)
        await events.publish(tx, LinkSaved(payload.link, labels))

    async def table(self, database: Database) -> None:
        """Ask the table for a row."""
        await database.fetchval("select id from bookmarks.link limit 1")


@frozen
class _Links:
    database: Database

    async def newest(self, actor: Actor, *, limit: int) -> list[Link]:
        return await store.page(self.database, actor, before=None, limit=limit)
