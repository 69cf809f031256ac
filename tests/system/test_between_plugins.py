"""What plugins are to each other in a whole hub: upstreams that come later, services, events, signals, crashes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Protocol

from attrs import frozen

from heartwood.api import (
    Database,
    Events,
    JobRun,
    Migration,
    NotReady,
    Permission,
    Plugin,
    Provides,
    Route,
    Signals,
    Subscription,
    Task,
    Transaction,
    hookimpl,
)
from heartwood.contracts.tasks import Scope
from heartwood.work import tasks

FAST = {"loader": {"retry_first": 0.05, "retry_longest": 0.05}}


class Clock(Protocol):
    async def now(self) -> int: ...


class Upstream:
    """What a plugin waits for."""

    def __init__(self):
        self.there = False


def clock_plugin(upstream: Upstream) -> type[Plugin]:
    class FixedClock:
        async def now(self) -> int:
            return 7

    class Clocks(Plugin):
        name = "clocks"

        @hookimpl
        def services(self):
            return [Provides(Clock)]

        @hookimpl
        def lifespan(self):
            return self._running()

        @asynccontextmanager
        async def _running(self) -> AsyncIterator[Clock]:
            if not upstream.there:
                msg = "the clock does not answer yet"
                raise NotReady(msg)
            yield FixedClock()

        @hookimpl
        def permissions(self):
            return [Permission("clocks.read", "Read it.")]

        @hookimpl
        def routes(self):
            return [Route("GET", "", self.read, "clocks.read")]

        async def read(self) -> int:
            return 1

    return Clocks


async def tell(clock: Clock) -> int:
    return await clock.now()


class Reader(Plugin):
    """It asks for the clock, and does not need its plugin in order to start."""

    name = "reader"

    @hookimpl
    def permissions(self):
        return [Permission("reader.read", "Read it.")]

    @hookimpl
    def routes(self):
        return [Route("GET", "/time", tell, "reader.read")]


class Dependent(Reader):
    """It cannot run without the plugin of the clock."""

    name = "dependent"
    requires = ("clocks",)

    @hookimpl
    def permissions(self):
        return [Permission("dependent.read", "Read it.")]

    @hookimpl
    def routes(self):
        return [Route("GET", "/time", tell, "dependent.read")]


async def asked(hub, path, method="GET", **options):
    async with hub.client.request(method, path, **options) as answer:
        return answer.status, await answer.json()


async def label(hub, name):
    return (await asked(hub, f"/business/plugins/{name}"))[1]["label"]


async def test_an_upstream_that_comes_later(hub_factory, eventually):
    """Its plugin retries and then serves without a restart, its dependents follow, and 503 names the owner until then.

    A required plugin in that state stops no start, but the hub is not ready.
    """
    upstream = Upstream()
    config = FAST | {"plugins": {"clocks": {"required": True}, "dependent": {"required": True}}}
    hub = await hub_factory(plugins=[Dependent, clock_plugin(upstream), Reader], config=config)

    status, problem = await asked(hub, "/business/clocks")
    assert (503, "clocks") == (status, problem["owner"])
    assert problem["detail"].startswith("Plugin 'clocks' is retrying(")
    assert problem["detail"].endswith("the clock does not answer yet")
    assert "skipped(waits for clocks, which is not up yet)" == await label(hub, "dependent")
    status, problem = await asked(hub, "/business/reader/time")
    assert (503, "clocks") == (status, problem["owner"])
    assert "Clock is provided by plugin 'clocks', which is retrying(" in problem["detail"]
    assert 503 == (await hub.stranger.get("/-/ready")).status

    upstream.there = True
    await eventually(lambda: hub.kernel.by_name["dependent"].serving)

    assert ["running", "running"] == [await label(hub, "clocks"), await label(hub, "dependent")]
    assert (200, 7) == await asked(hub, "/business/dependent/time") == await asked(hub, "/business/reader/time")
    assert (200, 1) == await asked(hub, "/business/clocks")
    assert 200 == (await hub.stranger.get("/-/ready")).status


async def test_a_crashing_task_degrades_its_plugin_alone(hub_factory, eventually, monkeypatch):
    """Five crashes and the plugin is degraded with a sentence, its routes still answer; a good run makes it well."""
    monkeypatch.setattr(tasks, "DELAY_FIRST", 0.01)
    monkeypatch.setattr(tasks, "DELAY_LONGEST", 0.01)
    broken = True

    async def poll() -> None:
        if broken:
            msg = "no answer"
            raise OSError(msg)

    class Poller(Reader):
        name = "poller"

        @hookimpl
        def permissions(self):
            return [Permission("poller.read", "Read it.")]

        @hookimpl
        def routes(self):
            return [Route("GET", "/nothing", self.nothing, "poller.read")]

        async def nothing(self) -> None:
            """Say nothing."""

        @hookimpl
        def tasks(self):
            return [Task("poll", poll, every=0.05, scope=Scope.PROCESS)]

    hub = await hub_factory(plugins=[Poller])
    record = hub.kernel.by_name["poller"]
    await eventually(lambda: record.label == "degraded")

    report = (await asked(hub, "/business/plugins/poller"))[1]
    assert "task 'poll' crashed 5 times in ten minutes: OSError: no answer" == report["reason"]
    assert ("task poll", "OSError: no answer") == (
        report["last_errors"][-1]["where"],
        report["last_errors"][-1]["message"],
    )
    async with hub.client.get("/business/poller/nothing") as answer:
        assert 204 == answer.status
    broken = False
    await eventually(lambda: record.label == "running")


@frozen
class Ordered:
    event_name: ClassVar[str] = "shop.ordered"
    number: int


class Shop(Plugin):
    """It publishes an event."""

    name = "shop"

    @hookimpl
    def permissions(self):
        return [Permission("shop.order", "Order.")]

    @hookimpl
    def routes(self):
        return [Route("POST", "/orders/{number}", self.order, "shop.order", status=201)]

    async def order(self, number: int, tx: Transaction, events: Events, signals: Signals) -> int:
        await events.publish(tx, Ordered(number))
        tx.after_commit(lambda: signals.send("shop.ordered", {"number": number}))
        if number < 0:
            msg = "after the event"
            raise ZeroDivisionError(msg)
        return number


class Parcels(Plugin):
    """It hears of the event, and fails the first time."""

    name = "parcels"

    @hookimpl
    def tables(self):
        return [Migration("0001", "create table {schema}.parcel (job bigint, attempt int, number int)")]

    @hookimpl
    def subscriptions(self):
        return [Subscription(Ordered, self.pack)]

    async def pack(self, event: Ordered, run: JobRun, database: Database) -> None:
        """Note each delivery, and fail at the first."""
        insert = "insert into parcels.parcel values ($1, $2, $3)"
        await database.execute(insert, run.id, run.attempt, event.number)
        if run.attempt == 1:
            msg = "out of tape"
            raise OSError(msg)


async def test_an_event_reaches_another_plugin_at_least_once(hub_factory, eventually, monkeypatch):
    """What committed is delivered until it succeeds, what did not commit is not; the signal is heard."""
    hub = await hub_factory(plugins=[Shop, Parcels])
    database = hub.kernel.database("parcels")
    async with hub.kernel.running_services[Signals].listen("shop.*") as heard:
        assert 500 == (await asked(hub, "/business/shop/orders/-5", "POST"))[0]
        assert (201, 5) == await asked(hub, "/business/shop/orders/5", "POST")
        signal = await asyncio.wait_for(anext(heard), 5)
    assert ("shop.ordered", {"number": 5}) == (signal.topic, dict(signal.payload))

    async def done():
        await database.execute("update queue.pgqueuer set execute_after = now() where execute_after > now()")
        return await database.fetchval("select count(*) from parcels.parcel") == 2

    await eventually(done, within=15)
    await hub.jobs.drain()
    rows = [tuple(row) for row in await database.fetch("select * from parcels.parcel order by attempt")]

    assert 1 == len({job for job, _, _ in rows})
    assert [(1, 5), (2, 5)] == [row[1:] for row in rows]
    job = (await asked(hub, "/business/jobs?plugin=parcels"))[1]["items"][0]
    assert ("parcels.pack@shop.ordered", "done", "owner") == (job["name"], job["state"], job["actor"]["name"])


async def test_two_hubs_in_one_process_share_nothing(hub_factory):
    """The same classes run in two hubs at once, with metrics, hooks, services, tokens and rows of their own."""
    there, away = Upstream(), Upstream()
    there.there = True
    one = await hub_factory(plugins=[clock_plugin(there), Reader], config=FAST)
    two = await hub_factory(plugins=[clock_plugin(away), Reader], config=FAST)

    assert (200, 503) == tuple([(await asked(hub, "/business/reader/time"))[0] for hub in (one, two)])
    assert "running" == await label(one, "clocks")
    up = [
        hub.kernel.metrics.registry.get_sample_value("heartwood_plugin_up", {"plugin": "clocks"}) for hub in (one, two)
    ]
    assert [1.0, 0.0] == up
    async with two.client.get(f"{one.url}/business/plugins") as refused:
        assert 401 == refused.status


async def test_a_worker_delivers_what_a_server_without_jobs_published(hub_factory, eventually, database_url):
    """Server and worker are processes of one hub: they meet in the database only."""
    server = await hub_factory(plugins=[Shop, Parcels], jobs=False, database=database_url)
    assert (201, 8) == await asked(server, "/business/shop/orders/8", "POST")
    worker = await hub_factory(plugins=[Shop, Parcels], role="worker", database=database_url)
    database = worker.kernel.database("parcels")

    await eventually(lambda: database.fetchval("select count(*) from parcels.parcel"), within=10)
