"""Jobs that do nothing: how many one worker ends in a second, and how soon one starts after it was enqueued.

Attempts are counted when a job is taken and its end is written under its fence, as always. Jobs belong to the owner, as
those that a request enqueues do.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from workplace import ENVIRON, Figure, Workplace, at_least, at_most, median, percentile, pinned, spread, stop

from heartwood.work import store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

OWNER = '{"person": 1, "name": "owner"}'
MANY = """
insert into queue.pgqueuer (entrypoint, payload, priority, execute_after, headers, status)
select $1, null, 0, now() + $2::interval, $3::jsonb, 'queued' from generate_series(1, $4::int)
"""
ENDED = """
select extract(epoch from max(created) - min(created))::float8 as seconds,
       count(*) filter (where created > first) as number, count(*) as whole
from (select created, min(created) over () as first from queue.pgqueuer_log
      where entrypoint = 'probe.nothing' and status = 'successful') ended
"""
SETTINGS = ("work.batch=100", "work.concurrency=200")
WAITING = 100_000


def measure(place: Workplace) -> list[Figure]:
    """Return jobs per second, and the latency with an empty queue and with 100,000 jobs waiting."""
    runs, number, probes, waiting = (1, 300, 20, 200) if place.short else (3, 12_000, 600, WAITING)
    with place.postgres() as address:
        rates = [asyncio.run(_throughput(place, address, number)) for _ in range(runs)]
        empty = asyncio.run(_latency(place, address, probes, 0))
        full = asyncio.run(_latency(place, address, probes, waiting))
    return [
        at_least(1500, "no-op jobs, one worker, batch 100", median(rates), "/s", spread(rates)),
        at_most(15, "enqueue to start, p50", percentile(empty, 0.5), "ms", f"{len(empty)} jobs"),
        at_most(150, "enqueue to start, p99", percentile(empty, 0.99), "ms"),
        at_most(15, f"the same with {waiting:,} jobs waiting, p50", percentile(full, 0.5), "ms", f"{len(full)} jobs"),
        at_most(150, f"the same with {waiting:,} jobs waiting, p99", percentile(full, 0.99), "ms"),
    ]


@contextmanager
def _worker(place: Workplace, latencies: Path) -> Iterator[None]:
    environ = {**ENVIRON, "BENCH_LATENCIES": str(latencies)}
    argv = pinned(0, *place.command("worker", settings=SETTINGS))
    with (place.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(argv, env=environ, stdout=log, stderr=log)
        try:
            yield
        finally:
            stop(process)


async def _throughput(place: Workplace, address: str, number: int) -> float:
    connection = await asyncpg.connect(address)
    await connection.execute("truncate queue.pgqueuer, queue.pgqueuer_log")
    await connection.execute(MANY, "probe.nothing", timedelta(), OWNER, number)
    with _worker(place, place.folder / "unused"):
        await _until(lambda: _empty(connection))
    ended = await connection.fetchrow(ENDED)
    await connection.close()
    assert ended["whole"] == number, f"{ended['whole']} of {number} jobs were done"
    return float(ended["number"] / ended["seconds"])


async def _latency(place: Workplace, address: str, probes: int, waiting: int) -> list[float]:
    """Return the milliseconds between commit and start of jobs that come one by one, at random, some 40 a second.

    Of the jobs that wait, one half is due in an hour, the other half is due but belongs to a plugin that this worker
    does not have.
    """
    connection = await asyncpg.connect(address)
    await connection.execute("truncate queue.pgqueuer, queue.pgqueuer_log")
    if waiting:
        await connection.execute(MANY, "probe.nothing", timedelta(hours=1), OWNER, waiting // 2)
        await connection.execute(MANY, "elsewhere.thing", timedelta(), OWNER, waiting // 2)
    latencies = place.folder / f"latencies-{waiting}"
    with _worker(place, latencies):
        await _enqueue(connection)
        await _until(lambda: _lines(latencies, 1))
        await asyncio.sleep(0 if place.short else 2)
        for _ in range(probes):
            await asyncio.sleep(random.expovariate(40))
            await _enqueue(connection)
        await _until(lambda: _lines(latencies, probes + 1))
    await connection.close()
    return [float(line) * 1000 for line in latencies.read_text().splitlines()[1:]]


async def _enqueue(connection: asyncpg.Connection) -> None:
    payload = b'{"at": %.6f}' % time.time()
    await connection.fetchval(store.ENQUEUE, "probe.latency", payload, 0, timedelta(), None, OWNER)


async def _empty(connection: asyncpg.Connection) -> bool:
    return not await connection.fetchval(
        "select exists (select from queue.pgqueuer where entrypoint = 'probe.nothing')"
    )


async def _lines(file: Path, number: int) -> bool:
    return file.exists() and len(file.read_text().splitlines()) >= number


async def _until(holds: Callable[[], Awaitable[Any]], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not await holds():
        assert time.monotonic() < deadline, "the worker does not get done"
        await asyncio.sleep(0.1)
