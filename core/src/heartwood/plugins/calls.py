"""The typed face of pluggy: hooks are asked one plugin at a time, and every answer knows whose it is."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pluggy

from heartwood.config.findings import nearest
from heartwood.contracts.errors import HeartwoodError
from heartwood.plugins.plugin import Contribution
from heartwood.plugins.records import Phase, State
from heartwood.plugins.spec import KERNEL_SPECS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from heartwood.plugins.records import Record


class Hooks:
    """The hooks of one kernel and the plugins registered with it."""

    def __init__(self) -> None:
        self._build(())

    def register(self, records: Iterable[Record]) -> None:
        """Register the plugins of ``records``, their new specifications first; a bad one fails and leaves no trace.

        pluggy cannot forget a specification, so the others are registered anew where one has failed.
        """
        alive = [*self._records, *records]
        while not self._build(alive):
            alive = [record for record in alive if record.state is not State.FAILED]

    def ask(self, record: Record, hook: str, **arguments: Any) -> Contribution[Any]:
        """Ask one plugin one hook; its value is None where the plugin does not implement it."""
        implementation = self._implementation(record, hook)
        if implementation is None:
            return Contribution(record.name, None)
        given = {name: value for name, value in arguments.items() if name in implementation.argnames}
        try:
            return Contribution(record.name, implementation.function(**given))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  (what a plugin raises, sys.exit included, costs that plugin)
            return Contribution(record.name, None, error)

    def ask_all(
        self, asker: str, hook: str, arguments: dict[str, Any], records: Iterable[Record]
    ) -> list[Contribution[Any]]:
        """Ask all ``records`` the hook that ``asker`` specified, each with its own ``ctx``; silent ones are left out.

        Raises:
            HeartwoodError: ``asker`` has not specified this hook.
        """
        if self._owners.get(hook) != asker:
            msg = f"plugin {asker!r} asked the hook {hook!r}, which it has not specified"
            raise HeartwoodError(msg)
        return [
            self.ask(record, hook, **{"ctx": record.context, **arguments})
            for record in records
            if self._implementation(record, hook) is not None
        ]

    def unmatched(self, record: Record) -> list[str]:
        """Return the optional hooks of a plugin that nobody here has specified."""
        callers = self._manager.get_hookcallers(record.plugin) or ()
        return sorted(caller.name for caller in callers if not caller.has_spec())

    def implemented(self, record: Record) -> dict[str, list[str]]:
        """Return the names of the functions by which a plugin implements hooks, and of the hooks that it specifies."""
        callers = self._manager.get_hookcallers(record.plugin) or ()
        found = {
            caller.name: [str(getattr(self._implementation(record, caller.name).function, "__qualname__", ""))]
            for caller in callers
            if caller.has_spec()
        }
        return found | {"hookspecs": [hook for hook, owner in self._owners.items() if owner == record.name]}

    def _build(self, records: Sequence[Record]) -> bool:
        """Make the hooks of exactly these plugins; return whether none of them failed."""
        self._manager = pluggy.PluginManager("heartwood")
        self._records = records
        self._owners: dict[str, str] = {}
        for spec in KERNEL_SPECS:
            self._specify("core", spec)
        for step in (self._add_specs, self._add):
            for record in records:
                self._attempt(step, record)
        return all(record.state is not State.FAILED for record in records)

    def _attempt(self, step: Callable[[Record], None], record: Record) -> None:
        if record.state is not State.FAILED:
            with record.failing(Phase.REGISTER):
                step(record)

    def _add_specs(self, record: Record) -> None:
        """Add the specifications that a plugin brings, before anything implements them."""
        method = getattr(record.plugin, "hookspecs", None)
        if method is not None and hasattr(method, "heartwood_impl"):
            for spec in method():
                self._specify(record.name, spec)

    def _specify(self, owner: str, spec: type) -> None:
        names = [name for name in dir(spec) if hasattr(getattr(spec, name), "heartwood_spec")]
        for name in names:
            if name in self._owners:
                msg = f"hookspecs: the hook {name!r} is specified by {self._owners[name]!r} already"
                raise HeartwoodError(msg)
        self._manager.add_hookspecs(spec)
        self._owners |= dict.fromkeys(names, owner)

    def _add(self, record: Record) -> None:
        self._manager.register(record.plugin, record.name)
        for caller in self._manager.get_hookcallers(record.plugin) or ():
            mine = next(each for each in caller.get_hookimpls() if each.plugin is record.plugin)
            if not caller.has_spec() and not mine.optionalhook:
                msg = f"there is no hook {caller.name!r}{_near(caller.name, self._owners)}"
                raise HeartwoodError(msg)
            if inspect.iscoroutinefunction(mine.function) or mine.wrapper or mine.hookwrapper:
                msg = f"the hook {caller.name!r} must be a plain function: hooks are not awaited and wrap nothing"
                raise HeartwoodError(msg)

    def _implementation(self, record: Record, hook: str) -> Any:
        caller = getattr(self._manager.hook, hook, None)
        return next((each for each in caller.get_hookimpls() if each.plugin is record.plugin), None) if caller else None


def _near(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else "; mark it optionalhook=True if another plugin specifies it"
