"""A request that is repeated with its key is answered as the first time, and done once."""

from __future__ import annotations

import asyncio

import pytest

from heartwood.contracts.data import Stored
from heartwood.contracts.errors import Conflict, Invalid, Repeated
from heartwood.contracts.people import HUB, Actor
from heartwood.data.idempotency import purge, run_once
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


async def done(database) -> int:
    return await database.fetchval("select count(*) from note")


async def ask(database, *, actor=OWNER, route="POST /notes", key="k", body=b"b", answer=ANSWER):
    """Ask once with a key, as a typed route does."""
    async with database.unit(actor) as tx:

        async def work() -> Stored:
            await tx.execute("insert into note default values")
            return answer

        return await run_once(tx, route, key, body, work)


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
    with pytest.raises(Invalid, match="'k' was used with another body"):
        await ask(database, body=b"other")
    assert 1 == await done(database)


@pytest.mark.parametrize("other", [{"actor": OTHER}, {"route": "POST /other"}, {"key": "l"}, {"actor": HUB}])
async def test_a_key_counts_per_person_and_route(other, database):
    """What another person, route or key stands for is something else."""
    await ask(database)
    await ask(database, **other)
    assert 2 == await done(database)


async def test_one_that_is_still_running_is_a_conflict(database):
    """409 at once, without waiting for the first to end; afterwards its answer is there."""
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> Stored:
        async with database.unit(OWNER) as tx:

            async def work() -> Stored:
                started.set()
                await finish.wait()
                return ANSWER

            return await run_once(tx, "POST /notes", "k", b"b", work)

    first = asyncio.create_task(slow())
    await started.wait()
    with pytest.raises(Conflict, match="'k' is still running") as caught:
        await ask(database)
    assert caught.value.retry_after
    finish.set()
    await first
    assert (await ask(database)).repeated


async def test_what_failed_may_be_tried_again(database):
    """Where the work raises nothing is kept, and the key is free."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(OWNER) as tx:

            async def work() -> Stored:
                await tx.execute("insert into note default values")
                raise ZeroDivisionError

            await run_once(tx, "POST /notes", "k", b"b", work)
    assert not (await ask(database)).repeated
    assert 1 == await done(database)


async def test_fifty_at_once_are_done_once(database):
    """Whatever the order, one does the work; each other one gets its answer or is told to ask again."""
    outcomes = await asyncio.gather(*(ask(database) for _ in range(50)), return_exceptions=True)
    assert {Stored, Conflict} >= {type(outcome) for outcome in outcomes}
    assert 1 == await done(database)
    assert 1 == sum(isinstance(outcome, Stored) and not outcome.repeated for outcome in outcomes)


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


async def unit(database, *, body=b"b", answer: Stored | None = ANSWER) -> None:
    """Do something once, as a route with a transaction of its own does."""
    async with database.unit(OWNER, "k", body=body) as tx:
        await tx.execute("insert into note default values")
        if answer is not None:
            tx.remember(answer)


async def test_a_unit_with_a_key_is_done_once(database):
    """The second time it raises ``Repeated`` with the answer, which the kernel sends."""
    await unit(database)
    with pytest.raises(Repeated) as caught:
        await unit(database)
    assert (201, b'{"id":1}', True) == (
        caught.value.stored.status,
        caught.value.stored.answer,
        caught.value.stored.repeated,
    )
    with pytest.raises(Invalid):
        await unit(database, body=b"other")
    assert 1 == await done(database)


async def test_a_unit_that_gave_no_answer_is_a_conflict_the_second_time(database):
    """It is not done again, and there is nothing to repeat."""
    await unit(database, answer=None)
    with pytest.raises(Conflict, match="has been done; its answer was not kept"):
        await unit(database)
    assert 1 == await done(database)


async def test_a_unit_without_a_key_writes_no_record(database):
    """Nothing is kept for it, also where it gave an answer."""
    async with database.unit(OWNER) as tx:
        tx.remember(ANSWER)
    assert 0 == await database.fetchval("select count(*) from core.idempotency")
