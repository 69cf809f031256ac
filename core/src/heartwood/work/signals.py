"""Signals for live pages: told at once within the process, and soon to the others. They may be lost."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from heartwood.contracts.errors import DatabaseUnavailable, HeartwoodError
from heartwood.contracts.events import Signal
from heartwood.work import store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    from heartwood.contracts.data import Queries
    from heartwood.contracts.settings import Secret

    class Listening(Protocol):
        """What the bus needs of the pool."""

        def database(self, plugin: str) -> Queries:
            """Return the kernel's way to PostgreSQL."""
            ...

        def listener(self, channel: str, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
            """Call ``callback`` with what comes on ``channel``."""
            ...


CHANNEL = "heartwood_signal"
LONGEST, LONGEST_TOPIC = 4_000, 200
WAITING, UNSENT = 100, 1_000
"""Signals kept for one slow listener, and for the other processes; the oldest are lost."""
REDIS_TIMEOUT = 1.0
REDIS_PAUSE = 2.0


class SignalTooLarge(HeartwoodError):
    """A signal has 4,000 bytes of JSON and 200 characters of topic at most; send an id and let the listener ask."""


class Stream:
    """One listener's signals; implements :class:`heartwood.contracts.events.Subscriber`."""

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics = topics
        self._queue: asyncio.Queue[Signal] = asyncio.Queue(WAITING)

    def wants(self, topic: str) -> bool:
        """Whether one of its topics is ``topic``, or ``documents.*`` and the like that covers it."""
        return any(
            each in (topic, "*") or (each.endswith(".*") and topic.startswith(each[:-1])) for each in self._topics
        )

    def put(self, signal: Signal) -> None:
        """Keep ``signal`` for the listener; where it is slow, the oldest one goes."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(signal)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Signal:
        return await self._queue.get()


class SignalBus:
    """Tells every process of the hub; implements :class:`heartwood.contracts.events.Signals`.

    Args:
        pool: carries signals to the other processes.
        log: a structlog logger.
        redis_url: carries them instead, where given and for as long as it answers.
    """

    def __init__(self, pool: Listening, log: Any, redis_url: Secret | None = None) -> None:
        self._pool = pool
        self._log = log
        self._redis_url = redis_url
        self._redis: Any = None
        self._me = uuid.uuid4().hex
        self._streams: set[Stream] = set()
        self._unsent: asyncio.Queue[str] = asyncio.Queue(UNSENT)

    def send(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Tell every process of the hub.

        Raises:
            SignalTooLarge: ``payload`` is more than 4,000 bytes of JSON, or ``topic`` more than 200 characters.
        """
        content = orjson.dumps(payload)
        if len(content) > LONGEST or len(topic) > LONGEST_TOPIC:
            message = (
                f"signal {topic[:LONGEST_TOPIC]!r} has {len(content)} bytes of {LONGEST}, and a topic of "
                f"{len(topic)} characters of {LONGEST_TOPIC}; send an id and let the listener ask"
            )
            raise SignalTooLarge(message)
        self._deliver(Signal(topic, orjson.loads(content)))
        if self._unsent.full():
            self._unsent.get_nowait()
        self._unsent.put_nowait(orjson.dumps({"from": self._me, "topic": topic, "payload": payload}).decode())

    @asynccontextmanager
    async def listen(self, *topics: str) -> AsyncIterator[Stream]:
        """Subscribe to ``topics`` (``documents.*`` takes all of a plugin) for as long as the context lasts."""
        stream = Stream(topics)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Exchange signals with the other processes for as long as the context lasts."""
        tasks = [asyncio.create_task(self._carry(), name="signals")]
        if self._redis_url is not None:
            tasks.append(asyncio.create_task(self._keep_redis(self._redis_url), name="signals from redis"))
        try:
            async with self._pool.listener(CHANNEL, self._hear):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _deliver(self, signal: Signal) -> None:
        for stream in self._streams:
            if stream.wants(signal.topic):
                stream.put(signal)

    def _hear(self, text: str) -> None:
        """Deliver what another process said; whoever may speak on the channel may also speak nonsense."""
        try:
            message = orjson.loads(text)
            sender, signal = message["from"], Signal(message["topic"], message["payload"])
        except (ValueError, TypeError, KeyError):
            self._log.debug("signals.not_understood", text=text[:LONGEST_TOPIC])
            return
        if sender != self._me:
            self._deliver(signal)

    async def _carry(self) -> None:
        core = self._pool.database("core")
        while True:
            text = await self._unsent.get()
            if await self._by_redis(text):
                continue
            try:
                await core.execute(store.TELL, CHANNEL, text)
            except DatabaseUnavailable:
                self._log.debug("signals.lost")
            except Exception:  # noqa: BLE001  (one signal is lost, and the next may be heard)
                self._log.exception("signals.lost")

    async def _by_redis(self, text: str) -> bool:
        if self._redis is None:
            return False
        from redis.exceptions import RedisError  # noqa: PLC0415  (an extra; the client has imported it already)

        try:
            await self._redis.publish(CHANNEL, text)
        except (RedisError, OSError):
            self._redis = None
            return False
        return True

    async def _keep_redis(self, url: Secret) -> None:
        """Listen on Redis, again and again; while it is away, PostgreSQL carries the signals."""
        from redis.asyncio import Redis  # noqa: PLC0415  (an extra, used where an address is set)
        from redis.asyncio.retry import Retry  # noqa: PLC0415  (as above)
        from redis.backoff import NoBackoff  # noqa: PLC0415  (as above)
        from redis.exceptions import RedisError  # noqa: PLC0415  (as above)

        limits: dict[str, Any] = {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}
        away = False
        while True:
            async with Redis.from_url(url.reveal(), retry=Retry(NoBackoff(), 0), **limits) as redis:
                try:
                    async with redis.pubsub() as channel:
                        await channel.subscribe(CHANNEL)
                        self._redis = redis
                        if away:
                            self._log.warning("signals.redis_up")
                        away = False
                        await self._hear_redis(channel)
                except (RedisError, OSError) as error:
                    if not away:
                        self._log.warning("signals.redis_down", reason=str(error))
                    away = True
                finally:
                    self._redis = None
            await asyncio.sleep(REDIS_PAUSE)

    async def _hear_redis(self, channel: Any) -> None:
        while True:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=REDIS_TIMEOUT / 2)
            if message is not None:
                self._hear(message["data"].decode())
