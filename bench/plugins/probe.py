"""What the benchmarks ask a hub for: a typed route, the same with a SELECT, a light one, and two jobs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from attrs import frozen

from heartwood.api import Database, Job, Migration, Permission, Plugin, Role, Route, hookimpl


@frozen
class Item:
    """A flat body: the example of FastAPI's documentation."""

    name: str
    price: float
    description: str | None = None
    tax: float | None = None


@frozen
class Line:
    """One line of an order."""

    sku: str
    count: int
    price: float


@frozen
class Order:
    """What is sent in."""

    id: int
    customer: str
    lines: list[Line]
    note: str | None = None


@frozen
class Receipt:
    """What is answered."""

    id: int
    customer: str
    lines: int
    total: float
    stock: str | None = None


@frozen
class Sent:
    """When a job was enqueued, in seconds since the epoch."""

    at: float


STOCK = """
create table stock (id bigint primary key, name text not null);
insert into stock select n, 'article ' || n from generate_series(1, 1000) n;
"""


class Probe(Plugin):
    """Asked by benchmarks only."""

    name = "probe"

    @hookimpl
    def tables(self) -> list[Migration]:
        """Give a table to read from."""
        return [
            Migration("0001", STOCK.replace("stock (", "{schema}.stock (").replace("into stock", "into {schema}.stock"))
        ]

    @hookimpl
    def permissions(self) -> list[Permission]:
        """Give who may ask."""
        return [Permission("probe.ask", "Ask.", frozenset({Role.MEMBER, Role.READER}))]

    @hookimpl
    def routes(self) -> list[Route]:
        """Give the routes."""
        return [
            Route("POST", "/order", self.order, "probe.ask", transaction=False),
            Route("POST", "/item", self.item, "probe.ask", transaction=False),
            Route("POST", "/stocked", self.stocked, "probe.ask", transaction=False),
            Route("GET", "/light", self.light, "probe.ask"),
        ]

    @hookimpl
    def jobs(self) -> list[Job]:
        """Give the jobs."""
        return [Job("nothing", self.nothing), Job("latency", self.latency)]

    async def item(self, body: Item) -> Item:
        """Answer what came."""
        return body

    async def order(self, body: Order) -> Receipt:
        """Add an order up."""
        return Receipt(body.id, body.customer, len(body.lines), sum(each.count * each.price for each in body.lines))

    async def stocked(self, body: Order, database: Database) -> Receipt:
        """Add an order up and look its article up."""
        row = await database.fetchrow("select id, name from probe.stock where id = $1", body.id)
        total = sum(each.count * each.price for each in body.lines)
        return Receipt(body.id, body.customer, len(body.lines), total, row["name"] if row else None)

    async def light(self) -> str:
        """Answer at once."""
        return "light"

    async def nothing(self) -> None:
        """Do nothing."""

    async def latency(self, payload: Sent) -> None:
        """Write down how long it took until this started."""
        with Path(os.environ["BENCH_LATENCIES"]).open("a") as file:
            file.write(f"{time.time() - payload.at}\n")
