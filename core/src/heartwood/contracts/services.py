"""Services: how one plugin uses what another provides, without importing it.

A service is a type, usually a ``Protocol`` in :mod:`heartwood.contracts` or in a ``<name>-contracts`` package. The
class says whether there is ``one`` provider (the default) or ``many``::

    @many
    class FieldReader(Protocol): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import frozen

C = TypeVar("C", bound=type)


def many(contract: C) -> C:
    """Mark ``contract`` as having any number of providers; ``ctx.all(contract)`` gives those that run."""
    contract.__heartwood_many__ = True  # type: ignore[attr-defined]
    return contract


def has_many(contract: type) -> bool:
    """Whether ``contract`` itself was marked with :func:`many`."""
    return bool(vars(contract).get("__heartwood_many__", False))


@frozen
class Provides:
    """A promise to provide ``contract``.

    Without ``factory`` the value is what the plugin's ``lifespan`` yields: the value itself where the plugin provides
    one service, a mapping of type to value where it provides several. ``factory`` is called for each use instead.
    """

    contract: type
    factory: Callable[[], Any] | None = None
