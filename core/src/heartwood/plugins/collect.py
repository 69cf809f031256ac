"""Asking every plugin what it contributes: first each by itself, then all against each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field

from heartwood.contracts.assets import Assets
from heartwood.contracts.data import Migration, Tables
from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.events import Subscription
from heartwood.contracts.health import HealthCheck
from heartwood.contracts.jobs import Job
from heartwood.contracts.permissions import PUBLIC, Permission
from heartwood.contracts.routes import Route
from heartwood.contracts.services import Provides
from heartwood.contracts.tasks import Task
from heartwood.plugins.records import Phase, Record

if TYPE_CHECKING:
    from heartwood.plugins.calls import Hooks

KERNEL = "core"
"""The name of the kernel's own plugin."""

Check = Callable[[Record, Any], None]
"""Looks at one contributed value and raises ``HeartwoodError`` with a sentence where it cannot be used."""

KINDS: dict[str, type | None] = {
    "permissions": Permission,
    "services": Provides,
    "routes": Route,
    "jobs": Job,
    "tasks": Task,
    "subscriptions": Subscription,
    "health_checks": HealthCheck,
    "metrics": None,
    "assets": Assets,
    "tables": Migration,
}
"""The hooks whose values are collected, and what they return; None stands for prometheus_client's collectors."""

ALONE: dict[str, type] = {"assets": Assets, "tables": Tables}
"""Hooks that may return one value by itself."""


@define
class Contributed:
    """What one plugin contributes, by hook."""

    record: Record
    values: dict[str, list[Any]] = field(factory=dict)

    def of(self, hook: str) -> list[Any]:
        """Return the values of one hook."""
        return self.values.get(hook, [])


def collect(records: Iterable[Record], hooks: Hooks, checks: Mapping[str, Check]) -> list[Contributed]:
    """Return the contributions of those plugins that pass, in order; the others are ``failed(collect)``.

    Args:
        records: registered plugins with their contexts, in order.
        hooks: where they are asked.
        checks: for each hook, the check of the floor that will use the value.
    """
    first = [Contributed(record) for record in records]
    passed = [each for each in first if _ask(each, hooks)]
    _refuse_clashes(passed)
    for hook, check in checks.items():  # hook by hook: a route may ask for a service of any plugin
        for each in passed:
            if each.record.phase is not Phase.COLLECT:
                _check(each, hook, check)
    return [each for each in passed if each.record.phase is not Phase.COLLECT]


def _ask(each: Contributed, hooks: Hooks) -> bool:
    """First pass: everything a plugin returns is what it should be, and its names are unique within it."""
    record = each.record
    record.contributions = hooks.implemented(record)
    record.unmatched_hooks = hooks.unmatched(record)
    for hook, kind in KINDS.items():
        with record.failing(Phase.COLLECT, hook):
            answer = hooks.ask(record, hook, ctx=record.context)
            if answer.error is not None:
                raise answer.error
            each.values[hook] = _listed(hook, kind, answer.value)
            _check_unique(each, hook)
            record.contributions[hook] = [name_of(value) for value in each.values[hook]]
        if record.phase is Phase.COLLECT:
            return False
    return True


def _listed(hook: str, kind: type | None, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, ALONE.get(hook, ())):
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        msg = f"expected an iterable of {kind.__name__ if kind else 'collectors'}, got {value!r}"
        raise HeartwoodError(msg)
    listed = list(value)
    for each in listed:
        if kind is not None and not isinstance(each, kind):
            msg = f"expected {kind.__name__}, got {each!r}"
            raise HeartwoodError(msg)
        if kind is None and not hasattr(each, "collect"):
            msg = f"expected a prometheus_client collector, got {each!r}"
            raise HeartwoodError(msg)
    if hook == "tasks":
        _check_tasks(listed)
    return listed


def _check_tasks(tasks: list[Task]) -> None:
    for task in tasks:
        if sum((task.cron is not None, task.every is not None, task.forever)) != 1:
            msg = f"task {task.name!r} needs exactly one of cron, every and forever"
            raise HeartwoodError(msg)


