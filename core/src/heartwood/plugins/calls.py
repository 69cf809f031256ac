"""The typed face of pluggy: hooks are asked one plugin at a time, and every answer knows whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from heartwood.contracts.errors import HeartwoodError
from heartwood.plugins.plugin import Contribution, Plugin
from heartwood.plugins.records import Phase
from heartwood.plugins.spec import KERNEL_SPECS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heartwood.plugins.records import Record


class Hooks:
    """The hooks of one kernel and the plugins registered with it."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("heartwood")
        self._plugins: dict[str, Plugin] = {}
        self._owners: dict[str, str] = {}
        for spec in KERNEL_SPECS:
            self._manager.add_hookspecs(spec)
            self._owners |= dict.fromkeys(_names(spec), "core")

    def register(self, records: Iterable[Record]) -> None:
        """Register the plugins of ``records``, their new specifications first; a bad one fails and leaves no trace."""
        records = [record for record in records if self._add_specs(record)]
        for record in records:
            self._add(record)

    def ask(self, record: Record, hook: str, **arguments: Any) -> Contribution[Any]:
        """Ask one plugin one hook; its value is None where the plugin does not implement it."""
        implementation = self._implementation(record.plugin, hook)
        if implementation is None:
            return Contribution(record.name, None)
        given = {name: value for name, value in arguments.items() if name in implementation.argnames}
        try:
            return Contribution(record.name, implementation.function(**given))
        except Exception as error:
            return Contribution(record.name, None, error)

    def ask_all(
        self, asker: str, hook: str, arguments: dict[str, Any], records: Iterable[Record]
    ) -> list[Contribution[Any]]:
        """Ask the hook that ``asker`` specified of all ``records``, each with its own ``ctx``; silent ones are left out.

        Raises:
            HeartwoodError: ``asker`` has not specified this hook.
        """
        if self._owners.get(hook) != asker:
            msg = f"plugin {asker!r} asked the hook {hook!r}, which it has not specified"
            raise HeartwoodError(msg)
        return [
            self.ask(record, hook, **{"ctx": record.context, **arguments})
            for record in records
            if self._implementation(record.plugin, hook) is not None
        ]

    def unmatched(self, record: Record) -> list[str]:
        """Return the optional hooks of a plugin that nobody here has specified."""
        return sorted(
            caller.name for caller in self._manager.get_hookcallers(record.plugin) or () if not caller.has_spec()
        )

    def _add_specs(self, record: Record) -> bool:
        """Add the specifications that a plugin brings, before anything implements them."""
        method = getattr(record.plugin, "hookspecs", None)
        if method is None or not hasattr(method, "heartwood_impl"):
            return True
        try:
            for spec in method():
                for name in _names(spec):
                    if name in self._owners:
                        msg = f"the hook {name!r} is specified by {self._owners[name]!r} already"
                        raise HeartwoodError(msg)
                self._manager.add_hookspecs(spec)
                self._owners |= dict.fromkeys(_names(spec), record.name)
        except Exception as error:
            record.fail(Phase.REGISTER, f"hookspecs: {error}", error)
            return False
        return True

    def _add(self, record: Record) -> None:
        try:
            self._manager.register(record.plugin, record.name)
        except pluggy.PluginValidationError as error:
            self._manager.unregister(record.plugin) if self._manager.is_registered(record.plugin) else None
            record.fail(Phase.REGISTER, " ".join(str(error).split()), error)
            return
        for caller in self._manager.get_hookcallers(record.plugin) or ():
            stray = [each for each in caller.get_hookimpls() if each.plugin is record.plugin and not each.optionalhook]
            if not caller.has_spec() and stray:
                self._manager.unregister(record.plugin)
                record.fail(Phase.REGISTER, f"there is no hook {caller.name!r}{_near(caller.name, self._owners)}")
                return

    def _implementation(self, plugin: Plugin | None, hook: str) -> Any:
        caller = getattr(self._manager.hook, hook, None)
        return next((each for each in caller.get_hookimpls() if each.plugin is plugin), None) if caller else None


def _names(spec: type) -> list[str]:
    return [name for name, member in vars(spec).items() if hasattr(member, "heartwood_spec")]


def _near(name: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else "; mark it optionalhook=True if another plugin specifies it"
