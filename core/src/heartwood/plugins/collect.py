"""Asking every plugin what it contributes: first each by itself, then all against each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field

from heartwood.contracts.assets import Assets
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
}
"""The hooks whose values are collected, and what they return; None stands for prometheus_client's collectors."""


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
    for hook, kind in KINDS.items():
        answer = hooks.ask(record, hook, ctx=record.context)
        error = answer.error
        if error is None:
            try:
                each.values[hook] = _listed(hook, kind, answer.value)
                _check_unique(each, hook)
            except Exception as fault:  # noqa: BLE001  (a generator or a property of the plugin may raise anything)
                error = fault
        if error is not None:
            record.fail(Phase.COLLECT, f"{hook}: {_sentence(error)}", error)
            return False
        record.contributions[hook] = [name_of(value) for value in each.values[hook]]
    record.unmatched_hooks = hooks.unmatched(record)
    return True


def _listed(hook: str, kind: type | None, value: Any) -> list[Any]:
    if value is None:
        return []
    values = [value] if kind is Assets and isinstance(value, Assets) else value
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        msg = f"expected an iterable of {kind.__name__ if kind else 'collectors'}, got {value!r}"
        raise HeartwoodError(msg)
    listed = list(values)
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
    keys = [_route_key(each.record, value) if isinstance(value, Route) else name_of(value) for value in values]
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice and hook not in ("subscriptions", "metrics"):
        names = ", ".join(repr(name_of(value)) for key, value in zip(keys, values, strict=True) if key == twice)
        msg = f"plugin {each.record.name!r} has the same twice: {names}"
        raise HeartwoodError(msg)


def _route_key(record: Record, route: Route) -> str:
    """Return what tells routes apart: the parts of a path do, their names do not."""
    prefix = route.prefix or next(iter((*record.prefixes, *record.roots)), "")
    return f"{route.method} {prefix}{re.sub(r'{[^}:]*', '{', route.path)}"


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
        try:
            check(each.record, value)
        except Exception as error:  # noqa: BLE001  (annotations of the plugin are evaluated, and may raise anything)
            each.record.fail(Phase.COLLECT, f"{hook} {name_of(value)!r}: {_sentence(error)}", error)
            return


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, HeartwoodError) else f"{type(error).__name__}: {error}"
