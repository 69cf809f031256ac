"""How the plugins do: what their tasks and health checks say of them, and whether the hub is ready."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from heartwood.contracts.health import HealthResult, Verdict
from heartwood.observe.health import run_check
from heartwood.plugins.records import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any

    from heartwood.contracts.health import HealthCheck
    from heartwood.plugins.records import Record

    Checks = Mapping[str, Sequence[tuple[HealthCheck, Callable[[], Awaitable[str | None]]]]]

REMEMBERED = 1.0
"""Seconds for which the answer of the critical checks is good: anybody may ask, as often as they like."""
TASKS, HEALTH = "tasks", "health"
"""Who finds a plugin degraded. It is well again once none of them does."""


class Condition:
    """The condition of one kernel's plugins.

    Args:
        records: all plugins.
        checks: the bound health checks by the name of their plugin.
        log: a structlog logger, told when a plugin is degraded and when it is well again.
    """

    def __init__(self, records: Sequence[Record], checks: Checks, log: Any) -> None:
        self._records = {record.name: record for record in records}
        self._checks = checks
        self._log = log
        self._ill: dict[str, dict[str, str]] = {}
        self._turn = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._down: list[str] = []
        self._asked = float("-inf")

    async def ready(self) -> list[str]:
        """Return why the hub is not ready, in sentences; an empty list means that it is.

        Only critical checks count. They are asked at most once in ``REMEMBERED`` seconds.
        """
        async with self._turn:
            if time.monotonic() - self._asked >= REMEMBERED:
                down = [each for each in await self._ask(critical=True) if each.verdict is not Verdict.OK]
                self._down = [f"{each.plugin}.{each.name}: {each.message}" for each in down]
                self._asked = time.monotonic()
        required = (each for each in self._records.values() if each.required and not each.serving)
        return [*(f"plugin {each.name!r} is {each.label}" for each in required), *self._down]

    async def look(self) -> list[HealthResult]:
        """Ask the checks of all plugins that serve, and note the answers in their records.

        One look at a time: the answers of an earlier one never overwrite those of a later one.
        """
        async with self._looking:
            results = await self._ask()
            for name in self._records:
                self._note(name, [each for each in results if each.plugin == name])
        return results

    def _note(self, name: str, results: list[HealthResult]) -> None:
        self._records[name].health = results
        faults = [f"{each.name}: {each.message}" for each in results if each.verdict is not Verdict.OK]
        if faults:
            self.degrade(name, "; ".join(faults), HEALTH)
        else:
            self.recover(name, HEALTH)

    async def _ask(self, *, critical: bool = False) -> list[HealthResult]:
        """Ask at the same time, each under its own limit."""
        asked = [
            run_check(name, check, call)
            for name, checks in self._checks.items()
            for check, call in checks
            if self._records[name].serving and (check.critical or not critical)
        ]
        return list(await asyncio.gather(*asked))

    def degrade(self, plugin: str, reason: str, source: str = TASKS) -> None:
        """Say that something of ``plugin`` does not work, as ``source`` found out."""
        self._ill.setdefault(plugin, {})[source] = reason
        self._settle(plugin)

    def recover(self, plugin: str, source: str = TASKS) -> None:
        """Say that ``source`` finds nothing wrong with ``plugin`` any more."""
        self._ill.get(plugin, {}).pop(source, None)
        self._settle(plugin)

    def forget(self, plugin: str) -> None:
        """Forget what was found while ``plugin`` ran."""
        self._ill.pop(plugin, None)
        self._records[plugin].health = []

    def _settle(self, plugin: str) -> None:
        record, reasons = self._records[plugin], "; ".join(self._ill.get(plugin, {}).values())
        state = State.DEGRADED if reasons else State.RUNNING
        if not record.serving:
            return
        if record.state is not state:
            self._log.info("plugin.degraded" if reasons else "plugin.recovered", plugin=plugin, reason=reasons)
        record.state, record.reason = state, reasons
