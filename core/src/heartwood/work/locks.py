"""The locks by which a ``hub`` task runs in one process of the hub at a time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from typing import TYPE_CHECKING, Any

from heartwood.data.line import CONNECT_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TRY_EVERY = 2.0
"""Seconds between two tries to become the one process of a ``hub`` task, and between two proofs of still being it."""
PROOF_TIMEOUT = 3.0
KEEPALIVE = "set tcp_keepalives_idle = 3; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 3"
"""The server notices within 6 s that the machine of a lock's holder is gone."""


class HubLocks:
    """Session advisory locks of one process, all on one connection: they end with the process, whatever ends it."""

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._connection: Any = None
        self._lost = asyncio.Event()
        self._turn = asyncio.Lock()
        self._prover: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[asyncio.Event]:
        """Wait for the lock ``name`` and hold it; what is yielded is set when it is lost."""
        key = lock_key(name)
        while not await self._try(key):  # noqa: ASYNC110  (another process holds it)
            await asyncio.sleep(TRY_EVERY * random.uniform(0.75, 1.25))  # noqa: S311  (no secret)
        lost = self._lost
        try:
            yield lost
        finally:
            if not lost.is_set():
                await self._release(key)

    async def close(self) -> None:
        """Close the connection, and with it give up all locks."""
        if self._prover is not None:
            self._prover.cancel()
            await asyncio.gather(self._prover, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()

    async def _try(self, key: int) -> bool:
        try:
            async with self._turn:
                if self._connection is None or self._lost.is_set():
                    await self._open()
                async with asyncio.timeout(PROOF_TIMEOUT):
                    return bool(await self._connection.fetchval("select pg_try_advisory_lock($1)", key))
        except CONNECT_ERRORS:
            self._drop()
            return False

    async def _release(self, key: int) -> None:
        try:
            async with self._turn, asyncio.timeout(PROOF_TIMEOUT):
                await self._connection.fetchval("select pg_advisory_unlock($1)", key)
        except CONNECT_ERRORS:
            self._drop()

    async def _open(self) -> None:
        async with asyncio.timeout(PROOF_TIMEOUT):
            connection = await self._connect()
            await connection.execute(KEEPALIVE)
        lost = self._lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        self._connection = connection
        if self._prover is None:
            self._prover = asyncio.create_task(self._prove(), name="hub locks")

    async def _prove(self) -> None:
        """Ask again and again, for a holder must know of its loss before another process takes over."""
        while True:
            await asyncio.sleep(TRY_EVERY)
            if self._lost.is_set():
                continue
            try:
                async with self._turn, asyncio.timeout(PROOF_TIMEOUT):
                    await self._connection.fetchval("select 1")
            except CONNECT_ERRORS:
                self._drop()

    def _drop(self) -> None:
        self._lost.set()
        if self._connection is not None:
            self._connection.terminate()


def lock_key(name: str) -> int:
    """Return the number of the advisory lock of the hub task ``name``."""
    digest = hashlib.sha256(f"heartwood task {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def until(lost: asyncio.Event, work: Any) -> None:
    """Run ``work`` until it ends or ``lost`` is set, and leave nothing running."""
    tasks = {asyncio.ensure_future(work), asyncio.ensure_future(lost.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
