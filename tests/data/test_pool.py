"""The connections of one process: timed, shared out, cleaned, and back by themselves after a fault."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

import asyncpg
import psutil
import pytest

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.contracts.people import HUB
from heartwood.data import line as line_module
from heartwood.data.connections import leaves_traces
from heartwood.data.embedded import running_postgres
from heartwood.data.embedded.postmaster import find_postmaster
from heartwood.data.pool import Pool, _reads
from heartwood.data.settings import DataSettings
from heartwood.observe.metrics import Metrics

BUSY = "select pg_sleep(30)"


@contextlib.asynccontextmanager
async def open_pool(dsn, log, **settings):
    pool = Pool(dsn, DataSettings(**settings), log, Metrics())
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture(name="pool")
async def _pool(dsn, log):
    async with open_pool(dsn, log, pool_size=4, acquire_timeout=0.3) as pool:
        yield pool


async def backend_of(database, part: str) -> int | None:
    """Return the backend whose statement has ``part`` in it."""
    sql = "select pid from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()"
    return await database.fetchval(sql, f"%{part}%")


async def until_busy(pool, eventually, part: str) -> int:
    return await eventually(lambda: backend_of(pool.database("core"), part))


# Asking


@pytest.mark.pg15
async def test_the_five_ways_of_asking(pool):
    """Rows, a row, a value, a command tag, and one statement for many arguments."""
    database = pool.database("notes")
    assert "CREATE TABLE" == await database.execute("create table note (id int, text text)")
    await database.executemany("insert into note values ($1, $2)", [(1, "a"), (2, "b")])
    assert [(1, "a"), (2, "b")] == [tuple(row) for row in await database.fetch("select * from note order by id")]
    assert (2, "b") == tuple(await database.fetchrow("select * from note where id = $1", 2))
    assert await database.fetchrow("select * from note where id = 3") is None
    assert 2 == await database.fetchval("select count(*) from note")


async def test_json_is_plain_text(pool):
    """A jsonb column is read and written as text; who knows its type decodes it once."""
    database = pool.database("notes")
    assert '{"a": [1]}' == await database.fetchval("select $1::jsonb", '{"a": [1]}')


async def test_a_mistake_in_a_statement_stays_what_it_is(pool):
    """Only what trying again may cure becomes ``DatabaseUnavailable``."""
    with pytest.raises(asyncpg.UndefinedTableError):
        await pool.database("notes").fetch("select * from nothing")


@pytest.mark.pg15
async def test_sessions_have_a_name_and_limits(dsn, log):
    """PostgreSQL shows whose connection it is, and ends long statements and forgotten transactions itself."""
    async with open_pool(dsn, log, statement_timeout=7.0) as pool:
        names = "application_name", "statement_timeout", "idle_in_transaction_session_timeout", "timezone"
        shown = [await pool.database("core").fetchval(f"show {name}") for name in names]
    assert ["heartwood", "7s", "7s", "UTC"] == shown


async def test_a_statement_that_runs_too_long_is_ended(dsn, log):
    """The sentence names the setting, and the connection goes on working."""
    async with open_pool(dsn, log, statement_timeout=0.1) as pool:
        with pytest.raises(DatabaseUnavailable, match=r"data\.statement_timeout"):
            await pool.database("slow").fetch(BUSY)
        assert 1 == await pool.database("slow").fetchval("select 1")


async def test_waits_and_queries_are_timed_by_plugin(pool):
    """Each plugin has its own counts."""
    for _ in range(3):
        await pool.database("notes").fetchval("select 1")
    registry = pool.metrics.registry
    for family in ("heartwood_database_wait_seconds_count", "heartwood_database_query_seconds_count"):
        assert 3 == registry.get_sample_value(family, {"plugin": "notes"})


# Sharing


async def hold(pool, plugin: str, count: int, stack: contextlib.AsyncExitStack) -> None:
    for _ in range(count):
        database = pool.database(plugin)
        await stack.enter_async_context(database._connection(database._gates))


async def test_a_plugin_has_its_share(pool):
    """One that holds its share is refused more after ``acquire_timeout`` and named; the others are served."""
    async with contextlib.AsyncExitStack() as stack:
        await hold(pool, "greedy", 2, stack)
        with pytest.raises(DatabaseUnavailable, match=r"Plugin 'greedy' holds its share.*0\.3 s"):
            await pool.database("greedy").fetchval("select 1")
        assert 1 == await pool.database("modest").fetchval("select 1")
    assert 1 == await pool.database("greedy").fetchval("select 1")


async def test_all_plugins_together_leave_one_connection_to_the_kernel(pool):
    """Health and administration answer while plugins hold whatever they can."""
    async with contextlib.AsyncExitStack() as stack:
        await hold(pool, "greedy", 2, stack)
        await hold(pool, "gluttonous", 1, stack)
        with pytest.raises(DatabaseUnavailable, match="No connection came free within"):
            await pool.database("gluttonous").fetchval("select 1")
        assert 1 == await pool.database("core").fetchval("select 1")


async def test_whoever_waits_is_served_when_one_comes_free(pool):
    """Waiting ends well where somebody gives a connection back in time."""
    async with contextlib.AsyncExitStack() as stack:
        await hold(pool, "greedy", 2, stack)
        waiting = asyncio.create_task(pool.database("greedy").fetchval("select 1"))
        await asyncio.sleep(0)
    assert 1 == await waiting


async def test_no_more_connections_than_the_setting(pool):
    """However many ask at once, ``pool_size`` connections and the one that listens are made."""
    database = pool.database("core")
    await asyncio.gather(*(database.fetchval("select pg_sleep(0.02)") for _ in range(20)))
    sql = "select count(*) from pg_stat_activity where datname = current_database()"
    assert 4 + 1 == await database.fetchval(sql)


async def test_a_refused_wait_leaves_nothing_taken(pool):
    """After refusals, and after waits that were cancelled, everything can still be had."""
    async with contextlib.AsyncExitStack() as stack:
        await hold(pool, "greedy", 2, stack)
        waits = [asyncio.create_task(pool.database("greedy").fetchval("select 1")) for _ in range(6)]
        await asyncio.sleep(0)
        for wait in waits[::2]:
            wait.cancel()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
    assert {asyncio.CancelledError, DatabaseUnavailable} == {type(outcome) for outcome in outcomes}
    async with contextlib.AsyncExitStack() as stack:
        await hold(pool, "greedy", 2, stack)
        await hold(pool, "modest", 1, stack)
        await hold(pool, "core", 1, stack)


# Cleaning


@pytest.mark.parametrize(
    "sql",
    [
        "set search_path to x",
        "select 1; set role x",
        "-- why\nlisten x",
        "/* why */ reset all",
        "declare c cursor with hold for select 1",
        "select set_config('a.b', 'c', false)",
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock_shared(1)",
        "do $$ begin end $$",
    ],
)
def test_statements_that_change_the_session_are_known(sql):
    """After them the connection is made as new."""
    assert leaves_traces(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "update a.b\nset c = 1",
        "set local lock_timeout = 1",
        "select pg_advisory_xact_lock(1)",
        "select pg_try_advisory_xact_lock(1)",
        "with x as (select 1) select * from x",
        "insert into a.b (calls) values (1)",
    ],
)
def test_others_are_not_taken_for_such(sql):
    """After them the round trip of a reset is saved."""
    assert not leaves_traces(sql)


@pytest.mark.pg15
async def test_nobody_finds_what_another_left_in_the_session(pool):
    """Settings and session locks are undone before somebody else gets the connection."""
    database = pool.database("core")
    backend = await database.fetchval("select pg_backend_pid()")
    await database.execute("set search_path to nowhere")
    await database.execute("select pg_advisory_lock(42)")
    async with database.unit(HUB) as tx:
        await tx.connection.execute("set statement_timeout = 1")
    assert backend == await database.fetchval("select pg_backend_pid()")
    assert ('"$user", public', "30s") == tuple(
        await database.fetchrow("select current_setting('search_path'), current_setting('statement_timeout')")
    )
    held = "select count(*) from pg_locks where locktype = 'advisory' and pid = $1"
    assert 0 == await database.fetchval(held, backend)


async def test_a_cancelled_query_spoils_nothing(pool, eventually):
    """Whoever is cancelled in the middle of a query leaves a connection that works."""
    database = pool.database("core")
    asking = asyncio.create_task(database.fetch(BUSY))
    await until_busy(pool, eventually, BUSY)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [1] * 8 == await asyncio.gather(*(database.fetchval("select 1") for _ in range(8)))


# Faults


@pytest.mark.pg15
async def test_a_read_whose_connection_is_cut_is_asked_again(pool, eventually):
    """Outside of a transaction a ``select`` is retried once, on another connection."""
    asking = asyncio.create_task(
        pool.database("notes").fetchval("select pg_backend_pid() from pg_sleep(0.3) as cut_me")
    )
    backend = await until_busy(pool, eventually, "cut_me")
    await pool.database("core").fetchval("select pg_terminate_backend($1)", backend)
    assert backend != await asking


@pytest.mark.parametrize(
    ("sql", "twice"),
    [
        ("select 1", True),
        ("  SELECT count(*) from core.person p join notes.note n on (true)", True),
        ("select lower(t.text) from notes.note as t where t.id in (select 1)", True),
        ("insert into notes.note values (1)", False),
        ("select notes.spend(1)", False),
        ('select "notes" . "spend" (1)', False),
        ("select nextval('notes.seen')", False),
        ("select pg_notify('a', 'b')", False),
        ("select pg_try_advisory_lock(1)", False),
    ],
)
def test_what_may_write_is_not_asked_again(sql, twice):
    """A select that calls a function of a schema, or one of PostgreSQL's that leaves something, may have done it."""
    assert twice == _reads(sql)


