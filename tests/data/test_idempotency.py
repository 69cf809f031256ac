"""A request that is repeated with its key is answered as the first time, and done once."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from heartwood.api import Database, Permission, Plugin, Route, Transaction, hookimpl, idempotency_key
from heartwood.contracts.data import Stored
from heartwood.contracts.errors import Conflict, Invalid, Repeated
from heartwood.contracts.people import HUB, Actor
from heartwood.data.idempotency import purge
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.observe.metrics import Metrics

OWNER = Actor(person=1, name="owner", permissions=frozenset({"*"}), via="token")
OTHER = Actor(person=2, name="other", permissions=frozenset(), via="token")
ANSWER = Stored(201, b'{"id":1}', {"Location": "/1"})


@pytest.fixture(name="database")
async def _database(core_dsn, log):
    pool = Pool(core_dsn, DataSettings(), log, Metrics())
    await pool.open()
    await pool.database("notes").execute("create table note (id int generated always as identity)")
    yield pool.database("notes")
    await pool.close()


@pytest.fixture(name="other_plugin")
def _other_plugin(database):
    return database._pool.database("other")


async def done(database) -> int:
    return await database.fetchval("select count(*) from note")


async def ask(database, *, actor=OWNER, key="k", body=b"b", answer=ANSWER) -> Stored | None:
    """Ask once with a key, and return what the kernel sends."""
    try:
        async with database.unit(actor, key, body=body) as tx:
            await tx.execute("insert into note default values")
            if answer is not None:
                tx.remember(answer)
    except Repeated as repeated:
        return repeated.stored
    return answer


@pytest.mark.pg15
async def test_the_same_key_and_body_give_the_stored_answer(database):
    """Status, headers and body are those of the first time, and it says that it is a repetition."""
    assert ANSWER == await ask(database)
    again = await ask(database)
    assert (ANSWER.status, ANSWER.answer, dict(ANSWER.headers), True) == (
        again.status,
        again.answer,
        dict(again.headers),
        again.repeated,
    )
    assert 1 == await done(database)


async def test_another_body_is_refused(database):
    """422: the client has mixed up its keys."""
    await ask(database)
    with pytest.raises(Invalid, match="was used with another body"):
        await ask(database, body=b"other")
    assert 1 == await done(database)


async def test_a_key_counts_per_person_and_plugin(database, other_plugin):
    """What another person, plugin or key stands for is something else."""
    await ask(database)
    for other in ({"actor": OTHER}, {"key": "l"}, {"actor": HUB}):
        assert not (await ask(database, **other)).repeated
    assert not (await ask(other_plugin)).repeated
    assert 5 == await done(database)


@pytest.mark.pg15
async def test_one_that_is_still_running_is_a_conflict(database):
    """409 at once, without waiting for the first to end; afterwards its answer is there."""
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with database.unit(OWNER, "k", body=b"b") as tx:
            started.set()
            await finish.wait()
            tx.remember(ANSWER)

    first = asyncio.create_task(slow())
    await started.wait()
    with pytest.raises(Conflict, match="is still running") as caught:
        await ask(database)
    assert caught.value.retry_after
    finish.set()
    await first
    assert (await ask(database)).repeated


async def test_what_failed_may_be_tried_again(database):
    """Where the work raises nothing is kept, and the key is free."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(OWNER, "k", body=b"b") as tx:
            await tx.execute("insert into note default values")
            raise ZeroDivisionError
    assert not (await ask(database)).repeated
    assert 1 == await done(database)


@pytest.mark.pg15
async def test_fifty_at_once_are_done_once(database):
    """Whatever the order, one does the work; each other one gets its answer or is told to ask again."""
    outcomes = await asyncio.gather(*(ask(database) for _ in range(50)), return_exceptions=True)
    assert {Stored, Conflict} >= {type(outcome) for outcome in outcomes}
    assert 1 == await done(database)
    assert 1 == sum(isinstance(outcome, Stored) and not outcome.repeated for outcome in outcomes)


@pytest.mark.pg15
async def test_a_day_later_the_key_is_free(database):
    """After 24 hours it stands for something new, and its row is replaced."""
    await ask(database)
    await database.execute("update core.idempotency set created_at = now() - interval '24 hours 1 second'")
    assert not (await ask(database, body=b"other")).repeated
    assert (2, 1) == (await done(database), await database.fetchval("select count(*) from core.idempotency"))


async def test_old_answers_are_purged(database):
    """Those of the last 24 hours stay."""
    await ask(database, key="old")
    await database.execute("update core.idempotency set created_at = now() - interval '25 hours'")
    await ask(database, key="new")
    assert 1 == await purge(database)
    assert ["new"] == [row["key"] for row in await database.fetch("select key from core.idempotency")]


async def test_a_unit_that_gave_no_answer_is_a_conflict_the_second_time(database):
    """It is not done again, and there is nothing to repeat."""
    await ask(database, answer=None)
    with pytest.raises(Conflict, match="has been done; its answer was not kept"):
        await ask(database)
    assert 1 == await done(database)


async def test_a_unit_without_a_key_writes_no_record(database):
    """Nothing is kept for it, also where it gave an answer."""
    async with database.unit(OWNER) as tx:
        tx.remember(ANSWER)
    assert 0 == await database.fetchval("select count(*) from core.idempotency")


async def _take(request: web.Request, actor: Actor, database: Database) -> web.StreamResponse:
    """Take something in once a key."""
    async with database.unit(actor, idempotency_key(request), body=await request.read()) as tx:
        text = f"{request.path} {await tx.fetchval('select txid_current()')}"
        tx.remember(Stored(200, text.encode()))
    return web.Response(text=text)


async def _typed(tx: Transaction) -> int:
    """Do something once a key."""
    return await tx.fetchval("select txid_current()")


class Twice(Plugin):
    name = "twice"

    @hookimpl
    def permissions(self):
        return [Permission("twice.use", "Use it.")]

    @hookimpl
    def routes(self):
        options = {"permission": "twice.use", "raw": True, "transaction": False}
        return [
            Route("POST", "/a", _take, name="a", **options),
            Route("POST", "/b", _take, name="b", **options),
            Route("POST", "/d", _typed, "twice.use"),
        ]


async def test_a_request_key_counts_per_route(hub_factory):
    """One key sent to several routes of a plugin, raw and typed, stands for as many acts; each is done once."""
    hub = await hub_factory(plugins=[Twice])

    async def send(path: str) -> str:
        async with hub.client.post(f"/business/twice{path}", data=b"x", headers={"Idempotency-Key": "k"}) as answer:
            assert 200 == answer.status, await answer.text()
            return await answer.text()

    paths = ("/a", "/b", "/d", "/a?x=1", "/a?" + "x" * 6000)
    first = [await send(path) for path in paths]
    assert len(paths) == len(set(first))
    assert first == [await send(path) for path in paths]
