"""The cache: in the process, or in Redis where several processes share one. Losing it loses nothing but time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import HeartwoodError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    """Redis behind a switch: after an error nobody waits for it any more, until a look in the background finds it back.

    While it is away ``get`` returns None and ``set`` does nothing, at once. What was set or deleted in that time would
    come back as it was before, so all keys of the hub are dropped first where there was something of the kind.

    Args:
        client: a ``redis.asyncio.Redis`` with short time-outs and no retry of its own.
        log: a structlog logger; it gets one line when Redis is lost and one when it is back.
    """

    def __init__(self, client: Any, log: Any) -> None:
        self._client = client
        self._log = log
        self._missed = False
        self._look: asyncio.Task[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """Return what was set, or None."""
        value: bytes | None = await self._ask(lambda: self._client.get(PREFIX + key))
        return value

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep ``value`` for at most ``ttl`` seconds."""
        if ttl <= 0:
            await self.delete(key)
        else:
            await self._ask(lambda: self._client.set(PREFIX + key, value, px=max(1, int(ttl * 1000))), writes=True)

    async def delete(self, key: str) -> None:
        """Forget ``key``."""
        await self._ask(lambda: self._client.delete(PREFIX + key), writes=True)

    async def close(self) -> None:
        """Stop looking for Redis, and close the connections."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])
        await self._client.aclose()

    async def _ask(self, command: Callable[[], Awaitable[Any]], *, writes: bool = False) -> Any:
        if self._look is None:
            try:
                return await command()
            except _faults() as error:
                self._lost(error)
        self._missed = self._missed or writes
        return None

    def _lost(self, error: Exception) -> None:
        if self._look is None:
            self._log.warning("cache.redis_lost", error=str(error) or type(error).__name__)
            self._look = asyncio.create_task(self._until_back())

    async def _until_back(self) -> None:
        started = time.monotonic()
        while True:
            await asyncio.sleep(RETRY_AFTER)
            if await self._is_back():
                break
        self._look = None
        self._log.info("cache.redis_back", seconds=round(time.monotonic() - started, 1))

    async def _is_back(self) -> bool:
        """Whether Redis takes writes again, with nothing stale in it; a full or read-only one is of no use."""
        try:
            await self._client.set(PREFIX, b"", px=1)
            while self._missed:
                await self._clear()
        except _faults():
            return False
        return True

    async def _clear(self) -> None:
        self._missed, cursor = False, -1
        try:
            while cursor != 0:
                cursor, keys = await self._client.scan(max(cursor, 0), match=f"{PREFIX}*", count=1000)
                if keys:
                    await self._client.unlink(*keys)
        except BaseException:
            self._missed = True
            raise


def open_cache(settings: DataSettings, log: Any) -> MemoryCache | RedisCache:
    """Return the cache that ``data.redis_url`` names, or one in the process; nothing is connected yet.

    Raises:
        HeartwoodError: the address is not one of Redis, or the extra ``redis`` is not installed.
    """
    if settings.redis_url is None or not settings.redis_url.reveal():
        return MemoryCache()
    return RedisCache(_client(settings.redis_url.reveal()), log)


def _client(url: str) -> Any:
    """Return a client that gives up early: redis-py would otherwise try for seconds while a request waits."""
    try:
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415  (an extra, used where an address is set)
        from redis.asyncio.retry import Retry  # noqa: PLC0415  (the same)
        from redis.backoff import NoBackoff  # noqa: PLC0415  (the same)
    except ImportError as error:
        msg = "data.redis_url is set, but the Redis client is not installed: install heartwood-hub[redis]"
        raise HeartwoodError(msg) from error
    limits = {"timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "socket_timeout": PATIENCE}
    try:
        pool = BlockingConnectionPool.from_url(url, max_connections=20, retry=Retry(NoBackoff(), 0), **limits)
    except ValueError as error:
        msg = f"data.redis_url can not be used: {error}"
        raise HeartwoodError(msg) from error
    return Redis.from_pool(pool)


def _faults() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError  # noqa: PLC0415  (an extra; the client has imported it already)

    return (RedisError, OSError)