async def test_a_write_whose_connection_is_cut_is_not(pool, eventually):
    """It may have taken effect, so whoever asked must know."""
    await pool.database("notes").execute("create table note (id int)")
    write = "insert into note select 1 from pg_sleep(30)"
    asking = asyncio.create_task(pool.database("notes").execute(write))
    backend = await until_busy(pool, eventually, "insert into note")
    await pool.database("core").fetchval("select pg_terminate_backend($1)", backend)
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL is away"):
        await asking


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("begin; set transaction read only; create table a ()", "read-only"),
        ("do $$ begin raise exception using errcode = '40P01'; end $$", "waiting for each other"),
        ("do $$ begin raise exception using errcode = '40001'; end $$", "serialize"),
        ("do $$ begin raise exception using errcode = '53100'; end $$", "no disk space"),
        ("do $$ begin raise exception using errcode = '53300'; end $$", "max_connections"),
    ],
)
async def test_what_may_work_a_little_later_is_unavailable(sql, message, pool):
    """A full disk, a read-only server, a deadlock: 503 with a sentence, and soon again."""
    with pytest.raises(DatabaseUnavailable, match=message) as caught:
        await pool.database("notes").execute(sql)
    assert 1 == caught.value.retry_after
    assert 1 == await pool.database("notes").fetchval("select 1")


