"""Binding handlers to what their signatures ask for. Routes, jobs, events, tasks and checks are all bound here."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from heartwood.contracts.errors import HeartwoodError
from heartwood.plugins.injection import Container, Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from heartwood.plugins.services import ServiceCatalog

MISSING: Any = inspect.Parameter.empty


class CannotBind(HeartwoodError):
    """A handler asks for something that nobody can give; the sentence names the parameter and the way out."""


@frozen
class Parameter:
    """One parameter of a handler; ``default`` is :data:`MISSING` where it has none."""

    name: str
    kind: Any
    default: Any


@frozen
class Signature:
    """What a handler asks for, and what it returns; :data:`MISSING` where it does not say."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: Any


@frozen
class Bound:
    """A handler with what it asks for.

    Args:
        handler: the function itself.
        signature: what it says.
        injected: parameters that the caller injects by their type.
        services: parameters that are services.
        rest: parameters that the caller must find by their names.
    """

    handler: Callable[..., Awaitable[Any]]
    signature: Signature
    injected: Mapping[str, Any]
    services: Mapping[str, type]
    rest: tuple[Parameter, ...]
    _registry: Registry = field(repr=False)

    def asks_for(self, kind: Any) -> str | None:
        """Return the name of the parameter that is injected with a ``kind``, or None."""
        return next((name for name, each in self.injected.items() if each is kind), None)

    def call(self, arguments: dict[str, Any]) -> Awaitable[Any]:
        """Run the handler with ``arguments`` and its services, which are given back when it ends.

        Raises:
            ServiceUnavailable: the provider of a service does not run.
        """
        return self._with_services(arguments) if self.services else self.handler(**arguments)

    async def _with_services(self, arguments: dict[str, Any]) -> Any:
        async with Container(self._registry) as container:
            for name, contract in self.services.items():
                arguments[name] = await container.aget(contract)
            return await self.handler(**arguments)


class Binder:
    """Binds the handlers of one kernel's plugins. Each plugin has a registry of its own, for services know who asks."""

    def __init__(self, services: ServiceCatalog) -> None:
        self._services = services
        self._registries: dict[str, Registry] = {}

    def bind(self, plugin: str, handler: Any, injectable: tuple[Any, ...] = ()) -> Bound:
        """Sort the parameters of ``handler`` into what is injected, services, and the rest.

        Raises:
            CannotBind: it is not an async function, or an annotation is missing or unknown.
        """
        signature = inspect_handler(handler)
        injected = {each.name: each.kind for each in signature.parameters if each.kind in injectable}
        services = {
            each.name: each.kind
            for each in signature.parameters
            if each.name not in injected and self._is_service(each.kind)
        }
        rest = tuple(each for each in signature.parameters if each.name not in injected and each.name not in services)
        registry = self._registry(plugin)
        for contract in services.values():
            self._register(registry, plugin, contract)
        return Bound(handler, signature, injected, services, rest, registry)

    def plain(self, plugin: str, function: Any) -> Callable[[], Awaitable[Any]]:
        """Bind a function that asks for services only: a task, a health check.

        Raises:
            CannotBind: it asks for anything else.
        """
        bound = self.bind(plugin, function)
        refuse_rest(bound, "only services can be injected here")

        async def call() -> Any:
            return await bound.call({})

        return call

    def _is_service(self, kind: Any) -> bool:
        return isinstance(kind, type) and (self._services.knows(kind) or getattr(kind, "_is_protocol", False))

    def _registry(self, plugin: str) -> Registry:
        return self._registries.setdefault(plugin, Registry())

    def _register(self, registry: Registry, plugin: str, contract: type) -> None:
        """Let svcs ask the catalog each time; what is made for one use is left again, a lasting value is not."""
        if contract not in registry:
            services = self._services

            def give() -> Any:
                return services.one(contract, consumer=plugin)

            registry.register_factory(contract, give, enter=services.per_use(contract))


def inspect_handler(handler: Any) -> Signature:
    """Return what an async function asks for, its annotations resolved.

    Raises:
        CannotBind: it is not async, or an annotation is missing or cannot be resolved.
    """
    name = getattr(handler, "__qualname__", repr(handler))
    if not inspect.iscoroutinefunction(inspect.unwrap(handler)):
        msg = f"{name} is not an async function; write `async def`"
        raise CannotBind(msg)
    try:
        found = inspect.signature(handler, eval_str=True)
    except NameError as error:
        msg = f"{name}: {error}; annotations are read when the plugin starts: import it outside `if TYPE_CHECKING`"
        raise CannotBind(msg) from error
    parameters = tuple(_parameter(name, each) for each in found.parameters.values())
    return Signature(name, parameters, found.return_annotation)


def _parameter(handler: str, found: inspect.Parameter) -> Parameter:
    if found.kind not in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY):
        msg = f"{handler}: the parameter {found} cannot be bound; every parameter needs a name of its own"
        raise CannotBind(msg)
    if found.annotation is MISSING:
        msg = f"{handler}: the parameter {found.name!r} has no annotation; it says what is injected"
        raise CannotBind(msg)
    return Parameter(found.name, found.annotation, found.default)


def refuse_rest(bound: Bound, why: str) -> None:
    """Raise where parameters are left that nobody can give.

    Raises:
        CannotBind: there are some; the sentence names the first.
    """
    if bound.rest:
        first = bound.rest[0]
        kind = getattr(first.kind, "__name__", first.kind)
        msg = f"{bound.signature.name}: nothing can be given for the parameter {first.name!r} of type {kind}; {why}"
        raise CannotBind(msg)
