"""How soon a light route answers while every core reads documents and further uploads come in.

The clock starts when a request should be sent, not when it is sent, so that a hub which stands still is not spared the
requests that would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import aiohttp
import psutil
from bench_uploads import photo, upload
from workplace import Figure, Server, Workplace, at_most, percentile

RECEIPT = Path(__file__).parents[1] / "tests/data_files/receipt.jpg"
PER_SECOND = 50
PROCESSED = 'heartwood_documents_processed_total{kind="jpeg",outcome="ready"}'


def measure(place: Workplace) -> list[Figure]:
    """Return the milliseconds of a light route under load."""
    seconds, documents = (2, 1) if place.short else (30, 200)
    with place.hub() as server:
        times, read, sent = asyncio.run(
            _loaded(server, f"http://127.0.0.1:{place.exporter}/metrics", seconds, documents)
        )
    busy = psutil.cpu_percent()
    note = f"{len(times)} requests, {read} documents read, {sent} uploads meanwhile, processors {busy:.0f} % busy"
    return [
        at_most(100, "light route while all cores read documents, p99", percentile(times, 0.99), "ms", note),
        Figure("  the same, p50", percentile(times, 0.5), unit="ms"),
    ]


async def _loaded(server: Server, exporter: str, seconds: float, documents: int) -> tuple[list[float], int, int]:
    """Return what the light route took each time, the documents read meanwhile, and the uploads."""
    async with aiohttp.ClientSession(server.url, headers=server.headers) as session:
        for number in range(documents):
            await upload(session, receipt(number))
        await asyncio.sleep(0 if seconds < 10 else 2)
        sent: list[float] = []
        uploads = asyncio.create_task(_upload(session, sent))
        before = await _read(session, exporter)
        psutil.cpu_percent()
        times = await _light(session, seconds)
        read = await _read(session, exporter) - before
        uploads.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await uploads
    return times, read, len(sent)


def receipt(number: int) -> bytes:
    """Return the receipt with some bytes at its end that no other has, so that it is not a duplicate."""
    return RECEIPT.read_bytes() + number.to_bytes(4, "big")


async def _read(session: aiohttp.ClientSession, exporter: str) -> int:
    """Return how many documents have left the pipeline so far, as the metrics say."""
    async with session.get(exporter) as answer:
        lines = (await answer.text()).splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith(PROCESSED)))


async def _upload(session: aiohttp.ClientSession, sent: list[float]) -> None:
    """Send files one after the other, for ever."""
    while True:
        seconds = await upload(session, photo())
        if seconds is not None:
            sent.append(seconds)
        await asyncio.sleep(0.1)


async def _light(session: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Ask the light route ``PER_SECOND`` times a second, on time; return the milliseconds of each."""

    async def ask(due: float) -> float:
        await asyncio.sleep(due - time.monotonic())
        async with session.get("/business/probe/light") as answer:
            assert answer.status == 200
            await answer.read()
        return (time.monotonic() - due) * 1000

    started = time.monotonic()
    due = [started + number / PER_SECOND for number in range(int(seconds * PER_SECOND))]
    return list(await asyncio.gather(*map(ask, due)))
