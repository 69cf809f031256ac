"""How the whole hub answers: idempotency keys, HEAD, 404 and 405, and one request id wherever a request shows."""

from __future__ import annotations

import asyncio
import json

import pytest
from attrs import frozen

from heartwood.api import Migration, Permission, Plugin, Route, Transaction, hookimpl

PROBLEM = "application/problem+json"


@frozen
class Note:
    """What is written down."""

    text: str


class Notes(Plugin):
    """It writes down what it is sent, and can be held up while it does."""

    name = "notes"

    def __init__(self):
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    @hookimpl
    def tables(self):
        return [Migration("0001", "create table {schema}.note (text text)")]

    @hookimpl
    def permissions(self):
        return [Permission("notes.write", "Write and read notes.")]

    @hookimpl
    def routes(self):
        return [
            Route("POST", "", self.write, "notes.write", status=201),
            Route("GET", "/{number}", self.read, "notes.write"),
            Route("DELETE", "/{number}", self.crash, "notes.write"),
        ]

    async def write(self, body: Note, tx: Transaction) -> int:
        self.entered.set()
        await self.go_on.wait()
        await tx.execute("insert into notes.note values ($1)", body.text)
        await tx.audit("notes.write", "note", text=body.text)
        return await tx.fetchval("select count(*) from notes.note")

    async def read(self, number: int) -> Note:
        return Note("x" * number)

    async def crash(self, number: int) -> None:
        raise ZeroDivisionError


@pytest.fixture(name="hub")
async def _hub(hub_factory):
    return await hub_factory(plugins=[Notes])


async def write(hub, text, key=None):
    headers = {} if key is None else {"Idempotency-Key": key}
    async with hub.client.post("/business/notes", json={"text": text}, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers.get("Idempotency-Replayed")


def lines(hub, event):
    return [each for each in map(json.loads, hub.log.getvalue().splitlines()) if each["event"] == event]


async def test_an_idempotency_key(hub):
    """The same request is answered as before and not done again; another body is 422; a second at once is 409."""
    notes = hub.kernel.by_name["notes"].plugin
    assert (201, 1, None) == await write(hub, "once", "k1")
    assert (201, 1, "true") == await write(hub, "once", "k1")
    status, problem, _ = await write(hub, "other", "k1")
    assert 422 == status
    assert "used with another body" in problem["detail"]

    notes.entered.clear()
    notes.go_on.clear()
    first = asyncio.create_task(write(hub, "slow", "k2"))
    await asyncio.wait_for(notes.entered.wait(), 5)
    async with hub.client.post("/business/notes", json={"text": "slow"}, headers={"Idempotency-Key": "k2"}) as answer:
        assert (409, PROBLEM) == (answer.status, answer.content_type)
        assert int(answer.headers["Retry-After"]) >= 1
    notes.go_on.set()
    assert (201, 2, None) == await first
    assert (201, 2, "true") == await write(hub, "slow", "k2")
    assert (201, 3, None) == await write(hub, "once")


async def test_head_wherever_get_is(hub):
    """HEAD answers with the status and headers of GET, and without a body."""
    for path in ("/business/notes/7", "/business/plugins", "/business/health", "/business/openapi.json"):
        async with hub.client.get(path) as got, hub.client.head(path) as headed:
            assert got.status == headed.status
            assert b"" == await headed.read()
            if path != "/business/plugins":  # it has times of errors in it, and grows
                assert got.headers["Content-Length"] == headed.headers["Content-Length"], path


@pytest.mark.parametrize(
    ("method", "path", "status", "allow", "owner"),
    [
        ("GET", "/", 404, None, None),
        ("GET", "/nowhere", 404, None, None),
        ("GET", "/business", 404, None, None),
        ("GET", "/business/nothing", 404, None, None),
        ("GET", "/business/notes/seven", 404, None, "notes"),
        ("GET", "/business/notes/7/8", 404, None, "notes"),
        ("PUT", "/business/notes/7", 405, {"DELETE", "GET", "HEAD"}, "notes"),
        ("GET", "/business/notes", 405, {"POST"}, "notes"),
        ("DELETE", "/business/plugins", 405, {"GET", "HEAD"}, "core"),
        ("PROPFIND", "/business/health", 405, {"GET", "HEAD"}, "core"),
    ],
)
async def test_what_is_not_there(hub, *, method, path, status, allow, owner):
    """Unknown paths are 404 and known ones with another method 405 that lists the methods, both as problems."""
    async with hub.client.request(method, path) as answer:
        problem = await answer.json()

    assert (status, PROBLEM) == (answer.status, answer.content_type)
    assert (status, path, owner) == (problem["status"], problem["instance"], problem.get("owner"))
    assert allow == ({each.strip() for each in answer.headers["Allow"].split(",")} if allow else None)


async def test_one_request_id_everywhere(hub, eventually):
    """It stands in the answer's header, in the problem, in the access log, in the error's line and in the audit."""
    async with hub.client.post("/business/notes", json={"text": "audited"}) as written:
        written_id = written.headers["X-Request-ID"]
    async with hub.client.delete("/business/notes/1") as crashed:
        crashed_id, problem = crashed.headers["X-Request-ID"], await crashed.json()
    await eventually(lambda: len(lines(hub, "http.request")) == 2)

    select = "select request_id, person, actor, via, action from core.audit where action = 'notes.write'"
    audit = await hub.kernel.database("core").fetchrow(select)
    assert (written_id, 1, "owner", "local", "notes.write") == tuple(audit)
    assert (500, crashed_id) == (crashed.status, problem["request_id"])
    assert [written_id, crashed_id] == [each["request_id"] for each in lines(hub, "http.request")]
    assert [(crashed_id, "notes")] == [(each["request_id"], each["plugin"]) for each in lines(hub, "http.crashed")]
    assert written_id != crashed_id
