"""Which plugin provides which service, and whether it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from heartwood.contracts.errors import HeartwoodError, ServiceUnavailable
from heartwood.contracts.services import Provides, has_many
from heartwood.plugins.plugin import Provided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heartwood.plugins.records import Record

T = TypeVar("T")


class ServiceCatalog:
    """The services of one kernel. Promises are made when plugins are collected, values come and go with them."""

    def __init__(self) -> None:
        self._kernel: dict[type, Callable[[str], Any]] = {}
        self._promises: dict[type, list[tuple[Record, Provides]]] = {}
        self._values: dict[tuple[str, type], Any] = {}

    def provide(self, contract: type, give: Callable[[str], Any]) -> None:
        """Let the kernel itself provide ``contract``; ``give`` gets the name of the plugin that asks."""
        self._kernel[contract] = give

    def knows(self, contract: type) -> bool:
        """Whether anybody provides, or promised to provide, ``contract``."""
        return contract in self._kernel or bool(self._promises.get(contract))

    def per_use(self, contract: type) -> bool:
        """Whether a value of ``contract`` is made for each use, and is a context manager's to leave again."""
        return any(each.factory is not None for _, each in self._promises.get(contract, ()))

    def promise(self, record: Record, provides: Provides) -> None:
        """Note that a plugin provides a contract while it runs.

        Raises:
            HeartwoodError: the contract has one provider, and there is one already; the sentence names both.
        """
        contract = provides.contract
        others = self._promises.get(contract, [])
        if contract in self._kernel or (others and not has_many(contract)):
            owner = f"plugin {others[0][0].name!r}" if others else "the kernel"
            msg = f"the service {contract.__name__} of plugin {record.name!r} is provided by {owner}; it can have one"
            raise HeartwoodError(msg)
        self._promises.setdefault(contract, []).append((record, provides))

    def retract(self, record: Record) -> None:
        """Forget what a plugin promised."""
        for promises in self._promises.values():
            promises[:] = [each for each in promises if each[0] is not record]

    def offer(self, record: Record, yielded: Any) -> None:
        """Give out what a plugin's lifespan yielded, for what it promised.

        Raises:
            HeartwoodError: a promised value is missing.
        """
        mine = [each for promises in self._promises.values() for owner, each in promises if owner is record]
        awaited = [each.contract for each in mine if each.factory is None]
        for contract in awaited:
            value = yielded
            if len(awaited) > 1:
                value = yielded.get(contract) if isinstance(yielded, Mapping) else None
            if value is None:
                msg = f"plugin {record.name!r} provides {contract.__name__}, but its lifespan did not yield it"
                raise HeartwoodError(msg)
            self._values[record.name, contract] = value

    def withdraw(self, record: Record) -> None:
        """Take back a plugin's values."""
        for key in [key for key in self._values if key[0] == record.name]:
            del self._values[key]

    def one(self, contract: type[T], *, consumer: str) -> T:
        """Return the value of a contract that has one provider.

        Raises:
            ServiceUnavailable: its provider does not run, or there is none.
        """
        if contract in self._kernel:
            value: T = self._kernel[contract](consumer)
            return value
        for record, provides in self._promises.get(contract, ()):
            if record.serving:
                mine: T = self._value(record, provides)
                return mine
            raise ServiceUnavailable(contract.__name__, owner=record.name, state=record.label)
        raise ServiceUnavailable(contract.__name__, owner=None, state="missing")

    def all(self, contract: type[T], *, consumer: str) -> Sequence[Provided[T]]:  # noqa: ARG002  (as `one` has it)
        """Return the values of all providers that run, in the order of the plugins."""
        promises = self._promises.get(contract, ())
        return [Provided(record.name, self._value(record, each)) for record, each in promises if record.serving]

    def _value(self, record: Record, provides: Provides) -> Any:
        if provides.factory is not None:
            return provides.factory()
        return self._values[record.name, provides.contract]
