"""Background tasks: run again and again, in one process of the hub or in each, and restarted when they crash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from heartwood.contracts.jobs import Job
from heartwood.contracts.tasks import Scope
from heartwood.data.faults import is_away
from heartwood.data.line import CONNECT_ERRORS
from heartwood.observe.logs import bind_plugin
from heartwood.work.attempts import JobHandler
from heartwood.work.cron import check_cron

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from heartwood.contracts.tasks import Task
    from heartwood.work.attempts import Attempt

CRASHES, WINDOW = 5, 600.0
"""A task that crashes this often within so many seconds degrades its plugin."""
DELAY_FIRST, DELAY_LONGEST = 1.0, 60.0
TRY_EVERY = 2.0
"""Seconds between two tries to become the one process of a ``hub`` task, and between two proofs of still being it."""
PROOF_TIMEOUT = 3.0
KEEPALIVE = "set tcp_keepalives_idle = 3; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 3"
"""The server notices within 6 s that the machine of a lock's holder is gone."""


class TaskMetrics(Protocol):
    """Where runs are counted; each is a Prometheus family with the labels ``plugin`` and ``task``."""

    task_runs_total: Any
    task_failures_total: Any
    task_last_success_timestamp_seconds: Any


@frozen
class Reports:
    """What the kernel wants to be told of a plugin's tasks."""

    crashed: Callable[[str, str, BaseException], None]
    """The plugin, the place and the error of each crash."""
    degraded: Callable[[str, str], None]
    """The plugin and a sentence, when a task has crashed too often."""
    recovered: Callable[[str], None]
    """The plugin, when the last of its tasks runs well again."""


def cron_handler(plugin: str, task: Task, call: Callable[[], Awaitable[Any]]) -> JobHandler:
    """Return the job that a task with ``cron`` is: durable, retried, and never twice at a time.

    Raises:
        BadSchedule: its expression is not five fields.
    """
    check_cron(plugin, task.name, task.cron or "")

    async def run(_payload: bytes | None, _attempt: Attempt) -> None:
        await call()

    return JobHandler(plugin, Job(f"{task.name}@cron", run, limit=1), run, task.cron)


class TaskRunner:
    """Runs the ``every`` and ``forever`` tasks of the plugins of one process.

    Args:
        connect: makes a connection of one's own, which holds the locks of ``hub`` tasks.
        role: ``serve`` or ``worker``; ``process`` tasks run where their roles say.
        log: a structlog logger.
        metrics: where runs are counted.
        reports: what the kernel wants to be told.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Any]], role: str, log: Any, metrics: TaskMetrics, reports: Reports
    ) -> None:
        self._role = role
        self._log = log
        self._metrics = metrics
        self._reports = reports
        self._locks = HubLocks(connect)
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._degraded: set[tuple[str, str]] = set()

    def start(self, plugin: str, task: Task, call: Callable[[], Awaitable[Any]]) -> None:
        """Run ``call``, the bound function of ``task``, from now on; does nothing where it belongs elsewhere."""
        if task.scope is Scope.PROCESS and self._role not in task.roles:
            return
        run = self._alone(plugin, task, call) if task.scope is Scope.HUB else self._repeat(plugin, task, call)
        self._running[plugin, task.name] = asyncio.create_task(run, name=f"{plugin}.{task.name}")

    async def stop(self, plugin: str) -> None:
        """Cancel the tasks of ``plugin`` and wait until they have ended."""
        mine = [key for key in self._running if key[0] == plugin]
        tasks = [self._running.pop(key) for key in mine]
        self._degraded.difference_update(mine)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cancel all tasks and give up the locks."""
        for plugin in {plugin for plugin, _ in self._running}:
            await self.stop(plugin)
        await self._locks.close()

    async def _alone(self, plugin: str, task: Task, call: Callable[[], Awaitable[Any]]) -> None:
        while True:
            async with self._locks.hold(f"{plugin}.{task.name}") as lost:
                await _until(lost, self._repeat(plugin, task, call))
            self._log.info(
                "task.moved", task=f"{plugin}.{task.name}", reason="the connection that held its lock is gone"
            )

    async def _repeat(self, plugin: str, task: Task, call: Callable[[], Awaitable[Any]]) -> None:
        bind_plugin(plugin)
        crashes: deque[float] = deque(maxlen=CRASHES)
        streak = 0
        while True:
            started = time.monotonic()
            with self._well_after(WINDOW, plugin, task, crashes):
                error = await self._run(plugin, task, call)
            if error is None or time.monotonic() - started > WINDOW:
                streak = 0
            if error is None:
                self._well(plugin, task, crashes)
                await asyncio.sleep(task.every or 0)
                continue
            if is_away(error):  # the pool says so, once; it is no fault of the task
                self._log.debug("task.interrupted", task=f"{plugin}.{task.name}", reason=str(error))
                await asyncio.sleep(DELAY_FIRST * random.uniform(0.75, 1.25))  # noqa: S311  (no secret)
                continue
            streak += 1
            crashes.append(time.monotonic())
            self._ill(plugin, task, crashes, error)
            longest = min(DELAY_FIRST * 2 ** (streak - 1), DELAY_LONGEST)
            await asyncio.sleep(longest * random.uniform(0.75, 1.25))  # noqa: S311  (no secret)

    async def _run(self, plugin: str, task: Task, call: Callable[[], Awaitable[Any]]) -> BaseException | None:
        self._metrics.task_runs_total.labels(plugin, task.name).inc()
        try:
            await call()
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return error
        except BaseException as error:  # noqa: BLE001  (a plugin's code may raise anything; it is restarted)
            return error
        if task.forever:
            return RuntimeError("it returned, and it should run for ever")
        self._metrics.task_last_success_timestamp_seconds.labels(plugin, task.name).set_to_current_time()
        return None

    def _ill(self, plugin: str, task: Task, crashes: deque[float], error: BaseException) -> None:
        self._metrics.task_failures_total.labels(plugin, task.name).inc()
        self._log.error("task.crashed", task=f"{plugin}.{task.name}", exc_info=error)
        self._reports.crashed(plugin, f"task {task.name}", error)
        often = len(crashes) == CRASHES and crashes[-1] - crashes[0] <= WINDOW
        if often and (plugin, task.name) not in self._degraded:
            self._degraded.add((plugin, task.name))
            sentence = f"task {task.name!r} crashed {CRASHES} times in ten minutes: {type(error).__name__}: {error}"
            self._reports.degraded(plugin, sentence)

    @contextlib.contextmanager
    def _well_after(self, seconds: float, plugin: str, task: Task, crashes: deque[float]) -> Iterator[None]:
        """Call a ``forever`` task well once it has run for so long; any other has to end well."""
        if not task.forever:
            yield
            return
        timer = asyncio.get_running_loop().call_later(seconds, self._well, plugin, task, crashes)
        try:
            yield
        finally:
            timer.cancel()

    def _well(self, plugin: str, task: Task, crashes: deque[float]) -> None:
        crashes.clear()
        if (plugin, task.name) in self._degraded:
            self._degraded.discard((plugin, task.name))
            if not any(owner == plugin for owner, _ in self._degraded):
                self._reports.recovered(plugin)


async def _until(lost: asyncio.Event, work: Any) -> None:
    """Run ``work`` until it ends or ``lost`` is set, and leave nothing running."""
    tasks = {asyncio.ensure_future(work), asyncio.ensure_future(lost.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
