"""Not run: mypy must find this right, in its strict mode, and refuse what is marked as wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol, assert_type
from uuid import UUID

from attrs import frozen
from prometheus_client import Counter

from heartwood.api import (
    Actor,
    Answer,
    Assets,
    Blobs,
    Cache,
    Children,
    Contribution,
    Database,
    Discard,
    Event,
    Events,
    Fault,
    Finished,
    HealthCheck,
    Invalid,
    Job,
    JobRun,
    Jobs,
    Limits,
    Migration,
    NotFound,
    Page,
    Permission,
    Plugin,
    PluginContext,
    Provided,
    Provides,
    Retry,
    Role,
    Route,
    Scope,
    Secret,
    Signals,
    Staged,
    Subscription,
    Tables,
    Task,
    Transaction,
    hookimpl,
    hookspec,
    many,
    setting,
)
from heartwood.contracts.analytics import Figure, FigureState, Section
from heartwood.contracts.calls import Caller
from heartwood.contracts.cursors import decode_cursor, encode_cursor
from heartwood.contracts.documents import Document, DocumentRead, Documents
from heartwood.contracts.http import HttpAnswer, HttpClient
from heartwood.contracts.metrics import MetricsRegistry
from heartwood.testing import RunningHub, conformance, running_hub


@frozen
class Config:
    """Settings."""

    key: Secret = setting(help="The key.")
    pause: float = setting(1.0, help="Seconds between two looks.")


class Reader(Protocol):
    """A service with one provider."""

    async def read(self, text: str) -> int: ...


@many
class Checker(Protocol):
    """A service with many."""

    async def check(self, text: str) -> bool: ...


@frozen
class Looked:
    """An event."""

    event_name: ClassVar[str] = "typed.looked"
    at: UUID


class Specs:
    """A hook of its own."""

    @hookspec
    def looks(self, ctx: PluginContext) -> Iterable[str]:
        """Return looks."""
        raise NotImplementedError


class TypedPlugin(Plugin):
    """A plugin that uses what the public face has."""

    name = "typed"
    config = Config
    requires = ("ocr",)

    def __init__(self) -> None:
        self.looked = Counter("heartwood_typed_looks_total", "Looks.", registry=None)

    @hookimpl
    def hookspecs(self) -> Iterable[type]:
        """Add a hook."""
        return [Specs]

    @hookimpl
    def routes(self, ctx: PluginContext) -> list[Route]:
        """Return routes."""
        return [
            Route("GET", "", self.listed, "typed.read"),
            Route("POST", "/{thing}", self.change, "typed.write", status=202),
            Route("GET", "", self.listed),  # type: ignore[call-arg]  # no route without a permission
            Route("GET", "", "listed", "typed.read"),  # type: ignore[arg-type]  # a handler is a function
        ]

    @hookimpl
    def permissions(self) -> list[Permission]:
        """Return permissions."""
        return [Permission("typed.read", "Read.", frozenset({Role.MEMBER}))]

    @hookimpl
    def tables(self) -> list[Migration] | Tables:
        """Return tables."""
        return Tables("typed.tables:metadata", "typed.migrations")

    @hookimpl
    def jobs(self) -> list[Job]:
        """Return jobs."""
        return [Job("look", self.look, retry=Retry(attempts=5), limit=2)]

    @hookimpl
    def tasks(self) -> list[Task]:
        """Return tasks."""
        return [
            Task("often", self.often, every=5.0, scope=Scope.PROCESS),
            Task("nightly", self.often, cron="0 3 * * *"),
            Task("odd", self.often, every=timedelta(seconds=5)),  # type: ignore[arg-type]  # durations are seconds
        ]

    @hookimpl
    def subscriptions(self) -> list[Subscription]:
        """Return subscriptions."""
        return [Subscription(Looked, self.told), Subscription(DocumentRead, self.told)]

    @hookimpl
    def services(self) -> list[Provides]:
        """Return services."""
        return [Provides(Reader), Provides(Checker, factory=lambda: None)]

    @hookimpl
    def health_checks(self) -> list[HealthCheck]:
        """Return checks."""
        return [HealthCheck("well", self.well, critical=True)]

    @hookimpl
    def assets(self) -> Assets:
        """Return assets."""
        return Assets("typed", static=None)

    @hookimpl(optionalhook=True)
    def analytics(self) -> list[Section]:
        """Return a section."""
        return [Section("looks", "Looks", self.figures, "typed.read")]

    @hookimpl
    def lifespan(self, ctx: PluginContext) -> AbstractAsyncContextManager[None]:
        """Live."""
        return self._live(ctx)

    @asynccontextmanager
    async def _live(self, ctx: PluginContext) -> AsyncIterator[None]:
        assert_type(ctx.one(Reader), Reader)
        assert_type(ctx.all(Checker), Sequence[Provided[Checker]])
        assert_type(ctx.one(Documents), Documents)
        assert_type(ctx.contributions("looks"), Sequence[Contribution[Any]])
        assert_type(ctx.url_for("change", thing=1), str)
        assert_type(ctx.data_dir, Path)
        ctx.one(Reader).write("")  # type: ignore[attr-defined]  # the contract has no such method
        yield

    async def listed(self, actor: Actor, database: Database, cursor: str | None = None) -> Page[int]:
        """List."""
        after = decode_cursor(cursor, int)[0] if cursor else 0
        rows = await database.fetch("select 1 where 1 > $1 and 2 = $2", after, actor.owner)
        return Page([int(row[0]) for row in rows], next=encode_cursor(1))

    async def change(self, thing: UUID, body: Config, tx: Transaction, jobs: Jobs, events: Events) -> Answer[str]:
        """Change."""
        if not body.pause:
            msg = "no"
            raise Invalid(msg, faults=[Fault("pause", "must be more than 0")])
        assert_type(await jobs.enqueue(tx, "look", Looked(thing), dedupe_key=str(thing)), int | None)
        await events.publish(tx, Looked(thing))
        await tx.audit("typed.change", str(thing), pause=body.pause)
        tx.after_commit(self.looked.inc)
        jobs.enqueue(tx, "look")  # type: ignore[unused-coroutine]  # a forgotten await is found
        return Answer("done", status=201, headers={"X-Typed": "yes"})

    async def look(self, payload: Looked, run: JobRun, children: Children, http: HttpClient, signals: Signals) -> None:
        """Look."""
        if run.last:
            msg = "it never works"
            raise Discard(msg)
        assert_type(await children.run(["true"], limits=Limits(wall=1.0)), Finished)
        assert_type(await http.request("GET", "https://example.org/"), HttpAnswer)
        async with run.unit() as tx:
            await tx.execute("select 1")
        signals.send("typed.looked", {"at": str(payload.at)})

    async def told(self, event: Looked, documents: Documents, actor: Actor) -> None:
        """Be told."""
        assert_type(await documents.get(actor, event.at), Document)

    async def often(self, blobs: Blobs, cache: Cache) -> None:
        """Store."""

        async def chunks() -> AsyncIterator[bytes]:
            yield b"bytes"

        staged = await blobs.stage(chunks(), limit=10)
        assert_type(staged, Staged)
        await blobs.keep(staged)
        assert_type(await cache.get("key"), bytes | None)
        await cache.set("key", b"value")  # type: ignore[call-arg]  # what is cached has an end

    async def well(self, caller: Caller, metrics: MetricsRegistry) -> str | None:
        """Be well."""
        raise NotFound(str((caller, metrics.registry)))

    async def figures(self) -> list[Figure]:
        """Count."""
        return [Figure("looks", 1.0, "looks", FigureState.STALE)]


looked: Event = Looked(UUID(int=0))
not_an_event: Event = Config(Secret(""))  # type: ignore[assignment]  # an event has a name


async def test_typed(hub: RunningHub) -> None:
    """Test as an author does."""
    conformance(TypedPlugin, config={"key": {"env": "KEY"}}, beside=[TypedPlugin])
    async with running_hub(plugins=[TypedPlugin]) as other:
        await other.jobs.drain(within=1.0)
        assert_type(other, RunningHub)
    await hub.jobs.drain()
