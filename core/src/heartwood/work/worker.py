"""The worker of a process: takes jobs of the plugins that run here, and starts anew when PostgreSQL was away."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from importlib import import_module
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.data.faults import EXPECTED
from heartwood.data.line import CONNECT_ERRORS
from heartwood.plugins.records import sentence
from heartwood.work.attempts import LAST_WORDS, Ending
from heartwood.work.bench import Bench
from heartwood.work.cron import CronTable
from heartwood.work.performer import ActorOf, Performer, nobody_may

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heartwood.data.pool import Pool
    from heartwood.observe.metrics import Metrics
    from heartwood.work.attempts import JobHandler
    from heartwood.work.engine import Engine
    from heartwood.work.settings import WorkSettings

LOST: tuple[type[BaseException], ...] = (DatabaseUnavailable, *EXPECTED)
PAUSE_FIRST, PAUSE_LONGEST = 0.1, 5.0


def ignore(_plugin: str, _where: str, _error: BaseException) -> None:
    """Take note of nothing."""


class Worker:
    """Runs jobs and fires schedules until :meth:`stop`.

    Args:
        pool: the pool; the queue gets a connection of its own beside it.
        settings: sizes and times.
        log: a structlog logger.
        metrics: where attempts are counted.
        zone: the hub's time zone, for schedules.
        actor_of: gives the actor of a person for whom a job was enqueued.
        on_error: told of the plugin, the place and the error whenever a handler failed.
    """

    def __init__(
        self,
        pool: Pool,
        settings: WorkSettings,
        log: Any,
        metrics: Metrics,
        *,
        zone: str = "UTC",
        actor_of: ActorOf = nobody_may,
        on_error: Callable[[str, str, BaseException], None] = ignore,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._log = log
        self._bench = Bench(settings, Performer(pool.database, log, metrics, actor_of, on_error), uuid.uuid4())
        self._cron = CronTable(pool.database("core"), ZoneInfo(zone), log)
        self._engine: Engine | None = None
        self._problem = ""
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start taking jobs; returns at once, a database that is away is waited for."""
        self._stopping.clear()
        self._tasks = [
            asyncio.create_task(self._supervise(), name="worker"),
            asyncio.create_task(self._cron.run(), name="schedules"),
        ]

    @property
    def problem(self) -> str:
        """Why no jobs are taken, in a sentence; empty where they are, or where PostgreSQL is waited for."""
        return "" if self._bench.taking.is_set() else self._problem

    async def taking(self, within: float) -> bool:
        """Wait until jobs are taken, and return whether that was ``within`` so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._bench.taking.wait()
        return self._bench.taking.is_set()

    def serve(self, plugin: str, handlers: Iterable[JobHandler]) -> None:
        """Take jobs of these kinds, all that ``plugin`` has, from now on."""
        handlers = list(handlers)
        self._cron.add(plugin, {handler.name: handler.cron for handler in handlers if handler.cron is not None})
        for handler in handlers:
            self._bench.handlers[handler.name] = handler
            if self._engine is not None:
                self._engine.serve(handler)

    async def withdraw(self, plugin: str) -> None:
        """Take no more jobs of ``plugin``; those that run get ``work.drain`` seconds, then they are given back."""
        self._cron.remove(plugin)
        for name in [name for name, handler in self._bench.handlers.items() if handler.plugin == plugin]:
            del self._bench.handlers[name]
            if self._engine is not None:
                self._engine.withdraw(name)
        tasks = {a.task for a in self._bench.running.values() if a.handler.plugin == plugin and a.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain)
            self._bench.end(Ending.DRAIN, plugin=plugin)
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
        self._bench.end(Ending.DRAIN)
        await asyncio.wait({supervisor}, timeout=LAST_WORDS + 1)
        supervisor.cancel()
        await asyncio.wait({supervisor, cron}, timeout=LAST_WORDS)
        self._tasks = []

    @property
    def running(self) -> int:
        """How many jobs run at this moment."""
        return len(self._bench.running)

    async def _supervise(self) -> None:
        pause = PAUSE_FIRST
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                await self._live()
            except LOST as error:  # the pool says so, once
                self._log.debug("worker.interrupted", reason=str(error))
            except Exception as error:  # noqa: BLE001  (whatever it was, the worker starts anew)
                self._log.exception("worker.interrupted")
                self._problem = f"no jobs are taken: {sentence(error)}"
            pause = PAUSE_FIRST if time.monotonic() - started > PAUSE_LONGEST else min(pause * 2, PAUSE_LONGEST)
            await self._rest(pause)

    async def _live(self) -> None:
        engine = await asyncio.to_thread(import_module, "heartwood.work.engine")  # slow, and not needed elsewhere
        connection = await self._pool.connect()
        try:
            self._engine = engine.Engine(connection, self._bench)
            if not self._stopping.is_set():
                await self._engine.run()
        finally:
            self._engine = None
            self._bench.taking.clear()
            with contextlib.suppress(*CONNECT_ERRORS):
                await connection.close(timeout=1)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):  # noqa: S311  (no secret)
                await self._stopping.wait()
