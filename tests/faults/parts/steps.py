"""A plugin for the tests of faults: its jobs stop at the step that they are told, so that they can be killed there.

It also has a route that uses the cache and the signals, which must go on when Redis does not.
"""

import asyncio
import os
import signal

from attrs import frozen

from heartwood.api import (
    Cache,
    Database,
    Job,
    JobRun,
    Jobs,
    Migration,
    Permission,
    Plugin,
    PluginContext,
    Retry,
    Role,
    Route,
    Scope,
    Signals,
    Task,
    Transaction,
    hookimpl,
)

TABLES = """
create table {schema}.start (job bigint, attempt int, at timestamptz default clock_timestamp());
create table {schema}.stop (job bigint, step text);
create table {schema}.result (job bigint primary key, attempt int not null, at_commit boolean not null);

-- The commit of a marked result waits for whoever holds this lock: a worker can be killed inside of it.
create function {schema}.wait() returns trigger language plpgsql as
    'begin perform pg_advisory_xact_lock_shared(4711); return null; end';
create constraint trigger waits after insert on {schema}.result deferrable initially deferred
    for each row when (new.at_commit) execute function {schema}.wait();
"""


@frozen
class Order:
    """Where the first attempt stops: handler, transaction, commit, committed.

    Every attempt of ``kill`` kills its worker, and one of ``pause`` takes a moment at every step.
    """

    at: str = ""


@frozen
class Made:
    job: int


async def begun(database: Database, run: JobRun) -> None:
    await database.execute("insert into steps.start values ($1, $2)", run.id, run.attempt)


async def stop(database: Database, order: Order, run: JobRun, step: str) -> None:
    if order.at == step and run.attempt == 1:
        await database.execute("insert into steps.stop values ($1, $2)", run.id, step)
        await asyncio.Event().wait()
    if order.at == "pause":
        await asyncio.sleep(0.02)


async def write(tx: Transaction, order: Order, run: JobRun) -> None:
    """Write the result; the job's id is the key that makes it one, as delivery is at least once."""
    await tx.execute(
        "insert into steps.result values ($1, $2, $3) on conflict (job) do nothing",
        run.id,
        run.attempt,
        order.at == "commit",
    )


async def parts(payload: Order, run: JobRun, database: Database) -> None:
    """Do a job whose result is a transaction of its own."""
    await begun(database, run)
    if payload.at == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    await stop(database, payload, run, "handler")
    async with run.unit() as tx:
        await write(tx, payload, run)
        await stop(database, payload, run, "transaction")
    await stop(database, payload, run, "committed")


async def whole(payload: Order, run: JobRun, database: Database, tx: Transaction) -> None:
    """Do a job whose result and end are one transaction."""
    await begun(database, run)
    await write(tx, payload, run)
    await stop(database, payload, run, "transaction")


async def order(tx: Transaction, jobs: Jobs, body: Order, kind: str = "parts", delay: float = 0.0) -> Made:
    """Enqueue one."""
    return Made(await jobs.enqueue(tx, kind, body, delay=delay))


class Steps(Plugin):
    name = "steps"

    def __init__(self):
        self.heard = []

    @hookimpl
    def tables(self):
        return [Migration("0001", TABLES)]

    @hookimpl
    def permissions(self):
        return [Permission("steps.use", "Use the steps.", frozenset({Role.MEMBER}))]

    @hookimpl
    def jobs(self):
        retry = Retry(attempts=5, first=0.1)
        return [Job("parts", parts, retry=retry), Job("whole", whole, retry=retry)]

    @hookimpl
    def routes(self, ctx: PluginContext):
        async def remember(cache: Cache, signals: Signals, value: str) -> str:
            """Give what was remembered before, remember ``value``, and tell the other processes."""
            before = await cache.get("steps")
            await cache.set("steps", value.encode(), ttl=60)
            signals.send("steps.said", {"value": value})
            return (before or b"").decode()

        async def heard() -> list[str]:
            """Give what the other processes said."""
            return self.heard

        return [
            Route("POST", "", order, "steps.use"),
            Route("GET", "/remember", remember, "steps.use"),
            Route("GET", "/heard", heard, "steps.use"),
        ]

    @hookimpl
    def tasks(self):
        async def hear(signals: Signals) -> None:
            async with signals.listen("steps.*") as stream:
                async for each in stream:
                    self.heard.append(each.payload["value"])

        async def look(database: Database) -> None:
            """Need PostgreSQL all the time; that it is away must be no fault of this task."""
            await database.fetchval("select count(*) from steps.start")

        return [
            Task("hear", hear, forever=True, scope=Scope.PROCESS),
            Task("look", look, every=0.1, scope=Scope.PROCESS),
            Task("look once", look, every=0.1),
        ]