def _check_unique(each: Contributed, hook: str) -> None:
    values = each.of(hook)
    if hook == "routes":
        _refuse_twice(each.record, "the same twice", [_route_key(each.record, route) for route in values], values)
        _refuse_twice(
            each.record, "routes of one name, where `name=` tells them apart", [route.label for route in values], values
        )
    elif hook not in ("subscriptions", "metrics"):
        _refuse_twice(each.record, "the same twice", [name_of(value) for value in values], values)


def _refuse_twice(record: Record, what: str, keys: list[str], values: list[Any]) -> None:
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice is not None:
        names = ", ".join(repr(name_of(value)) for key, value in zip(keys, values, strict=True) if key == twice)
        msg = f"plugin {record.name!r} has {what}: {names}"
        raise HeartwoodError(msg)


def _route_key(record: Record, route: Route) -> str:
    """Return what tells routes apart: the parts of a path do, their names do not."""
    prefix = route.prefix or next(iter((*record.prefixes, *record.roots)), "")
    return f"{route.method} {prefix}{re.sub(r'{[^}]*}', '{}', route.path)}"


def name_of(value: Any) -> str:
    """Return how a contributed value is called in messages and listings."""
    if isinstance(value, Route):
        return f"{value.method} {value.prefix or ''}{value.path}"
    if isinstance(value, Provides):
        return value.contract.__name__
    if isinstance(value, Subscription):
        return str(getattr(value.event, "event_name", value.event.__name__))
    if isinstance(value, Assets):
        return value.package
    if isinstance(value, Tables | Migration):
        return value.migrations if isinstance(value, Tables) else value.revision
    return str(getattr(value, "name", None) or getattr(value, "_name", None) or type(value).__name__)


def _refuse_clashes(passed: list[Contributed]) -> None:
    """Second pass: the later of two plugins that claim the same permission fails, and the sentence names both."""
    owners: dict[str, str] = {}
    for each in passed:
        faults = list(_permission_faults(each, owners))
        if faults:
            each.record.fail(Phase.COLLECT, "; ".join(faults))
        else:
            owners |= {permission.name: each.record.name for permission in each.of("permissions")}
    for each in passed:
        faults = [] if each.record.phase is Phase.COLLECT else list(_route_faults(each, owners))
        if faults:
            each.record.fail(Phase.COLLECT, "; ".join(faults))


def _permission_faults(each: Contributed, owners: Mapping[str, str]) -> Iterator[str]:
    record = each.record
    own = tuple(dict.fromkeys((record.name, *record.prefixes, *record.roots)))
    for permission in each.of("permissions"):
        before, _, action = permission.name.partition(".")
        if permission.name in owners:
            yield (
                f"the permission {permission.name!r} of plugin {record.name!r} "
                f"belongs to plugin {owners[permission.name]!r}"
            )
        elif before not in own or not action:
            yield f"permission {permission.name!r} does not start with one of: {', '.join(own)}"


def _route_faults(each: Contributed, permissions: Mapping[str, str]) -> Iterator[str]:
    record = each.record
    bases = (*record.prefixes, *record.roots)
    for route in each.of("routes"):
        asked, label = route.permission, f"route {name_of(route)!r}"
        if asked == PUBLIC and record.name != KERNEL:
            yield f"{label} has the permission {PUBLIC}, which only the kernel's routes may have"
        elif asked != PUBLIC and asked not in permissions:
            yield f"{label} needs the permission {asked!r}, which nobody has declared"
        elif not bases or (route.prefix is not None and route.prefix not in bases):
            yield f"{label} lies under {route.prefix!r}; plugin {record.name!r} has {', '.join(bases) or 'none'}"
        elif route.path and not route.path.startswith("/"):
            yield f"{label}: a path starts with a slash"


def _check(each: Contributed, hook: str, check: Check) -> None:
    """Let a floor above look at each value of one hook."""
    for value in each.of(hook):
        with each.record.failing(Phase.COLLECT, f"{hook} {name_of(value)!r}"):
            check(each.record, value)
        if each.record.phase is Phase.COLLECT:
            return
