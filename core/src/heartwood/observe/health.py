"""Asking a health check: under its own time limit, and without ever raising."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from heartwood.contracts.health import HealthCheck, HealthResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def run_check(plugin: str, check: HealthCheck, call: Callable[[], Awaitable[str | None]]) -> HealthResult:
    """Return what ``check`` says of ``plugin``.

    Args:
        plugin: whose check it is.
        check: its name, time limit and weight; its function is not called here.
        call: the check's function with everything bound. Raising, or taking longer than ``check.timeout``
            seconds, means down, or degraded where the check is not critical; what it returns is only a remark.
            Cancelling the caller cancels it.
    """
    started = time.perf_counter()
    works, message = await _ask(check.timeout, call)
    verdict = Verdict.OK if works else Verdict.DOWN if check.critical else Verdict.DEGRADED
    return HealthResult(plugin, check.name, verdict, message, time.perf_counter() - started, check.critical)


async def _ask(limit: float, call: Callable[[], Awaitable[str | None]]) -> tuple[bool, str]:
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return True, await call() or ""
    except BaseException as error:  # whatever a check raises is its answer, ``sys.exit`` included
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        if timer.expired():
            return False, f"no answer within {limit:g} s"
        return False, str(error) or type(error).__name__
