"""A blocked loop is found, its plugin named, and ``/-/live`` answers all the same."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
from time import monotonic, sleep

import pytest
import uvloop

from heartwood.contracts.errors import HeartwoodError
from heartwood.observe.live import LiveThread
from heartwood.observe.logs import Logs
from heartwood.observe.settings import ObserveSettings

block = sleep  # what an author does who does not know better

LISTEN = "127.0.0.1:0"


def ask(live, path="/-/live", method="GET"):
    connection = http.client.HTTPConnection(*live.address, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


class Watched:
    """A live thread whose log and counter can be looked at."""

    def __init__(self, *, listen=LISTEN, lag=0.05, dead=30.0, owner_of=lambda _: None):
        self.stream = io.StringIO()
        self.blocks = []
        log = Logs(ObserveSettings(), self.stream).logger()
        self.live = LiveThread(listen, lag=lag, dead=dead, owner_of=owner_of, log=log, on_block=self.blocks.append)

    def __enter__(self):
        self.live.start(asyncio.get_running_loop())
        return self

    def __exit__(self, *_):
        self.live.stop()

    def entries(self):
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


async def test_a_running_loop_is_alive():
    """While the loop runs the answer is 200 and one word, on GET and HEAD, and nothing else is there."""
    with Watched() as watched:
        assert await asyncio.to_thread(ask, watched.live) == (200, b"alive\n")
        assert await asyncio.to_thread(ask, watched.live, method="HEAD") == (200, b"")
        assert await asyncio.to_thread(ask, watched.live, "/business/health") == (404, b"not found\n")
    assert watched.entries() == []


async def test_a_blocked_loop_is_reported_once_with_its_plugin():
    """A block is one log line with plugin and stack and one count, written while it still lasts."""
    with Watched(owner_of=lambda file: "slow" if file == __file__ else None) as watched:
        deadline = monotonic() + 10
        while not watched.blocks:  # this is the block
            assert monotonic() < deadline, "the block was not found"
            block(0.01)
        assert watched.blocks == ["slow"]
        block(0.3)  # the same block, still going on
    [entry] = watched.entries()
    assert (entry["event"], entry["plugin"], entry["level"]) == ("loop.blocked", "slow", "warning")
    assert "test_a_blocked_loop_is_reported_once_with_its_plugin" in entry["stack"]
    assert entry["seconds"] >= 0.05
    assert watched.blocks == ["slow"]


def test_a_block_of_uvloop_is_found_too():
    """The loop of the server is watched as the one of the standard library is."""

    async def blocking():
        with Watched(owner_of=lambda file: "slow" if file == __file__ else None) as watched:
            deadline = monotonic() + 10
            while not watched.blocks and monotonic() < deadline:
                block(0.01)
        return watched.blocks

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(blocking()) == ["slow"]


async def test_the_innermost_plugin_did_it():
    """A library that blocks does so for the plugin that called it; without any plugin it was the kernel."""
    with Watched(owner_of=lambda file: "caller" if file.endswith("json/__init__.py") else None) as watched:
        deadline = monotonic() + 10
        while not watched.blocks and monotonic() < deadline:
            json.loads("[" + "1," * 200_000 + "1]")
    with Watched() as unknown:
        while not unknown.blocks and monotonic() < deadline:
            block(0.01)
    assert watched.blocks == ["caller"]
    assert unknown.blocks == ["core"]


async def test_two_blocks_are_two_reports(eventually):
    """After a block has ended the next one is found."""
    with Watched() as watched:
        for count in (1, 2):
            deadline = monotonic() + 10
            while len(watched.blocks) < count and monotonic() < deadline:
                block(0.01)
            await eventually(lambda: watched.live.lag < 0.05)
    assert watched.blocks == ["core", "core"]


async def test_live_is_503_once_the_loop_is_dead(eventually):
    """The thread answers while the loop cannot: 200 at first, 503 after ``dead`` seconds, 200 when it is back."""
    with Watched(dead=0.3) as watched:
        answers = []

        def until_dead():
            deadline = monotonic() + 10
            while not any(status == 503 for status, _ in answers) and monotonic() < deadline:
                answers.append(ask(watched.live))

        asker = threading.Thread(target=until_dead)
        asker.start()
        asker.join()  # this is the block
        assert answers[0] == (200, b"alive\n")
        assert answers[-1][0] == 503
        assert answers[-1][1].startswith(b"blocked for ")
        await eventually(lambda: watched.live.lag < 0.3)
        assert await asyncio.to_thread(ask, watched.live) == (200, b"alive\n")


async def test_a_silent_client_holds_up_nobody():
    """Somebody who connects and says nothing keeps neither the next answer nor the end waiting."""
    with Watched() as watched:
        silent = socket.create_connection(watched.live.address)
        assert await asyncio.to_thread(ask, watched.live) == (200, b"alive\n")
    silent.close()


async def test_an_address_in_use_is_an_error_with_a_way_out():
    """Where the address is taken the error names the setting, the address and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        watched = Watched(listen=f"127.0.0.1:{port}")
        with pytest.raises(HeartwoodError) as refused:
            watched.live.start(asyncio.get_running_loop())
    assert (
        f"observe.live_listen: 127.0.0.1:{port} cannot be used: Address already in use; "
        "stop what listens there (another hub?), choose another, or '' for none" == str(refused.value)
    )


async def test_nothing_listens_where_nothing_is_asked_for():
    """With an empty address the loop is watched all the same, and after the stop no thread is left."""
    before = threading.active_count()
    with Watched(listen="") as watched:
        assert watched.live.address is None
        deadline = monotonic() + 10
        while not watched.blocks and monotonic() < deadline:
            block(0.01)
    assert watched.blocks == ["core"]
    assert before == threading.active_count()


class StoppedMeanwhile(threading.Event):
    """An event during whose clearing :meth:`LiveThread.stop` has its turn."""

    def __init__(self, live):
        super().__init__()
        self.live = live

    def clear(self):
        self.live._stopped.set()
        self.set()
        super().clear()


async def test_a_stop_between_two_looks_ends_the_thread():
    """Whoever stops it blocks the loop, so the thread must not wait for the loop to answer after that."""
    watched = Watched(listen="", lag=0.01)
    watched.live._answered = StoppedMeanwhile(watched.live)
    watched.live.start(asyncio.get_running_loop())
    watcher = next(thread for thread in watched.live._threads if thread.name == "heartwood-watch")

    watcher.join(5)  # this blocks the loop, as stop() does

    assert not watcher.is_alive()
