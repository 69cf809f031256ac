"""One route from the credential to the answer."""

from __future__ import annotations

import asyncio
import importlib

import asyncpg
import pytest

from heartwood.contracts.data import Stored
from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.contracts.permissions import PUBLIC
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.plugins.records import State

READER = {"Authorization": "Bearer reader"}
STRANGER = {"Authorization": "Bearer stolen"}


@pytest.fixture(name="database")
async def _database(dsn, site):
    """The way to a database with the core tables and one table to write to."""
    connection = await asyncpg.connect(dsn)
    revision = importlib.import_module("heartwood.migrations.versions.0001_core")
    await connection.execute(
        f"create schema core; {revision.CORE}; create schema notes; create table notes.note (t text)"
    )
    await connection.close()
    pool = Pool(dsn, DataSettings(), site.log, site.metrics)
    await pool.open()
    yield pool.database("notes")
    await pool.close()


async def _fine(_):
    return {"ok": True}


async def _write(visit):
    await visit.tx.execute("insert into notes.note values ($1)", (visit.body or b"").decode())
    return {"written": True}


@pytest.mark.parametrize(
    ("headers", "permission", "status"),
    [
        (STRANGER, "notes.read", 401),
        (READER, "notes.read", 200),
        (READER, "notes.write", 403),
        (READER, "notes.unheard-of", 403),
        (STRANGER, PUBLIC, 200),
    ],
)
async def test_only_who_holds_the_permission_gets_through(site, headers, permission, status):
    """Nobody known is 401, known without the permission is 403, and a public route asks nothing."""
    site.add("GET", "/x", _fine, permission)
    await site.start()

    assert status == (await site.ask("GET", "/business/notes/x", headers=headers)).status


async def test_a_public_route_answers_while_nobody_can_be_known(site, monkeypatch):
    """A token cannot be looked up without the database: who needs none is served, all others are told to come again."""

    async def away(_authorization):
        msg = "PostgreSQL is away"
        raise DatabaseUnavailable(msg)

    monkeypatch.setattr(site.mount._identity, "authenticate", away)
    site.add("GET", "/open", _fine, PUBLIC)
    site.add("GET", "/closed", _fine)
    await site.start()

    assert 200 == (await site.ask("GET", "/business/notes/open")).status
    assert 503 == (await site.ask("GET", "/business/notes/closed")).status


async def test_the_permission_is_asked_before_the_body_is_read(site):
    """Who may not do it is told so without the body having been looked at."""
    called = []

    async def handler(_):
        called.append(1)

    site.add("POST", "/x", handler, "notes.write", body=True, transaction=False, body_limit=3)
    await site.start()

    assert 403 == (await site.ask("POST", "/business/notes/x", data=b"far too long", headers=READER)).status
    assert [] == called


@pytest.mark.parametrize(
    ("state", "label"),
    [
        (State.FAILED, "failed"),
        (State.RETRYING, "retrying(0)"),
        (State.DISABLED, "disabled"),
        (State.STOPPED, "stopped"),
    ],
)
async def test_a_plugin_that_does_not_serve_is_named(site, state, label):
    """All its paths answer 503 with its name and state; the reason is for people who are known."""
    site.add("GET", "/x", _fine)
    await site.start()
    site.record.state, site.record.reason = state, "the reason"

    for path in ("/business/notes/x", "/business/notes", "/business/notes/unknown/path"):
        known = await site.ask("GET", path)
        unknown = await site.ask("GET", path, headers=STRANGER)
        assert (503, "notes") == (known.status, known.json["owner"])
        assert f"Plugin 'notes' is {label}: the reason" == known.json["detail"]
        assert f"Plugin 'notes' is {label}" == unknown.json["detail"]
        assert "5" == known.headers["Retry-After"]


async def test_a_plugin_that_comes_up_later_serves(site):
    """The gate looks at the state of the moment."""
    site.add("GET", "/x", _fine)
    site.record.state = State.RETRYING
    await site.start()
    assert 503 == (await site.ask("GET", "/business/notes/x")).status

    site.record.state = State.RUNNING

    assert 200 == (await site.ask("GET", "/business/notes/x")).status


async def test_a_commit_comes_before_the_answer(site, database, dsn):
    """What a 2xx speaks of can be read by somebody else."""
    site.add("POST", "/x", _write, body=True, database=database)
    await site.start()

    assert 200 == (await site.ask("POST", "/business/notes/x", data=b"hello")).status

    connection = await asyncpg.connect(dsn)
    assert "hello" == await connection.fetchval("select t from notes.note")
    await connection.close()


