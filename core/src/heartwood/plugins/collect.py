"""Asking every plugin what it contributes: first each by itself, then all against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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
        try:
            if answer.error is not None:
                raise answer.error
            each.values[hook] = _listed(hook, kind, answer.value)
            _check_unique(hook, each.values[hook])
        except Exception as error:
            sentence = str(error) if isinstance(error, HeartwoodError) else f"{type(error).__name__}: {error}"
            record.fail(Phase.COLLECT, f"{hook}: {sentence}", error)
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


def _check_unique(hook: str, values: list[Any]) -> None:
    twice = [name for name, count in Counter(map(name_of, values)).items() if count > 1]
    if twice and hook not in ("subscriptions", "metrics"):
        msg = f"{twice[0]!r} is there twice"
        raise HeartwoodError(msg)


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
        record = each.record
        own = (record.name, *record.prefixes, *record.roots)
        for permission in each.of("permissions"):
            before, _, action = permission.name.partition(".")
            if before not in own or not action:
                _fail(record, f"permission {permission.name!r} does not start with one of: {', '.join(own)}")
            elif permission.name in owners:
                _fail(record, f"permission {permission.name!r} belongs to plugin {owners[permission.name]!r}")
        if record.phase is not Phase.COLLECT:
            owners.update({permission.name: record.name for permission in each.of("permissions")})
    for each in passed:
        _check_routes(each, owners)


def _check_routes(each: Contributed, permissions: Mapping[str, str]) -> None:
    record = each.record
    bases = (*record.prefixes, *record.roots)
    for route in each.of("routes"):
        asked, label = route.permission, f"route {name_of(route)!r}"
        if asked == PUBLIC and record.name != "core":
            _fail(record, f"{label} has the permission {PUBLIC}, which only the kernel's routes may have")
        elif asked != PUBLIC and asked not in permissions:
            _fail(record, f"{label} needs the permission {asked!r}, which nobody has declared")
        elif not bases or (route.prefix is not None and route.prefix not in bases):
            _fail(
                record, f"{label} lies under {route.prefix!r}; plugin {record.name!r} has {', '.join(bases) or 'none'}"
            )
        elif route.path and not route.path.startswith("/"):
            _fail(record, f"{label}: a path starts with a slash")


def _check(each: Contributed, hook: str, check: Check) -> None:
    """Let a floor above look at each value of one hook."""
    for value in each.of(hook):
        try:
            check(each.record, value)
        except Exception as error:
            sentence = str(error) if isinstance(error, HeartwoodError) else f"{type(error).__name__}: {error}"
            each.record.fail(Phase.COLLECT, f"{hook} {name_of(value)!r}: {sentence}", error)
            return


def _fail(record: Record, reason: str) -> None:
    record.fail(Phase.COLLECT, reason)
