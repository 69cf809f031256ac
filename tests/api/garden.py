"""A plugin that implements every hook there is; the pages of ``docs/plugins/hooks`` show its methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar, Protocol

from attrs import frozen
from prometheus_client import Counter
from prometheus_client.registry import Collector

from heartwood.api import (
    Assets,
    Database,
    Events,
    HealthCheck,
    Job,
    Jobs,
    Migration,
    Permission,
    Plugin,
    PluginContext,
    Provides,
    Role,
    Route,
    Scope,
    Subscription,
    Task,
    Transaction,
    hookimpl,
    hookspec,
)
from heartwood.contracts.analytics import Figure, Section

READ, WATER = "garden.read", "garden.water"


class GardenSpecs:
    """Hooks about the garden."""

    @hookspec
    def seeds(self, ctx: PluginContext) -> Iterable[str]:
        """Return the names of plants that are sown when the plugin starts."""
        raise NotImplementedError


class Almanac(Protocol):
    """What other plugins may know of the garden."""

    async def watered(self, plant: str) -> int:
        """Return how often ``plant`` was watered."""
        ...


@frozen
class Watered:
    """A plant was watered."""

    event_name: ClassVar[str] = "garden.watered"
    plant: str


@frozen
class Watering:
    """Which plant the job waters."""

    plant: str


class GardenPlugin(Plugin):
    """A garden."""

    name = "garden"

    def __init__(self) -> None:
        self.waterings = Counter("heartwood_garden_waterings_total", "Times that a plant was watered.", registry=None)
        self.told: list[str] = []
        self.sown: list[str] = []
        self.looked = 0

    @hookimpl
    def hookspecs(self) -> Iterable[type]:
        """Let other plugins name seeds."""
        return [GardenSpecs]

    @hookimpl
    def services(self, ctx: PluginContext) -> Iterable[Provides]:
        """Promise the almanac; ``lifespan`` yields it."""
        return [Provides(Almanac)]

    @hookimpl
    def routes(self, ctx: PluginContext) -> Iterable[Route]:
        """Return the routes below ``/business/garden``."""
        return [
            Route("GET", "/plants/{plant}", self.plant, READ),
            Route("POST", "/plants/{plant}/water", self.water, WATER, status=202),
        ]

    @hookimpl
    def permissions(self, ctx: PluginContext) -> Iterable[Permission]:
        """Return what one may be allowed to do here."""
        return [
            Permission(READ, "Look at the garden.", frozenset({Role.MEMBER, Role.READER})),
            Permission(WATER, "Water plants.", frozenset({Role.MEMBER})),
        ]

    @hookimpl
    def assets(self, ctx: PluginContext) -> Assets:
        """Return where the templates are; there are no static files."""
        return Assets("heartwood_garden", templates="templates", static=None)

    @hookimpl
    def jobs(self, ctx: PluginContext) -> Iterable[Job]:
        """Return the work that survives a crash."""
        return [Job("water", self.run_water, timeout=60.0)]

    @hookimpl
    def tasks(self, ctx: PluginContext) -> Iterable[Task]:
        """Look at the plants every minute in each process, and count them every night in one."""
        return [
            Task("look", self.look, every=60.0, scope=Scope.PROCESS),
            Task("count", self.look, cron="0 3 * * *"),
        ]

    @hookimpl
    def subscriptions(self, ctx: PluginContext) -> Iterable[Subscription]:
        """Ask to be told when a plant was watered; another plugin could ask the same."""
        return [Subscription(Watered, self.note)]

    @hookimpl
    def lifespan(self, ctx: PluginContext) -> AbstractAsyncContextManager[Almanac]:
        """Sow what other plugins bring, and provide the almanac for as long as the plugin runs."""
        return self._running(ctx)

    @asynccontextmanager
    async def _running(self, ctx: PluginContext) -> AsyncIterator[Almanac]:
        for each in ctx.contributions("seeds"):
            self.sown += each.value or []
        yield _Almanac(ctx.one(Database))

    @hookimpl
    def tables(self) -> Iterable[Migration]:
        """Return the steps of schema ``garden``, oldest first."""
        return [Migration("0001", "create table {schema}.plant (name text primary key, times integer not null)")]

    @hookimpl
    def metrics(self, ctx: PluginContext) -> Iterable[Collector]:
        """Return what is measured."""
        return [self.waterings]

    @hookimpl
    def health_checks(self, ctx: PluginContext) -> Iterable[HealthCheck]:
        """Ask whether there is water."""
        return [HealthCheck("pump", self.pump)]

    @hookimpl(optionalhook=True)
    def analytics(self, ctx: PluginContext) -> Iterable[Section]:
        """Add the garden to the summary, where the plugin ``metrics`` is installed."""
        return [Section("garden", "The garden", self.figures, READ)]

    async def plant(self, plant: str, almanac: Almanac) -> int:
        """Return how often a plant was watered."""
        return await almanac.watered(plant)

    async def water(self, plant: str, tx: Transaction, jobs: Jobs) -> str:
        """Have a plant watered."""
        await jobs.enqueue(tx, "water", Watering(plant))
        return plant

    async def run_water(self, payload: Watering, tx: Transaction, events: Events) -> None:
        """Water a plant; the row and the event commit together."""
        await tx.execute(
            "insert into garden.plant values ($1, 1) on conflict (name) do update set times = plant.times + 1",
            payload.plant,
        )
        await events.publish(tx, Watered(payload.plant))
        tx.after_commit(self.waterings.inc)

    async def note(self, event: Watered) -> None:
        """Remember which plant was watered."""
        self.told.append(event.plant)

    async def look(self) -> None:
        """Look at the plants."""
        self.looked += 1

    async def pump(self) -> str:
        """Say how the pump does."""
        return "the pump runs"

    async def figures(self, database: Database) -> list[Figure]:
        """Count the plants."""
        return [Figure("plants", await database.fetchval("select count(*) from garden.plant"), "plants")]


@frozen
class _Almanac:
    database: Database

    async def watered(self, plant: str) -> int:
        return await self.database.fetchval("select times from garden.plant where name = $1", plant) or 0


class SeedsPlugin(Plugin):
    """Another plugin, which brings seeds to the garden."""

    name = "seeds"

    @hookimpl(optionalhook=True)
    def seeds(self) -> Iterable[str]:
        """Return the plants."""
        return ["basil"]
