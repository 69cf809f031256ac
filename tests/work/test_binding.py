"""Handlers of jobs and events: what they may ask for, and what they are given."""

from __future__ import annotations

from typing import Protocol

import pytest
from attrs import frozen

from heartwood.contracts.data import Database, Transaction
from heartwood.contracts.jobs import JobRun
from heartwood.contracts.people import Actor
from heartwood.plugins.binding import Binder, CannotBind
from heartwood.plugins.services import ServiceCatalog
from heartwood.work.binding import bind_job


@frozen
class ReadNote:
    note: int
    deep: bool = False


class Ink(Protocol):
    """A service of the test."""


@pytest.fixture(name="bound")
def _bound(pool):
    """``bound(handler)`` is the handler bound as plugin ``notes`` has it, where services are the database and ink."""
    catalog = ServiceCatalog()
    catalog.provide(Database, pool.database)
    catalog.provide(Ink, lambda consumer: f"ink of {consumer}")
    return lambda handler, **more: bind_job("notes", handler, Binder(catalog), **more)


async def test_a_handler_is_given_what_it_asks_for(desk, working, bound, eventually):
    """Payload, attempt, actor, transaction and services, in any order and under any name but the payload's."""
    seen = []

    async def read(
        ink: Ink, who: Actor, payload: ReadNote, tx: Transaction, *, database: Database, run: JobRun
    ) -> None:
        await tx.execute("insert into result values ($1, $2, $3)", run.id, run.attempt, str(payload.note))
        seen.append((ink, who.name, payload, tx.plugin, await database.fetchval("select 1")))

    async with working(desk.handler("read", bound(read))):
        job = await desk.enqueue("read", ReadNote(7))
        await eventually(lambda: desk.ended(job))
    assert [("ink of notes", "anna", ReadNote(7), "notes", 1)] == seen
    assert [(job, 1, "7")] == await desk.results()


async def test_a_handler_may_ask_for_nothing(desk, working, bound, eventually):
    """What is not asked for is not made: no transaction, no payload."""
    ran = []

    async def read() -> None:
        ran.append(1)

    async with working(desk.handler("read", bound(read))):
        await desk.enqueue("read", ReadNote(7))
        await eventually(lambda: ran)


async def test_an_event_is_given_under_its_name(desk, working, bound, eventually):
    """A subscriber asks for ``event`` as a job asks for ``payload``."""
    seen = []

    async def index(event: ReadNote) -> None:
        seen.append(event)

    async with working(desk.handler("index", bound(index, payload="event"))):
        await desk.enqueue("index", ReadNote(7, deep=True))
        await eventually(lambda: seen)
    assert [ReadNote(7, deep=True)] == seen


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"note": "seven"}', "the payload is not a ReadNote: note: expected int, got str 'seven'"),
        (b"{", "the payload is not a ReadNote: "),
        (None, "the payload is not a ReadNote: "),
    ],
)
async def test_a_payload_of_another_shape_is_dead_at_once(desk, working, bound, eventually, *, payload, reason):
    """Trying again would not make it readable; the reason says which field is wrong, and the handler never ran."""

    async def read(payload: ReadNote) -> None:
        raise AssertionError(payload)

    async with working(desk.handler("read", bound(read))):
        job = await desk.enqueue("read", payload)
        await eventually(lambda: desk.dead(job))
    row = await desk.row(job)
    assert row["reason"].startswith(reason)
    assert 1 == row["attempts"]


async def nameless(whatever: ReadNote) -> None:
    """Ask under a name that is nobody's."""


async def plain(payload: int) -> None:
    """Ask for a payload that is no attrs class."""


async def event(event: ReadNote) -> None:
    """Ask for an event in a job."""


@pytest.mark.parametrize(("handler", "name"), [(nameless, "whatever"), (plain, "payload"), (event, "event")])
def test_a_handler_that_asks_for_anything_else_is_refused(handler, name):
    """At the start, with the parameter's name and what there is."""
    sentence = rf"nothing can be given for the parameter '{name}'; a handler here takes `payload` \(an attrs class\)"
    with pytest.raises(CannotBind, match=sentence):
        bind_job("notes", handler, Binder(ServiceCatalog()))
