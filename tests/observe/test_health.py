"""A health check has its own time limit and its error is an answer."""

from __future__ import annotations

import asyncio

import pytest

from heartwood.contracts.health import HealthCheck, Verdict
from heartwood.observe.health import run_check


async def fine():
    return None


async def remark():
    return "3 models loaded"


async def wrong():
    msg = "the model is not loaded"
    raise RuntimeError(msg)


async def speechless():
    raise KeyError


async def leaves():
    raise SystemExit(3)


async def interrupts():
    raise KeyboardInterrupt


async def gives_up():
    raise asyncio.CancelledError


async def hangs():
    await asyncio.Event().wait()


async def own_limit():
    msg = "upstream gave up"
    raise TimeoutError(msg)


@pytest.mark.parametrize(
    ("call", "verdict", "message"),
    [
        (fine, Verdict.OK, ""),
        (remark, Verdict.OK, "3 models loaded"),
        (wrong, Verdict.DOWN, "the model is not loaded"),
        (speechless, Verdict.DOWN, "KeyError"),
        (leaves, Verdict.DOWN, "3"),
        (interrupts, Verdict.DOWN, "KeyboardInterrupt"),
        (gives_up, Verdict.DOWN, "CancelledError"),
        (hangs, Verdict.DOWN, "no answer within 0.05 s"),
        (own_limit, Verdict.DOWN, "upstream gave up"),
    ],
)
async def test_what_a_check_does_is_its_result(call, verdict, message):
    """Returning is well, raising is down with the sentence, and taking too long is down with the limit."""
    result = await run_check("ai", HealthCheck("model", call, timeout=0.05, critical=True), call)
    assert ("ai", "model", verdict, message, True) == (
        result.plugin, result.name, result.verdict, result.message, result.critical,
    )  # fmt: skip
    assert result.seconds >= 0


async def test_cancelling_the_caller_cancels_the_check():
    """Being asked to stop is not an answer: it goes on to the caller."""
    task = asyncio.create_task(run_check("ai", HealthCheck("model", hangs, timeout=60), hangs))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
