"""Five hundred clients that all send a file of 256 KiB at the same moment; a 202 means that it is on the disk."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from workplace import Figure, Server, Workplace, at_least, at_most, median, percentile, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 256 * 1024
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
"""How a JPEG file begins; what follows is noise, so no two uploads are the same."""


@dataclass
class Weight:
    """The memory of a server while something happens: at first, and at its highest, in MB."""

    idle: float
    peak: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self, server: Server) -> None:
        """Look every 10 ms."""
        while not self.over.wait(0.01):
            self.peak = max(self.peak, server.rss())


@contextmanager
def weighed(server: Server) -> Iterator[Weight]:
    """Watch the memory of ``server`` for as long as the context lasts."""
    weight = Weight(server.rss())
    thread = threading.Thread(target=weight.watch, args=(server,))
    thread.start()
    try:
        yield weight
    finally:
        weight.over.set()
        thread.join()


def measure(place: Workplace) -> list[Figure]:
    """Return uploads per second, the slowest of a hundred, and the memory they take, for three rounds on one hub."""
    rounds, clients = (1, 20) if place.short else (3, 500)
    rates, slowest, refused = [], [], 0
    with place.hub("--no-jobs") as server:
        asyncio.run(_round(server, 5))
        time.sleep(0 if place.short else 5)
        with weighed(server) as weight:
            for _ in range(rounds):
                seconds, each = asyncio.run(_round(server, clients))
                rates.append(len(each) / seconds)
                slowest.append(percentile(each, 0.99))
                refused += clients - len(each)
    more = weight.peak - weight.idle
    return [
        at_least(150, "500 concurrent durable uploads of 256 KiB", median(rates), "/s", spread(rates)),
        at_most(4, "  the slowest of a hundred of them (p99)", median(slowest), "s", spread(slowest)),
        at_most(0, "  refused with 503", refused),
        at_most(100, "  RSS of the server above idle", more, "MB", f"{weight.idle:.0f} to {weight.peak:.0f} MB"),
    ]


async def _round(server: Server, clients: int) -> tuple[float, list[float]]:
    """Return the seconds until all uploads were answered, and the seconds of each that was answered with 202."""
    bodies = [photo() for _ in range(clients)]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, headers=server.headers, connector=connector) as session:
        started = time.perf_counter()
        each = await asyncio.gather(*(upload(session, body) for body in bodies))
        whole = time.perf_counter() - started
    return whole, [seconds for seconds in each if seconds is not None]


def photo() -> bytes:
    """Return a file that looks like a JPEG and like no other."""
    return JPEG + secrets.token_bytes(SIZE - len(JPEG))


async def upload(session: aiohttp.ClientSession, body: bytes) -> float | None:
    """Send one file and return the seconds until its 202; None where the hub says 503: come again later."""
    form = aiohttp.FormData()
    form.add_field("file", body, filename="photo.jpg", content_type="image/jpeg")
    started = time.perf_counter()
    async with session.post("/business/documents/upload", data=form) as answer:
        said = await answer.text()
        if answer.status == 503 and "Retry-After" in answer.headers:
            return None
        assert answer.status == 202, f"{answer.status}: {said[:300]}"
    return time.perf_counter() - started
