"""Schedules: five fields in the hub's time zone, kept in PgQueuer's table, fired once in the whole hub."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from heartwood.contracts.errors import DatabaseUnavailable, HeartwoodError
from heartwood.work import store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heartwood.contracts.data import Queries

FIELDS = 5
LONGEST_WAIT = 5.0
"""Seconds between two looks at the table, so that a clock that was set is not believed for long."""


class BadSchedule(HeartwoodError):
    """A task's ``cron`` is not five fields that make sense together."""


def check_cron(plugin: str, task: str, expression: str) -> None:
    """Raise where ``expression`` is not a schedule.

    Raises:
        BadSchedule: names the plugin, the task, the expression and the way out.
    """
    from croniter import croniter  # type: ignore[import-untyped]  # noqa: PLC0415  (only who has schedules pays for it)

    if len(expression.split()) != FIELDS or not croniter.is_valid(expression) or not _comes(expression):
        message = (
            f"plugin {plugin!r}: task {task!r} has cron = {expression!r}; give five fields: "
            "minute, hour, day of month, month, day of week, for example '30 3 * * *'"
        )
        raise BadSchedule(message)


def _comes(expression: str) -> bool:
    """Whether its day ever comes, unlike the 31st of February."""
    try:
        next_run(expression, ZoneInfo("UTC"), datetime.now(UTC))
    except ValueError:
        return False
    return True


def next_run(expression: str, zone: ZoneInfo, after: datetime) -> datetime:
    """Return when ``expression``, read in ``zone``, is due for the first time after ``after`` (aware); in UTC."""
    from croniter import croniter  # noqa: PLC0415  (as above)

    found: datetime = croniter(expression, after.astimezone(zone)).get_next(datetime)
    return found.astimezone(UTC)


class CronTable:
    """Fires the schedules of the plugins that run in this process.

    Args:
        queries: the kernel's way to PostgreSQL.
        zone: the hub's time zone.
        log: a structlog logger.
    """

    def __init__(self, queries: Queries, zone: ZoneInfo, log: Any) -> None:
        self._queries = queries
        self._zone = zone
        self._log = log
        self._expressions: dict[str, dict[str, str]] = {}
        self._planned: dict[str, dict[str, str]] = {}
        self._changed = asyncio.Event()

    def add(self, plugin: str, expressions: Mapping[str, str]) -> None:
        """Enqueue the jobs of ``plugin`` whenever their expressions are due, and delete its other schedules."""
        self._expressions[plugin] = dict(expressions)
        self._changed.set()

    def remove(self, plugin: str) -> None:
        """Leave these schedules to other processes. They stay in the table: a missed run is made up later."""
        self._expressions.pop(plugin, None)
        self._planned.pop(plugin, None)

    async def run(self) -> None:
        """Fire what is due, for ever; waits for PostgreSQL where it is away."""
        while True:
            self._changed.clear()
            try:
                await self._look()
            except DatabaseUnavailable:
                pass
            except Exception:  # noqa: BLE001  (whatever it was, the next look may do better)
                self._log.exception("cron.failed")
            await self._wait()

    async def _look(self) -> None:
        if self._expressions != self._planned:
            planned = dict(self._expressions)
            names, expressions, runs = self._columns()
            await self._queries.execute(store.UNPLAN, list(planned), names, expressions)
            await self._queries.execute(store.PLAN, names, expressions, runs)
            self._planned = planned
        columns = self._columns()
        if columns[0]:
            await self._queries.execute(store.FIRE, *columns)

    def _columns(self) -> tuple[list[str], list[str], list[datetime]]:
        now = datetime.now(UTC)
        wishes = [wish for mine in self._expressions.values() for wish in mine.items()]
        runs = [next_run(expression, self._zone, now) for _, expression in wishes]
        return [name for name, _ in wishes], [expression for _, expression in wishes], runs

    async def _wait(self) -> None:
        now = datetime.now(UTC)
        runs = self._columns()[2]
        seconds = min([(run - now).total_seconds() + 0.02 for run in runs] + [LONGEST_WAIT])
        try:
            async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may swallow a cancellation
                await self._changed.wait()
        except TimeoutError:
            return
