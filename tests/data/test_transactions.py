"""A unit of work commits as a whole or not at all."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.contracts.people import HUB, Actor
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.observe.logs import bind_request
from heartwood.observe.metrics import Metrics

OWNER = Actor(person=1, name="owner", permissions=frozenset({"*"}), via="token")


@pytest.fixture(name="database")
async def _database(core_dsn, log):
    pool = Pool(core_dsn, DataSettings(pool_size=4, statement_timeout=10), log, Metrics())
    await pool.open()
    await pool.database("notes").execute("create table note (id int primary key)")
    yield pool.database("notes")
    await pool.close()


async def notes(database) -> list[int]:
    return [row["id"] for row in await database.fetch("select id from note order by id")]


@pytest.mark.pg15
async def test_it_commits_at_the_end(database):
    """Others see nothing before and everything after; the transaction knows its actor."""
    async with database.unit(OWNER) as tx:
        await tx.executemany("insert into note values ($1)", [(1,), (2,)])
        assert (OWNER, 2) == (tx.actor, await tx.fetchval("select count(*) from note"))
        assert [] == await notes(database)
    assert [1, 2] == await notes(database)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
async def test_it_rolls_back_when_the_body_raises(error, database):
    """Whatever is raised, a cancellation too, undoes everything and is passed on."""
    with pytest.raises(error):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(OWNER) as tx:
            await tx.execute("insert into note values (1)")
            raise error
    assert [] == await notes(database)


@pytest.mark.pg15
async def test_the_audit_row_is_part_of_it(database):
    """Who did what to what, by which credential and for which request; gone where the rest is undone."""
    token = bind_request("r-1")
    async with database.unit(OWNER) as tx:
        await tx.audit("notes.delete", "note 7", reason="old", pages=[1, 2])
    token.var.reset(token)
    with pytest.raises(ValueError, match="PgTransaction"):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(HUB) as tx:
            await tx.audit("notes.delete", "note 8")
            raise ValueError(tx)
    (row,) = await database.fetch("select person, actor, via, action, subject, detail, request_id from core.audit")
    *plain, detail, request = row
    assert [1, "owner", "token", "notes.delete", "note 7"] == plain
    assert ({"reason": "old", "pages": [1, 2]}, "r-1") == (json.loads(detail), request)


async def test_the_hubs_own_acts_have_no_person(database):
    """They are audited under the hub's name."""
    async with database.unit(HUB) as tx:
        await tx.audit("hub.purge", "logs")
    row = await database.fetchrow("select person, actor, via, request_id from core.audit")
    assert (None, "hub", "hub", None) == tuple(row)


async def test_what_waits_for_the_commit_is_called_after_it(database, lines):
    """In order, once it is durable; one that raises is logged and stops neither the others nor the caller."""
    seen = []
    async with database.unit(OWNER) as tx:
        await tx.execute("insert into note values (1)")
        tx.after_commit(lambda: seen.append("first"))
        tx.after_commit(lambda: 1 / 0)
        tx.after_commit(lambda: seen.append("last"))
        assert [] == seen
    assert ["first", "last"] == seen
    assert [("database.after_commit_failed", "notes")] == [(entry["event"], entry["plugin"]) for entry in lines]


async def test_nothing_is_called_after_a_rollback(database):
    """What was not done is not told."""
    seen = []
    with pytest.raises(ValueError, match="PgTransaction"):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(OWNER) as tx:
            tx.after_commit(lambda: seen.append(1))
            raise ValueError(tx)
    assert [] == seen


@pytest.mark.pg15
async def test_a_commit_that_fails_raises(database):
    """A deferred constraint speaks at the commit; nothing was called and nothing is there."""
    await database.execute("create table twin (id int unique deferrable initially deferred)")
    seen = []
    with pytest.raises(asyncpg.UniqueViolationError):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(OWNER) as tx:
            tx.after_commit(lambda: seen.append(1))
            await tx.execute("insert into twin values (1), (1)")
    assert ([], 0) == (seen, await database.fetchval("select count(*) from twin"))


async def test_a_read_inside_is_not_asked_again(database):
    """A lost connection has lost the transaction, so it is unavailable and nothing of it is there."""
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(OWNER) as tx:
            await tx.execute("insert into note values (1)")
            backend = await tx.fetchval("select pg_backend_pid()")
            await database.fetchval("select pg_terminate_backend($1)", backend)
            await tx.fetchval("select 1")
    assert [] == await notes(database)


@pytest.mark.pg15
async def test_a_connection_lost_before_the_commit_is_told(database):
    """It is never taken for a success."""
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012  (the whole block is one unit)
        async with database.unit(OWNER) as tx:
            await tx.execute("insert into note values (1)")
            await database.fetchval("select pg_terminate_backend($1)", await tx.fetchval("select pg_backend_pid()"))
    assert [] == await notes(database)


async def test_a_forgotten_transaction_is_ended(core_dsn, log, eventually):
    """One that does nothing for ``statement_timeout`` seconds is ended by PostgreSQL and holds no locks any more."""
    pool = Pool(core_dsn, DataSettings(statement_timeout=0.3), log, Metrics())
    await pool.open()
    left = "select count(*) from pg_stat_activity where state like 'idle in transaction%'"
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012  (the whole block is one unit)
        async with pool.database("sleepy").unit(OWNER) as tx:
            await tx.execute("lock table core.person")
            await eventually(lambda: _none(pool, left))
    await pool.close()


async def _none(pool, sql: str) -> bool:
    return await pool.database("core").fetchval(sql) == 0


async def test_many_units_at_once_take_turns(database):
    """More than there are connections: all are done."""

    async def add(number: int) -> None:
        async with database.unit(OWNER) as tx:
            await tx.execute("insert into note values ($1)", number)

    await asyncio.gather(*(add(number) for number in range(50)))
    assert list(range(50)) == await notes(database)
