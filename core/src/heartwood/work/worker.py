"""The worker of a process: takes jobs of the plugins that run here, and starts anew when PostgreSQL was away."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast
from zoneinfo import ZoneInfo

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.data.faults import EXPECTED
from heartwood.data.line import CONNECT_ERRORS
from heartwood.work.attempts import ActorOf, Ending, Performer, nobody_may
from heartwood.work.cron import CronTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from heartwood.contracts.data import Database
    from heartwood.work.attempts import JobHandler
    from heartwood.work.engine import Bench, Engine
    from heartwood.work.settings import WorkSettings

LOST: tuple[type[BaseException], ...] = (DatabaseUnavailable, *EXPECTED)
PAUSE_FIRST, PAUSE_LONGEST = 0.1, 5.0
LAST_WORDS = 5.0
"""Seconds that attempts get to clean up after they were ended."""


class Connections(Protocol):
    """What a worker needs of the pool."""

    def database(self, plugin: str) -> Database:
        """Return a plugin's way to PostgreSQL."""
        ...

    async def connect(self) -> Any:
        """Return a connection of one's own."""
        ...


def ignore(_plugin: str, _where: str, _error: BaseException) -> None:
    """Take note of nothing."""


class Worker:
    """Runs jobs and fires schedules until :meth:`stop`.

    Args:
        pool: the pool; the queue gets a connection of its own beside it.
        settings: sizes and times.
        log: a structlog logger.
        zone: the hub's time zone, for schedules.
        actor_of: gives the actor of a person for whom a job was enqueued.
        on_error: told of the plugin, the place and the error whenever a handler failed.
    """

    def __init__(
        self,
        pool: Connections,
        settings: WorkSettings,
        log: Any,
        *,
        zone: str = "UTC",
        actor_of: ActorOf = nobody_may,
        on_error: Callable[[str, str, BaseException], None] = ignore,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._log = log
        self._performer = Performer(pool.database, log, actor_of, on_error)
        self._cron = CronTable(pool.database("core"), ZoneInfo(zone), log)
        self._handlers: dict[str, JobHandler] = {}
        self._id = uuid.uuid4()
        self._bench: Bench | None = None
        self._engine: Engine | None = None
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start taking jobs; returns at once, a database that is away is waited for."""
        self._stopping.clear()
        self._tasks = [
            asyncio.create_task(self._supervise(), name="worker"),
            asyncio.create_task(self._cron.run(), name="schedules"),
        ]

    def serve(self, handlers: Iterable[JobHandler]) -> None:
        """Take jobs of these kinds from now on."""
        for handler in handlers:
            self._handlers[handler.name] = handler
            if handler.cron is not None:
                self._cron.add(handler.name, handler.cron)
            if self._bench is not None:
                self._bench.handlers[handler.name] = handler
            if self._engine is not None:
                self._engine.serve(handler)

    async def withdraw(self, plugin: str) -> None:
        """Take no more jobs of ``plugin``; those that run get ``work.drain`` seconds, then they are given back."""
        names = [name for name, handler in self._handlers.items() if handler.plugin == plugin]
        self._cron.remove(names)
        for name in names:
            del self._handlers[name]
            if self._bench is not None:
                self._bench.handlers.pop(name, None)
            if self._engine is not None:
                self._engine.withdraw(name)
        if self._bench is not None:
            await self._drain(self._bench, plugin)

    async def _drain(self, bench: Bench, plugin: str) -> None:
        tasks = {a.task for a in bench.running.values() if a.handler.plugin == plugin and a.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain)
            bench.end(Ending.DRAIN, plugin=plugin)
            await asyncio.wait(tasks, timeout=LAST_WORDS)

    async def stop(self) -> None:
        """Take no more jobs, let the running ones end for ``work.drain`` seconds, and give back the rest uncounted."""
        self._stopping.set()
        if not self._tasks:
            return
        supervisor, cron = self._tasks
        cron.cancel()
        if self._engine is not None:
            self._engine.stop()
            await asyncio.wait({supervisor}, timeout=self._settings.drain)
        if self._bench is not None:
            self._bench.end(Ending.DRAIN)
        await asyncio.wait({supervisor}, timeout=LAST_WORDS)
        supervisor.cancel()
        _, stuck = await asyncio.wait({supervisor, cron}, timeout=LAST_WORDS)
        if stuck and self._bench is not None:
            self._log.error("worker.stuck", jobs=[attempt.handler.name for attempt in self._bench.running.values()])
        self._tasks = []

    @property
    def running(self) -> int:
        """How many jobs run at this moment."""
        return len(self._bench.running) if self._bench is not None else 0

    async def _supervise(self) -> None:
        engine = await asyncio.to_thread(import_module, "heartwood.work.engine")
        self._bench = cast("Bench", engine.Bench(self._settings, self._performer, self._id))
        self._bench.handlers.update(self._handlers)
        pause = PAUSE_FIRST
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                await self._live(engine, self._bench)
            except LOST as error:  # the pool says so, once
                self._log.debug("worker.interrupted", reason=str(error))
            except Exception:  # noqa: BLE001  (whatever it was, the worker starts anew)
                self._log.exception("worker.interrupted")
            pause = PAUSE_FIRST if time.monotonic() - started > PAUSE_LONGEST else min(pause * 2, PAUSE_LONGEST)
            await self._rest(pause)

    async def _live(self, engine: ModuleType, bench: Bench) -> None:
        connection = await self._pool.connect()
        try:
            self._engine = cast("Engine", engine.Engine(connection, bench))
            if not self._stopping.is_set():
                await self._engine.run()
        finally:
            self._engine = None
            with contextlib.suppress(*CONNECT_ERRORS):
                await connection.close(timeout=1)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):  # noqa: S311  (no secret)
                await self._stopping.wait()