async def test_a_server_that_is_not_there_is_named_at_the_start(tmp_path, log):
    """``open`` waits ``acquire_timeout`` for it and then says what is wrong."""
    pool = Pool(f"postgresql://a@/b?host={tmp_path}", DataSettings(acquire_timeout=0.2), log, Metrics())
    with pytest.raises(DatabaseUnavailable, match=r"gave no connection: .*data\.database_url"):
        await pool.open()


async def test_a_refusal_at_the_start_is_not_waited_for(dsn, log):
    """A role or database that does not exist will not come by waiting."""
    started = time.monotonic()
    pool = Pool(dsn.replace("postgres@", "stranger@"), DataSettings(acquire_timeout=60), log, Metrics())
    with pytest.raises(DatabaseUnavailable, match='role "stranger" does not exist'):
        await pool.open()
    assert time.monotonic() - started < 30


@pytest.mark.pg15
async def test_a_killed_server_costs_some_503_and_two_lines(cluster_places, binaries, log, lines, eventually):
    """Kill -9: those who ask get ``DatabaseUnavailable``, then everything works again; one line each way."""
    folder = cluster_places.data_dir / f"pg{binaries.major}"
    async with (
        running_postgres(DataSettings(), cluster_places, log, binaries=binaries) as dsn,
        contextlib.AsyncExitStack() as stack,
    ):
        pool = await stack.enter_async_context(open_pool(dsn, log))
        heard, standing = [], []
        await stack.enter_async_context(
            pool.listener(
                "topic",
                heard.append,
                on_connected=lambda: standing.append("connected"),
                on_lost=lambda: standing.append("lost"),
            )
        )
        database = pool.database("notes")
        in_flight = asyncio.create_task(database.fetchval(BUSY))
        await until_busy(pool, eventually, BUSY)
        os.kill(find_postmaster(folder).pid, signal.SIGKILL)
        with pytest.raises(DatabaseUnavailable):
            await in_flight
        await eventually(lambda: pool.state == "down")
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="PostgreSQL is away") as caught:
            await database.fetchval("select 1")
        assert time.monotonic() - started < 3
        assert caught.value.retry_after
        await eventually(lambda: pool.state == "up", within=30)
        assert [1] * 20 == await asyncio.gather(*(database.fetchval("select 1") for _ in range(20)))
        await database.execute("notify topic, 'after'")
        await eventually(lambda: heard)
    assert ["after"] == heard
    assert ["connected", "lost", "connected"] == standing
    events = [entry["event"] for entry in lines if entry["event"].startswith("database.")]
    assert ["database.down", "database.up"] == events


