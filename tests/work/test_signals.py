"""Signals: at once in the process, soon in the others, lost rather than waited for."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from contextlib import AsyncExitStack

import pytest

from heartwood.contracts.events import Signal
from heartwood.contracts.settings import Secret
from heartwood.work import signals
from heartwood.work.signals import SignalBus, SignalTooLarge, Stream


@pytest.fixture(name="buses")
async def _buses(pool, log):
    """``await buses(redis_url=None)`` makes the bus of one more process, which runs until the test ends."""
    async with AsyncExitStack() as stack:

        async def make(redis_url=None) -> SignalBus:
            bus = SignalBus(pool, log, redis_url)
            await stack.enter_async_context(bus.running())
            return bus

        yield make


async def heard(stream, number: int = 1) -> list[Signal]:
    async with asyncio.timeout(5):
        return [await anext(stream) for _ in range(number)]


@pytest.mark.pg15
async def test_a_signal_is_heard_in_every_process_once(buses):
    """The sender's own listeners hear it at once, those of other processes soon, and nobody twice."""
    here, there = await buses(), await buses()
    async with here.listen("notes.changed") as near, there.listen("notes.changed") as far:
        here.send("notes.changed", {"note": 1})
        assert Signal("notes.changed", {"note": 1}) == near._queue.get_nowait()
        assert [Signal("notes.changed", {"note": 1})] == await heard(far)
        there.send("notes.changed", {"note": 2})
        assert [Signal("notes.changed", {"note": 2})] == await heard(far)
        assert [Signal("notes.changed", {"note": 2})] == await heard(near)


@pytest.mark.parametrize(
    ("topics", "topic", "expected"),
    [
        (("notes.changed",), "notes.changed", True),
        (("notes.changed",), "notes.changed.more", False),
        (("notes.*",), "notes.changed", True),
        (("notes.*",), "notes2.changed", False),
        (("*",), "anything", True),
        (("a", "notes.*"), "notes.changed", True),
        ((), "notes.changed", False),
    ],
)
def test_topics(topics, topic, expected):
    """A topic is itself, ``x.*`` is all of a plugin, ``*`` is all."""
    assert expected is Stream(topics).wants(topic)


async def test_a_slow_listener_loses_the_oldest(buses):
    """The sender never waits, and what is kept for a listener is bounded."""
    bus = await buses()
    async with bus.listen("*") as slow:
        for number in range(signals.WAITING + 10):
            bus.send("notes.changed", {"n": number})
        kept = await heard(slow, signals.WAITING)
    assert [*range(10, signals.WAITING + 10)] == [each.payload["n"] for each in kept]


async def test_who_has_stopped_listening_costs_nothing(buses):
    """After the context nothing is kept for the listener."""
    bus = await buses()
    async with bus.listen("*") as stream:
        pass
    bus.send("notes.changed", {})
    assert stream._queue.empty()
    assert not bus._streams


@pytest.mark.parametrize(("topic", "payload"), [("a", {"text": "x" * 4000}), ("t" * 201, {})])
async def test_a_signal_that_is_too_large_is_refused(buses, topic, payload):
    """The sentence says what to do instead, and nobody hears it."""
    bus = await buses()
    async with bus.listen("*") as stream:
        with pytest.raises(SignalTooLarge, match="send an id and let the listener ask"):
            bus.send(topic, payload)
        assert stream._queue.empty()


async def test_the_largest_signal_goes_through(buses):
    """4,000 bytes of payload and 200 characters of topic are within what PostgreSQL carries, quotes and all."""
    here, there = await buses(), await buses()
    topic, payload = "ü" * 200, {"q": '"' * 1_996}
    async with there.listen("*") as far:
        here.send(topic, payload)
        assert [Signal(topic, payload)] == await heard(far)


async def test_nonsense_on_the_channel_is_ignored(buses, desk):
    """Anybody with the database's password may say anything; the bus goes on."""
    bus = await buses()
    async with bus.listen("*") as stream:
        for text in ("", "{", "[]", "3", '{"from": "me"}'):
            await desk.core.execute("select pg_notify('heartwood_signal', $1)", text)
        (await buses()).send("notes.changed", {"note": 1})
        assert [Signal("notes.changed", {"note": 1})] == await heard(stream)


async def test_signals_go_on_after_postgresql_came_back(buses, eventually, crash_postgres):
    """What was sent meanwhile may be lost; then it is as before."""
    here, there = await buses(), await buses()
    async with there.listen("*") as far:
        await crash_postgres()

        async def arrives():
            here.send("notes.changed", {})
            await asyncio.sleep(0.05)
            return not far._queue.empty()

        await eventually(arrives, within=15)


@pytest.fixture(name="redis")
def _redis(tmp_path):
    """``redis()`` starts a redis-server on the test's socket; it is killed at the end. ``redis.url`` is its address."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    path, running = tmp_path / "redis.sock", []

    def start() -> subprocess.Popen:
        argv = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
        running.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=tmp_path))
        return running[-1]

    start.path, start.url = path, Secret(f"unix://{path}")
    yield start
    for each in running:
        each.kill()
        each.wait(10)


async def test_redis_carries_signals_and_may_die(buses, redis, eventually, monkeypatch, *, lines, desk):
    """While it answers PostgreSQL is not asked; when it is killed PostgreSQL takes over; one log line each way."""
    monkeypatch.setattr(signals, "REDIS_PAUSE", 0.05)
    server = redis()
    await eventually(redis.path.exists)  # who asks before that logs one line more
    here, there = await buses(redis.url), await buses(redis.url)
    told = []
    async with there.listen("*") as far, desk.core._pool.listener("heartwood_signal", told.append):
        await eventually(lambda: here._redis and there._redis)
        here.send("notes.changed", {"by": "redis"})
        assert [{"by": "redis"}] == [each.payload for each in await heard(far)]
        assert [] == told

        server.send_signal(signal.SIGKILL)
        await eventually(lambda: not here._redis and not there._redis)
        here.send("notes.changed", {"by": "postgresql"})
        assert [{"by": "postgresql"}] == [each.payload for each in await heard(far)]

        redis()
        await eventually(lambda: here._redis and there._redis)
        here.send("notes.changed", {"by": "redis again"})
        assert [{"by": "redis again"}] == [each.payload for each in await heard(far)]
    events = [line["event"] for line in lines if line["event"].startswith("signals.")]
    assert ["signals.redis_down"] * 2 + ["signals.redis_up"] * 2 == events