@pytest.mark.parametrize("mistake", ["raise", "answer"])
async def test_a_handler_that_fails_leaves_nothing_behind(site, database, mistake):
    """An error, or an answer that is no JSON, undoes the transaction."""

    async def handler(visit):
        await _write(visit)
        if mistake == "raise":
            raise ZeroDivisionError
        return object()

    site.add("POST", "/x", handler, body=True, database=database)
    await site.start()

    assert 500 == (await site.ask("POST", "/business/notes/x", data=b"hello")).status
    assert [] == await database.fetch("select * from notes.note")


async def test_a_request_with_its_key_is_done_once(site, database):
    """The second time the first answer comes back, marked as such; another body under the key is refused."""
    site.add("POST", "/x", _write, body=True, database=database)
    await site.start()
    key = {"Idempotency-Key": "k1"}

    first = await site.ask("POST", "/business/notes/x", data=b"a", headers=key)
    second = await site.ask("POST", "/business/notes/x", data=b"a", headers=key)
    other = await site.ask("POST", "/business/notes/x", data=b"b", headers=key)

    assert (200, {"written": True}, None) == (first.status, first.json, first.headers.get("Idempotency-Replayed"))
    assert (200, {"written": True}, "true") == (second.status, second.json, second.headers["Idempotency-Replayed"])
    assert 422 == other.status
    assert 1 == await database.fetchval("select count(*) from notes.note")


async def test_a_key_counts_for_one_person_and_one_path(site, database):
    """The same key of another person, or below another path, is another request."""
    site.add("POST", "/{id}", _write, body=True, database=database)
    await site.start()

    for path, token in (("1", "writer"), ("2", "writer"), ("1", "reader")):
        headers = {"Idempotency-Key": "k1", "Authorization": f"Bearer {token}"}
        answer = await site.ask("POST", f"/business/notes/{path}", data=b"a", headers=headers)
        assert "Idempotency-Replayed" not in answer.headers

    assert 3 == await database.fetchval("select count(*) from notes.note")


async def test_an_answer_without_body_can_be_repeated(site, database):
    """A repeated 204 is a 204."""

    async def delete(visit):
        await _write(visit)

    site.add("DELETE", "/x", delete, database=database)
    await site.start()

    answers = [await site.ask("DELETE", "/business/notes/x", headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert [204, 204] == [answer.status for answer in answers]
    assert 1 == await database.fetchval("select count(*) from notes.note")


async def test_a_key_still_in_use_is_a_conflict(site, database):
    """While the first request runs, a second one with its key is told to come back."""
    running, release = asyncio.Event(), asyncio.Event()

    async def slow(visit):
        running.set()
        await release.wait()
        return await _write(visit)

    site.add("POST", "/x", slow, body=True, database=database)
    await site.start()
    key = {"Idempotency-Key": "k"}

    first = asyncio.create_task(site.ask("POST", "/business/notes/x", headers=key))
    await running.wait()
    second = await site.ask("POST", "/business/notes/x", headers=key)
    release.set()

    assert 409 == second.status
    assert 200 == (await first).status


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_a_key_has_a_length(site, database, key):
    """An empty or endless key is a fault of the request."""
    site.add("POST", "/x", _write, body=True, database=database)
    await site.start()

    answer = await site.ask("POST", "/business/notes/x", headers={"Idempotency-Key": key})

    assert (422, "Idempotency-Key") == (answer.status, answer.json["faults"][0]["where"])


async def test_a_raw_route_may_repeat_an_answer_too(site, database):
    """What a raw handler keeps with ``tx.remember`` in a unit with a key is sent by the kernel the second time."""
    from aiohttp import web

    async def upload(visit):
        async with database.unit(visit.actor, visit.request.headers["Idempotency-Key"]) as tx:
            await tx.execute("insert into notes.note values ('x')")
            tx.remember(Stored(202, b'{"id":1}', {"Location": "/x/1"}))
        return web.Response(status=202, body=b'{"id":1}')

    site.add("POST", "/x", upload, raw=True)
    await site.start()
    key = {"Idempotency-Key": "k"}

    first = await site.ask("POST", "/business/notes/x", headers=key)
    second = await site.ask("POST", "/business/notes/x", headers=key)

    assert 202 == first.status
    assert (202, {"id": 1}, "/x/1") == (second.status, second.json, second.headers["Location"])
    assert 1 == await database.fetchval("select count(*) from notes.note")


async def test_an_error_of_the_database_is_not_the_plugins(site):
    """A lost connection that nobody translated is 503 and no crash of the plugin."""

    async def handler(_):
        msg = "the server is going down"
        raise asyncpg.AdminShutdownError(msg)

    site.add("GET", "/x", handler)
    await site.start()

    answer = await site.ask("GET", "/business/notes/x")

    assert (503, "urn:heartwood:problem:database-unavailable") == (answer.status, answer.json["type"])
    assert 0 == len(site.record.failures)
