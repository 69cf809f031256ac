"""Background tasks: run again and again, in one process of the hub or in each, and restarted when they crash."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.contracts.jobs import Job
from heartwood.contracts.tasks import Scope
from heartwood.data.faults import is_away
from heartwood.observe.logs import bind_plugin
from heartwood.work.attempts import JobHandler
from heartwood.work.cron import check_cron
from heartwood.work.locks import HubLocks, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from heartwood.contracts.tasks import Task
    from heartwood.observe.metrics import Metrics
    from heartwood.work.attempts import Attempt

CRASHES, WINDOW = 5, 600.0
"""A task that crashes this often within so many seconds degrades its plugin."""
DELAY_FIRST, DELAY_LONGEST = 1.0, 60.0


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
        self, connect: Callable[[], Awaitable[Any]], role: str, log: Any, metrics: Metrics, reports: Reports
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
                await until(lost, self._repeat(plugin, task, call))
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
