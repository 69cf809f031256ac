"""Starting plugins in order and stopping them in reverse, each under its own limits."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from heartwood.contracts.errors import HeartwoodError, NotReady
from heartwood.plugins.order import skip_without
from heartwood.plugins.records import Phase, Record, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from heartwood.plugins.calls import Hooks
    from heartwood.plugins.services import ServiceCatalog
    from heartwood.plugins.settings import LoaderSettings

GRACE = 1.0
"""Seconds that a lifespan has to end after it was cancelled."""


@frozen
class Limits:
    """Seconds a plugin may take to start and to stop."""

    start: float
    stop: float


@define
class _Life:
    """A lifespan, entered and left by one task of its own, as its context manager may expect."""

    context: AbstractAsyncContextManager[Any] | None
    entered: asyncio.Future[Any]
    leave: asyncio.Event = field(factory=asyncio.Event)

    async def live(self) -> None:
        try:
            if self.context is None:
                self.entered.set_result(None)
                return
            value = await self.context.__aenter__()
        except BaseException as error:
            if not self.entered.done():
                self.entered.set_exception(error)
            raise
        self.entered.set_result(value)
        await self.leave.wait()
        await self.context.__aexit__(None, None, None)


class Lifecycle:
    """Enters and leaves the lifespans of one kernel's plugins.

    Args:
        records: all plugins, in their order.
        hooks: where lifespans are asked for.
        services: given out while a plugin runs.
        settings: limits and waits.
        limits: what the operator allows a single plugin instead.
        log: a structlog logger.
        on_running: awaited when a plugin has started, before it serves; what it raises fails the plugin.
        on_stopped: awaited before a plugin's lifespan is left.
    """

    def __init__(
        self,
        records: Sequence[Record],
        hooks: Hooks,
        services: ServiceCatalog,
        settings: LoaderSettings,
        log: Any,
        *,
        limits: Callable[[str], Limits],
        on_running: Callable[[Record], Awaitable[None]],
        on_stopped: Callable[[Record], Awaitable[None]],
    ) -> None:
        self._records = records
        self._known = {record.name: record for record in records}
        self._hooks = hooks
        self._services = services
        self._settings = settings
        self._log = log
        self._limits = limits
        self._on_running = on_running
        self._on_stopped = on_stopped
        self._lives: dict[str, tuple[_Life, asyncio.Task[None]]] = {}
        self._retries: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def start(self) -> None:
        """Start every plugin that can start. One that fails costs its own time limit and nothing else."""
        for record in self._records:
            if record.state is State.FOUND:
                await self._start(record)

    async def stop(self) -> None:
        """Stop in reverse order. Nothing a plugin does keeps the others from being stopped."""
        self._stopping = True
        for retry in self._retries.values():
            retry.cancel()
        await asyncio.gather(*self._retries.values(), return_exceptions=True)
        for name in reversed(list(self._lives)):
            await self._stop(self._known[name])

    async def _start(self, record: Record) -> None:
        if any(self._known[name].state is State.RETRYING for name in record.requires if name in self._known):
            waits = next(name for name in record.requires if self._known[name].state is State.RETRYING)
            record.state, record.reason = State.SKIPPED, f"waits for {waits}, which is {self._known[waits].label}"
            return
        if skip_without(record, self._known):
            return
        started = time.perf_counter()
        try:
            await self._enter(record)
        except NotReady as error:
            await self._retry_later(record, error)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._cancelled():
                raise
            await self._abandon(record)
            record.fail(Phase.START, _sentence(error), error)
            self._log.error("plugin.failed", plugin=record.name, phase="start", reason=record.reason)
        else:
            record.start_seconds = time.perf_counter() - started
            record.state, record.phase, record.reason = State.RUNNING, None, ""
            self._log.info("plugin.running", plugin=record.name, seconds=round(record.start_seconds, 3))

    @staticmethod
    def _cancelled() -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def _enter(self, record: Record) -> None:
        """Enter the lifespan in a task of its own, offer its services, and let the kernel start its tasks."""
        answer = self._hooks.ask(record, "lifespan", ctx=record.context)
        if answer.error is not None:
            raise answer.error
        if answer.value is not None and not isinstance(answer.value, AbstractAsyncContextManager):
            msg = f"lifespan returned {answer.value!r}; it returns an async context manager"
            raise HeartwoodError(msg)
        life = _Life(answer.value, asyncio.get_running_loop().create_future())
        task = asyncio.create_task(life.live(), name=f"{record.name}: lifespan")
        task.add_done_callback(_retrieved)
        self._lives[record.name] = (life, task)
        limit = self._limits(record.name).start
        await self._within(limit, life.entered, record, "start", "start_timeout")
        self._services.offer(record, life.entered.result())
        await self._on_running(record)

    async def _within(self, limit: float, waited: asyncio.Future[Any], record: Record, verb: str, key: str) -> None:
        """Wait for ``waited``: a warning at a quarter of the limit, an error at its end."""
        done, _ = await asyncio.wait({waited}, timeout=limit / 4)
        if not done:
            self._log.warning(f"plugin.slow_{verb}", plugin=record.name, seconds=limit / 4, limit=limit)
            done, _ = await asyncio.wait({waited}, timeout=limit * 3 / 4)
        if not done:
            msg = f"did not {verb} within {limit:g} s ({key})"
            raise TimeoutError(msg)

    async def _abandon(self, record: Record) -> None:
        """Give up a lifespan that failed or hangs."""
        self._services.withdraw(record)
        life, task = self._lives.pop(record.name, (None, None))
        if life is None or task is None or task.done():
            return
        if life.entered.done() and not life.entered.cancelled() and life.entered.exception() is None:
            life.leave.set()
        else:
            task.cancel()
        await asyncio.wait({task}, timeout=GRACE)
        if not task.done():
            task.cancel()
            self._log.warning("plugin.left_behind", plugin=record.name, reason="its lifespan ignores cancellation")

    async def _retry_later(self, record: Record, error: NotReady) -> None:
        await self._abandon(record)
        record.state, record.phase, record.reason = State.RETRYING, Phase.START, str(error)
        record.attempt += 1
        record.note("start", error)
        settings = self._settings
        wait = min(settings.retry_first * 2 ** (record.attempt - 1), settings.retry_longest)
        wait *= random.uniform(0.75, 1.25)
        self._log.warning("plugin.retrying", plugin=record.name, attempt=record.attempt, reason=str(error), wait=wait)
        self._retries[record.name] = asyncio.create_task(self._retry(record, wait), name=f"{record.name}: retry")

    async def _retry(self, record: Record, wait: float) -> None:
        await asyncio.sleep(wait)
        await self._start(record)
        if record.serving:
            record.attempt = 0
            for other in self._records:
                if other.state is State.SKIPPED and record.name in other.requires:
                    await self._start(other)

    async def _stop(self, record: Record) -> None:
        life, task = self._lives.pop(record.name)
        try:
            await self._on_stopped(record)
        except Exception as error:
            record.note(str(Phase.STOP), error)
            self._log.exception("plugin.stop_failed", plugin=record.name)
        self._services.withdraw(record)
        life.leave.set()
        try:
            await self._within(self._limits(record.name).stop, task, record, "stop", "stop_timeout")
            task.result()
        except (Exception, asyncio.CancelledError) as error:
            record.note(str(Phase.STOP), error)
            self._log.error("plugin.stop_failed", plugin=record.name, reason=_sentence(error))
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE)
        record.state = State.STOPPED


def _retrieved(task: asyncio.Task[None]) -> None:
    """Take note of the task's error, which is told through the lifespan's future or at the stop."""
    if not task.cancelled():
        task.exception()


def _sentence(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, HeartwoodError | TimeoutError) and text else f"{type(error).__name__}: {text}"
