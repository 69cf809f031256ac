"""The cache: in the process, or in Redis where several processes share one. Losing it loses nothing but time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import HeartwoodError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from heartwood.data.settings import DataSettings

LIMIT = 16 * 1024**2
"""Bytes of keys and values that the process keeps."""

PATIENCE = 0.2
"""Seconds that connecting to Redis, and each answer of it, may take."""

RETRY_AFTER = 1.0
"""Seconds between two looks whether Redis is back."""

PREFIX = "heartwood:cache:"


class MemoryCache:
    """The least recently used goes first, and nothing is given out after its time."""

    def __init__(self, limit: int = LIMIT, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._held = 0
        self._items: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """Return what was set, or None."""
        until, value = self._items.get(key, (0.0, b""))
        if until <= self._clock():
            self._forget(key)
            return None
        self._items.move_to_end(key)
        return value

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep ``value`` for at most ``ttl`` seconds; one that is larger than the whole cache is not kept."""
        self._forget(key)
        size = len(key) + len(value)
        if ttl <= 0 or size > self._limit:
            return
        self._items[key] = (self._clock() + ttl, value)
        self._held += size
        while self._held > self._limit:
            self._forget(next(iter(self._items)))

    async def delete(self, key: str) -> None:
        """Forget ``key``."""
        self._forget(key)

    async def close(self) -> None:
        """Forget everything."""
        self._items.clear()
        self._held = 0

    def _forget(self, key: str) -> None:
        if (item := self._items.pop(key, None)) is not None:
            self._held -= len(key) + len(item[1])


class RedisCache:
    """Redis behind a switch: once it fails nobody waits for it, until a look in the background finds it back.

    While it is away ``get`` returns None and ``set`` does nothing, at once. What was deleted meanwhile would come back
    with it, so those keys are remembered and deleted first; where they are too many, all keys of the hub are.
    """

    def __init__(self, client: Any, log: Any) -> None:
        self._client = client
        self._log = log
        self._look: asyncio.Task[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """Return what was set, or None."""
        value: bytes | None = await self._ask(self._client.get, PREFIX + key)
        return value
