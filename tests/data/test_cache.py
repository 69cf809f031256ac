"""The cache: it forgets in time, and a Redis that dies costs nothing but what it held."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import time

import pytest
import structlog

from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.settings import Secret
from heartwood.data import cache as caches
from heartwood.data.cache import MemoryCache, open_cache
from heartwood.data.settings import DataSettings


class Server:
    """A redis-server of this test, on a socket of its own."""

    def __init__(self, folder) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.process = None

    def start(self) -> None:
        argv = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=self.socket.parent)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
            client.sendall(b"PING\r\n")
            return client.recv(7) == b"+PONG\r\n"

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(10)


@pytest.fixture(name="redis")
def _redis(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(name="log")
def _log():
    """A logger, and the list of the events that it was told."""
    events = []

    def keep(_logger, _name, event):
        events.append(event["event"])
        raise structlog.DropEvent

    logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[keep])
    return logger, events


@pytest.fixture(name="quick")
def _quick(monkeypatch):
    """Look for a lost Redis often."""
    monkeypatch.setattr(caches, "RETRY_AFTER", 0.02)


@pytest.fixture(params=["memory", "redis"], name="settings")
def _settings(request):
    if request.param == "memory":
        return DataSettings()
    return DataSettings(redis_url=Secret(request.getfixturevalue("redis").url))


@pytest.fixture(name="cache")
async def _cache(settings, log):
    cache = open_cache(settings, log[0])
    yield cache
    await cache.close()


async def test_what_is_set_is_got_until_it_is_deleted(cache):
    """Any bytes come back unchanged, a later value replaces an earlier one, and a deleted key is forgotten."""
    assert await cache.get("a") is None

    await cache.set("a", b"one", ttl=60)
    await cache.set("a", bytes(range(256)), ttl=60)
    assert bytes(range(256)) == await cache.get("a")

    await cache.delete("a")
    await cache.delete("a")
    assert await cache.get("a") is None


async def test_a_value_is_forgotten_after_its_time(cache, eventually):
    """Nothing is given out after ``ttl`` seconds, and a time of zero keeps nothing."""
    await cache.set("short", b"x", ttl=0.05)
    await cache.set("long", b"x", ttl=60)
    await cache.set("none", b"x", ttl=60)
    await cache.set("none", b"y", ttl=0)

    async def forgotten():
        return await cache.get("short") is None

    await eventually(forgotten)
    assert b"x" == await cache.get("long")
    assert await cache.get("none") is None


async def test_the_least_recently_used_goes_first():
    """The process keeps at most so many bytes; what was asked for last stays longest."""
    cache = MemoryCache(limit=30)
    for key in "abc":
        await cache.set(key, b"123456789", ttl=60)
    assert b"123456789" == await cache.get("a")

    await cache.set("d", b"123456789", ttl=60)
    await cache.set("e", b"x" * 30, ttl=60)

    assert ["a", "c", "d"] == [key for key in "abcde" if await cache.get(key)]


async def test_the_memory_of_forgotten_values_is_free_again():
    """Replaced, deleted and expired values do not count."""
    now = [0.0]
    cache = MemoryCache(limit=30, clock=lambda: now[0])
    for ttl in (1, 2, 60):
        await cache.set("a", b"x" * 20, ttl=ttl)
    await cache.delete("a")
    await cache.set("b", b"x" * 20, ttl=1)
    now[0] = 1.0
    assert await cache.get("b") is None

    await cache.set("c", b"x" * 14, ttl=60)
    await cache.set("d", b"x" * 14, ttl=60)

    assert ["c", "d"] == [key for key in "abcd" if await cache.get(key)]


async def test_a_killed_redis_costs_nothing_but_the_cache(redis, log, quick, eventually):
    """After kill -9 nothing raises, and once it is back it is used again; there is one log line each way."""
    logger, events = log
    cache = open_cache(DataSettings(redis_url=Secret(redis.url)), logger)
    await cache.set("a", b"1", ttl=60)

    redis.kill()
    answers = await asyncio.gather(*(cache.get("a") for _ in range(100)))
    await cache.set("a", b"2", ttl=60)
    await cache.delete("a")
    assert [None] * 100 == answers
    assert ["cache.redis_lost"] == events

    redis.start()
    await eventually(lambda: events[-1] == "cache.redis_back")
    await cache.set("a", b"3", ttl=60)
    assert b"3" == await cache.get("a")
    assert ["cache.redis_lost", "cache.redis_back"] == events
    await cache.close()


async def test_a_redis_that_hangs_is_waited_for_once(redis, log, eventually):
    """A server that takes connections and never answers costs the first request a moment and the next ones nothing."""
    logger, events = log
    cache = open_cache(DataSettings(redis_url=Secret(redis.url)), logger)
    await cache.set("a", b"1", ttl=60)
    redis.kill(signal.SIGSTOP)

    started = time.monotonic()
    for _ in range(200):
        assert await cache.get("a") is None
    taken = time.monotonic() - started

    redis.kill(signal.SIGCONT)
    assert taken < 3, "200 requests waited one after the other"
    assert ["cache.redis_lost"] == events
    await eventually(lambda: events[-1] == "cache.redis_back")
    assert b"1" == await cache.get("a")
    await cache.close()


async def test_what_changed_while_redis_was_away_is_not_stale(redis, log, quick, eventually):
    """A value that was deleted or replaced during the absence does not come back as it was; other keys stay alone."""
    logger, events = log
    cache = open_cache(DataSettings(redis_url=Secret(redis.url)), logger)
    for number in range(2500):
        await cache.set(f"k{number}", b"old", ttl=600)
    await cache._client.set("another-program", b"kept")
    redis.kill(signal.SIGSTOP)
    await cache.get("k0")
    await cache.delete("k1")
    await cache.set("k2", b"new", ttl=600)
    redis.kill(signal.SIGCONT)

    await eventually(lambda: events[-1] == "cache.redis_back")

    assert [None] * 3 == [await cache.get(key) for key in ("k1", "k2", "k2499")]
    assert b"kept" == await cache._client.get("another-program")
    await cache.close()


async def test_a_redis_that_is_full_is_one_log_line(tmp_path, redis, log, quick, eventually):
    """A server that refuses writes is left alone until it takes them, without a line for every try."""
    logger, events = log
    cache = open_cache(DataSettings(redis_url=Secret(redis.url)), logger)
    await cache._client.config_set("maxmemory", "1")

    await cache.set("a", b"1", ttl=60)
    await eventually(lambda: events == ["cache.redis_lost"])
    await asyncio.gather(*(cache.set("a", b"1", ttl=60) for _ in range(20)))
    tries = caches.RETRY_AFTER * 10
    with pytest.raises(AssertionError):
        await eventually(lambda: len(events) > 1, within=tries)

    await cache._client.config_set("maxmemory", "0")
    await eventually(lambda: events == ["cache.redis_lost", "cache.redis_back"])
    await cache.close()


async def test_closing_while_redis_is_away_ends_the_look(redis, log):
    """No task is left behind."""
    cache = open_cache(DataSettings(redis_url=Secret(redis.url)), log[0])
    redis.kill()
    await cache.get("a")
    assert 2 == len(asyncio.all_tasks())

    await cache.close()

    assert 1 == len(asyncio.all_tasks())


def test_an_address_that_is_not_one_of_redis_is_refused(log):
    """The sentence names the setting and not the password."""
    with pytest.raises(HeartwoodError, match=r"data\.redis_url can not be used") as refused:
        open_cache(DataSettings(redis_url=Secret("http://user:hunter2@host")), log[0])

    assert "hunter2" not in str(refused.value)