async def test_a_frozen_server_hangs_nobody(cluster_places, binaries, log, lines, *, eventually, monkeypatch):
    """A server that takes connections and answers nothing counts as away: whoever waits is told, new ones at once."""
    monkeypatch.setattr(line_module, "PROBE_EVERY", 0.2)
    monkeypatch.setattr(line_module, "PROBE_TIMEOUT", 0.3)
    folder = cluster_places.data_dir / f"pg{binaries.major}"
    async with (
        running_postgres(DataSettings(), cluster_places, log, binaries=binaries) as dsn,
        open_pool(dsn, log) as pool,
    ):
        database = pool.database("notes")
        await database.fetchval("select 1")
        postmaster = psutil.Process(find_postmaster(folder).pid)
        frozen = [postmaster, *postmaster.children(recursive=True)]
        for process in frozen:
            process.suspend()
        with pytest.raises(DatabaseUnavailable):
            await database.fetchval("select 1")
        assert "down" == pool.state
        for process in frozen:
            process.resume()
        await eventually(lambda: pool.state == "up")
        assert 1 == await database.fetchval("select 1")
    assert ["database.down", "database.up"] == [entry["event"] for entry in lines]


# Listening


@pytest.mark.pg15
async def test_a_listener_hears_its_channel_only(pool, eventually):
    """Until its context ends; the name of a channel may be anything."""
    heard = []
    async with pool.listener('my "channel"', heard.append):
        await pool.database("core").execute('notify other, \'no\'; notify "my ""channel""", \'yes\'')
        await eventually(lambda: heard)
    await pool.database("core").execute('notify "my ""channel""", \'later\'')
    async with pool.listener("last", heard.append):
        await pool.database("core").execute("notify last, 'last'")
        await eventually(lambda: heard[-1] == "last")
    assert ["yes", "last"] == heard


async def test_a_raising_listener_is_logged_and_the_others_are_told(pool, lines, eventually):
    """One bad callback costs nobody else a notification."""
    heard = []
    async with pool.listener("topic", lambda _: 1 / 0), pool.listener("topic", heard.append):
        await pool.database("core").execute("notify topic, 'a'")
        await eventually(lambda: heard)
    assert ["database.listener_failed"] == [entry["event"] for entry in lines]


async def test_a_cut_line_is_no_outage(pool, lines, eventually):
    """Where only the listening connection is lost it listens again at once, and nothing is reported as down."""
    heard, standing = [], []
    database = pool.database("core")
    async with pool.listener(
        "topic", heard.append, on_connected=lambda: standing.append(1), on_lost=lambda: standing.append(0)
    ):
        await database.fetch("select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%'")
        await eventually(lambda: standing == [1, 0, 1])
        await database.execute("notify topic, 'again'")
        await eventually(lambda: heard == ["again"])
    assert [] == lines


async def test_a_connection_of_ones_own_holds_session_locks(pool):
    """It is outside of the pool and keeps what it locks until it is closed."""
    mine = await pool.connect()
    await mine.execute("select pg_advisory_lock(7)")
    other = pool.database("core")
    assert not await other.fetchval("select pg_try_advisory_xact_lock(7)")
    await mine.close()
    assert await other.fetchval("select pg_try_advisory_xact_lock(7)")
