"""Events: one job for each recorded subscriber, in the transaction of what happened."""

from __future__ import annotations

from typing import ClassVar

import pytest
from attrs import frozen

from heartwood.contracts.events import Subscription
from heartwood.work.events import EventBus, NotAnEvent, event_handler, record_subscriptions
from heartwood.work.inspect import list_jobs


@frozen
class NoteWritten:
    event_name: ClassVar[str] = "notes.written"
    note: int


@frozen
class Nameless:
    note: int


async def index(_event: NoteWritten) -> None:
    """Be told."""


async def mirror(_event: NoteWritten) -> None:
    """Be told too."""


async def publish(desk, event) -> None:
    async with desk.notes.unit(desk.anna) as tx:
        await EventBus().publish(tx, event)


async def queued(desk) -> list[tuple[str, bytes]]:
    rows = await desk.core.fetch("select entrypoint, payload from queue.pgqueuer order by entrypoint")
    return [tuple(row) for row in rows]


@pytest.mark.pg15
async def test_each_recorded_subscriber_is_a_job_of_its_own(desk):
    """Also where its plugin does not run at the moment; who is not recorded gets nothing."""
    await record_subscriptions(desk.core, "search", [Subscription(NoteWritten, index)])
    await record_subscriptions(
        desk.core, "backup", [Subscription(NoteWritten, mirror), Subscription(NoteWritten, index)]
    )
    await publish(desk, NoteWritten(7))
    expected = ["backup.index@notes.written", "backup.mirror@notes.written", "search.index@notes.written"]
    assert [(name, b'{"note":7}') for name in expected] == await queued(desk)


async def test_an_event_that_is_rolled_back_never_happened(desk):
    """The jobs are part of the transaction."""
    await record_subscriptions(desk.core, "search", [Subscription(NoteWritten, index)])

    async def publish_and_fail():
        async with desk.notes.unit(desk.anna) as tx:
            await EventBus().publish(tx, NoteWritten(7))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await publish_and_fail()
    assert [] == await queued(desk)


async def test_a_subscriber_is_retried_alone_and_knows_for_whom(desk, working, eventually):
    """One that raises is told again under the same id, the other once; both act for who published."""
    told = []

    async def failing(_payload, run):
        told.append(("index", run.id, run.actor.name))
        if run.attempt == 1:
            raise RuntimeError

    async def calm(payload, run):
        told.append(("mirror", payload, run.actor.name))

    await record_subscriptions(
        desk.core, "notes", [Subscription(NoteWritten, index), Subscription(NoteWritten, mirror)]
    )
    handlers = [desk.handler(f"{name}@notes.written", call) for name, call in [("index", failing), ("mirror", calm)]]
    async with working(*handlers):
        await publish(desk, NoteWritten(7))
        await eventually(lambda: len(told) == 3)
    indexed = [entry for entry in told if entry[0] == "index"]
    assert indexed[0] == indexed[1]
    assert [("mirror", b'{"note":7}', "anna")] == [entry for entry in told if entry[0] == "mirror"]


async def test_recording_replaces_what_a_plugin_was_told_of(desk):
    """A handler that is gone from the code is told nothing more; other plugins keep theirs."""
    await record_subscriptions(desk.core, "search", [Subscription(NoteWritten, index)])
    await record_subscriptions(desk.core, "backup", [Subscription(NoteWritten, index)])
    await record_subscriptions(desk.core, "search", [Subscription(NoteWritten, mirror)])
    await record_subscriptions(desk.core, "backup", [])
    rows = await desk.core.fetch("select event, plugin, handler from core.subscription")
    assert [("notes.written", "search", "mirror")] == [tuple(row) for row in rows]


async def test_a_job_without_a_subscriber_says_so(desk):
    """What waits for a subscriber that was removed is not run by anybody; the list of jobs says so, and what to do."""
    await record_subscriptions(
        desk.core, "search", [Subscription(NoteWritten, index), Subscription(NoteWritten, mirror)]
    )
    await publish(desk, NoteWritten(7))
    await record_subscriptions(desk.core, "search", [Subscription(NoteWritten, mirror)])
    reasons = {job.name: job.reason for job in (await list_jobs(desk.core)).items}
    gone = "no plugin has this subscriber or schedule any more: cancel it"
    assert {"search.index@notes.written": gone, "search.mirror@notes.written": None} == reasons


async def test_a_class_without_a_name_is_no_event(desk):
    """The sentence says what to write; nothing is published or recorded."""
    sentence = r"Nameless is no event: give it event_name: ClassVar\[str\] = '<prefix>.<what happened>'"
    with pytest.raises(NotAnEvent, match=sentence):
        await publish(desk, Nameless(1))
    with pytest.raises(NotAnEvent, match=sentence):
        await record_subscriptions(desk.core, "search", [Subscription(Nameless, index)])


async def test_two_handlers_of_one_name_are_refused(desk):
    """They could not be told apart in the queue."""
    with pytest.raises(NotAnEvent, match=r"plugin 'search': two handlers called 'index' subscribe to 'notes.written'"):
        await record_subscriptions(desk.core, "search", [Subscription(NoteWritten, index)] * 2)


def test_a_subscribers_job_has_the_name_that_is_recorded():
    """What is enqueued is what the worker serves."""
    handler = event_handler("search", Subscription(NoteWritten, index), index)
    assert "search.index@notes.written" == handler.name
