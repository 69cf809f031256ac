"""Starting plugins in order and stopping them in reverse, each under its own limits."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from heartwood.contracts.errors import HeartwoodError, NotReady
from heartwood.plugins.order import skip_without
from heartwood.plugins.records import Phase, Record, State, sentence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from heartwood.plugins.calls import Hooks
    from heartwood.plugins.services import ServiceCatalog
    from heartwood.plugins.settings import LoaderSettings

UNDECIDED = frozenset({State.FOUND, State.RETRYING})
"""The states of a plugin that is being started, or will be tried again."""

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

    context: AbstractAsyncContextManager[Any]
    entered: asyncio.Future[Any]
    leave: asyncio.Event = field(factory=asyncio.Event)

    async def live(self) -> None:
        """Enter, wait to be told, leave. An error before that ends up in ``entered``, a later one in the task."""
        try:
            async with self.context as value:
                self.entered.set_result(value)
                await self.leave.wait()
        except BaseException as error:
            if not self.entered.done():
                self.entered.set_exception(error)
            elif isinstance(error, SystemExit | KeyboardInterrupt):  # asyncio would end the loop with these
                msg = f"the lifespan raised {type(error).__name__}"
                raise HeartwoodError(msg) from error
            else:
                raise


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
        self._falls: set[asyncio.Task[None]] = set()
        self._waiting: set[str] = set()
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
        if self._retries:
            await asyncio.wait(self._retries.values())
        while self._lives or self._falls:
            if self._falls:
                await asyncio.wait(self._falls)
            else:
                await self._stop(self._known[next(reversed(self._lives))])

    async def _start(self, record: Record) -> None:
        self._waiting.discard(record.name)
        if self._waits(record) or skip_without(record, self._known):
            return
        if record.state is State.SKIPPED:
            record.state, record.reason = State.FOUND, ""
        started = time.perf_counter()
        try:
            await self._enter(record)
        except NotReady as error:
            await self._abandon(record)
            self._retry_later(record, error)
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            await self._abandon(record)
            record.fail(Phase.START, sentence(error), error)
            self._log.error("plugin.failed", plugin=record.name, phase="start", reason=record.reason)
        else:
            record.start_seconds = time.perf_counter() - started
            record.state, record.phase, record.reason = State.RUNNING, None, ""
            self._log.info("plugin.running", plugin=record.name, seconds=round(record.start_seconds, 3))
            self._fall(())  # what it requires may have failed while it started

    def _waits(self, record: Record) -> bool:
        """Skip ``record`` for now where something it requires is tried again, or waits itself; return whether it is."""
        for name in record.requires:
            needed = self._known.get(name)
            if needed is not None and (name in self._waiting or needed.state in UNDECIDED):
                record.state, record.reason = State.SKIPPED, f"waits for {name}, which is not up yet"
                self._waiting.add(record.name)
                return True
        return False

    async def _enter(self, record: Record) -> None:
        """Enter the lifespan in a task of its own, offer its services, and let the kernel start its tasks."""
        answer = self._hooks.ask(record, "lifespan", ctx=record.context)
        if answer.error is not None:
            raise answer.error
        context = nullcontext() if answer.value is None else answer.value
        if not isinstance(context, AbstractAsyncContextManager):
            msg = f"lifespan returned {answer.value!r}; it returns an async context manager"
            raise HeartwoodError(msg)
        life = _Life(context, asyncio.get_running_loop().create_future())
        task = asyncio.create_task(life.live(), name=f"{record.name}: lifespan")
        self._lives[record.name] = (life, task)
        life.entered.add_done_callback(_retrieved)
        task.add_done_callback(partial(self._ended, record))
        await self._within(self._limits(record.name).start, life.entered, record, "start")
        self._services.offer(record, life.entered.result())
        await self._on_running(record)
        if task.done():
            raise _Ended(task)

    def _ended(self, record: Record, task: asyncio.Task[None]) -> None:
        """Take note of a lifespan that ends though nobody told it to: the plugin does not run without it."""
        _retrieved(task)
        mine = self._lives.get(record.name)
        if record.serving and mine is not None and mine[1] is task:
            error = _Ended(task)
            record.fail(Phase.RUN, str(error), error.__cause__)
            self._log.error("plugin.failed", plugin=record.name, phase="run", reason=record.reason)
            self._fall((record,))

    def _fall(self, failed: Iterable[Record]) -> None:
        """Stop what runs for the plugins that ``failed``, and skip those that cannot run without them."""
        running = [record for record in self._records if record.serving and record.name in self._lives]
        skipped = [record for record in running if skip_without(record, self._known)]
        for record in skipped:
            self._log.error("plugin.skipped", plugin=record.name, reason=record.reason)
        fallen = [*failed, *reversed(skipped)]
        for record in fallen:
            self._services.withdraw(record)
        if fallen:
            task = asyncio.create_task(self._stop_all(fallen), name="plugins that have failed")
            self._falls.add(task)
            task.add_done_callback(self._falls.discard)

    async def _stop_all(self, fallen: Iterable[Record]) -> None:
        for record in fallen:
            await self._stop(record)

    async def _within(self, limit: float, waited: asyncio.Future[Any], record: Record, verb: str) -> None:
        """Wait for ``waited``: a warning at a quarter of the limit, an error at its end."""
        done, _ = await asyncio.wait({waited}, timeout=limit / 4)
        if not done:
            self._log.warning(f"plugin.slow_{verb}", plugin=record.name, seconds=limit / 4, limit=limit)
            done, _ = await asyncio.wait({waited}, timeout=limit * 3 / 4)
        if not done:
            msg = f"did not {verb} within {limit:g} s ({verb}_timeout)"
            raise _Late(msg)

    async def _abandon(self, record: Record) -> None:
        """Give up a plugin whose start failed or hangs; what of it had begun is stopped."""
        if record.name not in self._lives:
            return
        life, task = self._lives.pop(record.name)
        self._services.withdraw(record)
        entered = life.entered.done() and not life.entered.exception()
        if entered:
            await self._tell_stopped(record)
        await self._leave(record, life, task, within=self._limits(record.name).stop if entered else 0)

    def _retry_later(self, record: Record, error: NotReady) -> None:
        record.state, record.phase, record.reason = State.RETRYING, Phase.START, str(error)
        record.attempt += 1
        record.note(str(Phase.START), error)
        wait = min(self._settings.retry_first * 2 ** min(record.attempt - 1, 32), self._settings.retry_longest)
        wait *= random.uniform(0.75, 1.25)  # noqa: S311  (spreads the tries, keeps no secret)
        self._log.warning("plugin.retrying", plugin=record.name, attempt=record.attempt, reason=str(error), wait=wait)
        if not self._stopping:
            self._retries[record.name] = asyncio.create_task(self._retry(record, wait), name=f"{record.name}: retry")

    async def _retry(self, record: Record, wait: float) -> None:
        """Try once more; where it is decided now, start those that waited for it, in order."""
        await asyncio.sleep(wait)
        await self._start(record)
        if record.state is State.RETRYING:
            return
        record.attempt = 0
        for other in self._records:
            if other.name in self._waiting:
                await self._start(other)

    async def _stop(self, record: Record) -> None:
        life, task = self._lives.pop(record.name)
        await self._tell_stopped(record)
        if record.serving:
            record.state = State.STOPPED
        self._services.withdraw(record)
        if record.phase is not Phase.RUN:  # that one has ended already, and its error is told
            await self._leave(record, life, task, within=self._limits(record.name).stop)

    async def _tell_stopped(self, record: Record) -> None:
        """Let the kernel stop what it runs for the plugin, within the plugin's own limit."""
        telling = asyncio.ensure_future(self._on_stopped(record))
        await self._finish(record, telling, within=self._limits(record.name).stop)

    async def _leave(self, record: Record, life: _Life, task: asyncio.Task[None], *, within: float) -> None:
        life.leave.set()  # also for one that swallows its cancellation and enters
        if not life.entered.done():
            task.cancel()
        await self._finish(record, task, within=within)

    async def _finish(self, record: Record, task: asyncio.Future[None], *, within: float) -> None:
        """Wait for the end of ``task``, by force after ``within`` seconds; its errors are noted, not raised."""
        try:
            if within and not task.done():
                await self._within(within, task, record, "stop")
        except _Late as error:
            record.note(str(Phase.STOP), error)
            self._log.error("plugin.stop_failed", plugin=record.name, reason=str(error))
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE)
        if not task.done():
            self._log.warning("plugin.left_behind", plugin=record.name, reason="its lifespan ignores cancellation")
        elif not task.cancelled() and (failure := task.exception()) is not None:
            record.note(str(Phase.STOP), failure)
            self._log.error("plugin.stop_failed", plugin=record.name, reason=sentence(failure))


class _Late(HeartwoodError):
    """A plugin took longer than its limit."""


class _Ended(HeartwoodError):
    """A lifespan has ended though nobody told it to."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        super().__init__(f"its lifespan ended by itself: {sentence(error) if error else 'cancelled'}")
        self.__cause__ = error


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Take note of an error that is told elsewhere, so that asyncio does not report it as lost."""
    if not future.cancelled():
        future.exception()
