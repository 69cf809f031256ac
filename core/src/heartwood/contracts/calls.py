"""How a plugin runs what another plugin gave it through a hook of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heartwood.contracts.people import Actor


class Caller(Protocol):
    """Runs contributed functions; a service of the kernel."""

    async def call(self, owner: str, function: Callable[..., Awaitable[Any]], *, actor: Actor, where: str) -> Any:
        """Call ``function``, which plugin ``owner`` contributed, with the services in its signature and ``actor``.

        It runs as ``owner``'s: its database, its errors (counted under ``where``, kept in its record), its log lines.

        Raises:
            PluginUnavailable: ``owner`` does not serve now.
        """
        ...
