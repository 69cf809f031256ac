"""The order in which plugins start: after what they require, ties by name."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from heartwood.plugins.records import Phase, Record, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALIVE = frozenset({State.FOUND, State.RUNNING, State.DEGRADED, State.RETRYING, State.STOPPED})


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return the records that can still start, each after those it requires and follows.

    Plugins that require each other in a circle fail, and the sentence shows the circle. A plugin whose requirement is
    not there is skipped, and so are those that require it.
    """
    known = {record.name: record for record in records}
    alive = {name: record for name, record in known.items() if record.state is State.FOUND}
    while circle := _circle(alive):
        for name in circle:
            alive.pop(name).fail(Phase.DISCOVER, f"these start after each other: {' → '.join((*circle, circle[0]))}")
    ordered = [alive[name] for name in _sorted(alive)]
    return [record for record in ordered if not skip_without(record, known)]


def skip_without(record: Record, known: dict[str, Record]) -> bool:
    """Mark ``record`` as skipped where something it requires cannot run; return whether it was."""
    for name in record.requires:
        needed = known.get(name)
        if needed is None or needed.state not in ALIVE:
            state = needed.label if needed else "not installed"
            record.state, record.phase, record.reason = State.SKIPPED, None, f"needs {name}, which is {state}"
            return True
    return False


def _sorted(alive: dict[str, Record]) -> Iterable[str]:
    sorter = TopologicalSorter(_graph(alive))
    sorter.prepare()
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        yield from ready
        sorter.done(*ready)


def _circle(alive: dict[str, Record]) -> Sequence[str]:
    try:
        TopologicalSorter(_graph(alive)).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1][1:]))
        first = circle.index(min(circle))
        return [*circle[first:], *circle[:first]]
    return []


def _graph(alive: dict[str, Record]) -> dict[str, list[str]]:
    return {
        name: sorted(other for other in (*record.requires, *record.after) if other in alive)
        for name, record in alive.items()
    }
