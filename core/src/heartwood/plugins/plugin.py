"""The class that a plugin is, and the context its hooks are given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import pluggy
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

API = 1
"""The number of the plugin interface. A plugin states the one it was written for."""

hookspec = pluggy.HookspecMarker("heartwood")
hookimpl = pluggy.HookimplMarker("heartwood")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Plugin:
    """What an entry point of the group ``heartwood.plugins`` names. The kernel makes one instance a hub.

    Hooks are methods marked with ``@hookimpl``. They are synchronous, quick, do no I/O, and return frozen values;
    the kernel awaits, times, retries and tears down what it was given.
    """

    name: ClassVar[str]
    """The plugin's name: that of its entry point, of its PostgreSQL schema, and the start of its metric names."""

    api: ClassVar[int] = API
    """The number of the plugin interface it was written for."""

    config: ClassVar[type | None] = None
    """An attrs class of its settings (``[plugins.<name>.config]``), or None."""

    requires: ClassVar[tuple[str, ...]] = ()
    """Plugins without which it cannot run; it starts after them."""

    after: ClassVar[tuple[str, ...]] = ()
    """Plugins it starts after where they are enabled."""


@frozen
class Provided(Generic[T_co]):
    """One provider's value and the plugin it comes from."""

    owner: str
    value: T_co


@frozen
class Contribution(Generic[T_co]):
    """What one plugin returned from a hook, or the error it raised; exactly one of them is set."""

    plugin: str
    value: T_co | None
    error: BaseException | None = None


class Services(Protocol):
    """Where services are looked up, per use."""

    def one(self, contract: Any, *, consumer: str) -> Any:
        """Return the running provider's value."""
        ...

    def all(self, contract: Any, *, consumer: str) -> Sequence[Provided[Any]]:
        """Return the values of all running providers, in plugin order."""
        ...


@frozen
class PluginContext:
    """What a plugin's hooks know of the hub.

    Args:
        name: the plugin's name.
        config: an instance of its ``config`` class, or None.
        log: a structlog logger bound to the plugin.
        role: ``serve``, ``worker`` or ``command``.
        data_dir: where its own folder lies.
    """

    name: str
    config: Any
    log: Any
    role: str
    _data_dir: Path
    services: Services
    ask: Callable[[str, str, dict[str, Any]], Sequence[Contribution[Any]]]
    reverse: Callable[..., str]

    @property
    def data_dir(self) -> Path:
        """A folder of the plugin's own, made when it is asked for; rows and blobs belong elsewhere."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        return self._data_dir

    def one(self, contract: Callable[..., T]) -> T:
        """Return the service ``contract``. Ask per use and keep nothing: a provider may stop.

        The contract is a class; to type checkers it is a callable, since a Protocol may not stand for ``type[T]``.

        Raises:
            ServiceUnavailable: its provider is not running, or nobody provides it.
        """
        found: T = self.services.one(contract, consumer=self.name)
        return found

    def all(self, contract: Callable[..., T]) -> Sequence[Provided[T]]:
        """Return every running provider of a contract marked ``many``, in order, with its owner."""
        return self.services.all(contract, consumer=self.name)

    def contributions(self, hook: str, **arguments: Any) -> Sequence[Contribution[Any]]:
        """Ask all plugins a hook that this plugin specified itself."""
        return self.ask(self.name, hook, arguments)

    def url_for(self, name: str, **parts: Any) -> str:
        """Return the path of a route: ``url_for("ocr:document", id=…)``, or ``"document"`` for one of one's own."""
        return self.reverse(name if ":" in name else f"{self.name}:{name}", **parts)
