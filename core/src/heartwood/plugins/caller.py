"""Running what one plugin contributed to another, as the contributor's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import HeartwoodError, PluginUnavailable
from heartwood.contracts.people import Actor
from heartwood.observe.logs import bind_plugin, current_plugin
from heartwood.plugins.binding import Binder, Bound, refuse_rest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from heartwood.plugins.records import Record


class ContributedCaller:
    """Implements :class:`heartwood.contracts.calls.Caller` for one kernel.

    Args:
        binder: binds each function once, as its owner's.
        records: all plugins by name.
        on_error: told of the owner, the place and the error, where nobody foresaw it.
    """

    def __init__(
        self, binder: Binder, records: Mapping[str, Record], on_error: Callable[[str, str, BaseException], None]
    ) -> None:
        self._binder = binder
        self._records = records
        self._on_error = on_error
        self._bound: dict[tuple[str, Any], Bound] = {}

    async def call(self, owner: str, function: Callable[..., Awaitable[Any]], *, actor: Actor, where: str) -> Any:
        """Call ``function`` with the services in its signature and ``actor``.

        Raises:
            PluginUnavailable: ``owner`` does not serve now.
        """
        record = self._records[owner]
        if not record.serving:
            raise PluginUnavailable(owner, record.label, record.reason)
        before = current_plugin()
        bind_plugin(owner)
        try:
            bound = self._bind(owner, function)
            asked = bound.asks_for(Actor)
            return await bound.call({asked: actor} if asked else {})
        except HeartwoodError:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if not isinstance(error, asyncio.CancelledError) or task is None or not task.cancelling():
                record.context.log.exception("contribution.crashed", where=where)
                self._on_error(owner, where, error)
            raise
        finally:
            bind_plugin(before)

    def _bind(self, owner: str, function: Callable[..., Awaitable[Any]]) -> Bound:
        key = (owner, function)
        if key not in self._bound:
            bound = self._binder.bind(owner, function, (Actor,))
            refuse_rest(bound, "an actor and services can be injected here")
            self._bound[key] = bound
        return self._bound[key]
