"""Binding the handlers of jobs and events: payload, attempt, actor, transaction and services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs

from heartwood.contracts.data import Transaction
from heartwood.contracts.errors import Discard, Invalid
from heartwood.contracts.jobs import JobRun
from heartwood.contracts.people import Actor
from heartwood.plugins.binding import Binder, CannotBind
from heartwood.plugins.codec import decode

if TYPE_CHECKING:
    from heartwood.work.attempts import Attempt

INJECTABLE = (Actor, Transaction, JobRun)


def bind_job(
    plugin: str, handler: Any, binder: Binder, *, payload: str = "payload"
) -> Callable[[bytes | None, Attempt], Awaitable[Any]]:
    """Bind a job's handler, or an event's with ``payload="event"``.

    A payload that the handler's class cannot read any more can never succeed: the job is dead at once.

    Raises:
        CannotBind: it asks for something else; the sentence names the parameter.
    """
    bound = binder.bind(plugin, handler, INJECTABLE)
    for each in bound.rest:
        if each.name != payload or not attrs.has(each.kind):
            msg = (
                f"{bound.signature.name}: nothing can be given for the parameter {each.name!r}; a handler here takes "
                f"`{payload}` (an attrs class), JobRun, Actor, Transaction and services"
            )
            raise CannotBind(msg)
    kind = bound.rest[0].kind if bound.rest else None
    run, actor, tx = bound.asks_for(JobRun), bound.asks_for(Actor), bound.asks_for(Transaction)

    async def call(data: bytes | None, attempt: Attempt) -> Any:
        given: dict[str, Any] = {}
        if kind is not None:
            given[payload] = _read(kind, data)
        if run is not None:
            given[run] = attempt
        if actor is not None:
            given[actor] = attempt.actor
        if tx is None:
            return await bound.call(given)
        async with attempt.whole() as opened:
            given[tx] = opened
            return await bound.call(given)

    return call


def _read(kind: type, data: bytes | None) -> Any:
    try:
        return decode(kind, data or b"null")
    except Invalid as error:
        faults = "; ".join(f"{fault.where}: {fault.message}".lstrip(": ") for fault in error.faults)
        msg = f"the payload is not a {kind.__name__}: {faults}"
        raise Discard(msg) from error
