"""From configuration to collected plugins: what happens before the loop runs, without any I/O but reading."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from heartwood.contracts.data import Tables
from heartwood.contracts.errors import HeartwoodError
from heartwood.data.migrations import MigrationSource
from heartwood.plugins.binding import Binder
from heartwood.plugins.collect import KERNEL, collect
from heartwood.plugins.discovery import fault_of_name
from heartwood.plugins.loader import adopt, load
from heartwood.plugins.order import in_order
from heartwood.plugins.records import Phase, Record, State
from heartwood.settings import find_plugins
from heartwood.web.binding import BoundRoute, bind_route
from heartwood.web.schemas import Schemas
from heartwood.work.attempts import JobHandler
from heartwood.work.binding import bind_job
from heartwood.work.events import event_handler
from heartwood.work.tasks import cron_handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from heartwood.config.findings import Finding
    from heartwood.config.sources import Layers
    from heartwood.contracts.events import Subscription
    from heartwood.contracts.health import HealthCheck
    from heartwood.contracts.jobs import Job
    from heartwood.contracts.permissions import Permission
    from heartwood.contracts.routes import Route
    from heartwood.contracts.services import Provides
    from heartwood.contracts.tasks import Task
    from heartwood.observe.metrics import Metrics
    from heartwood.plugins.calls import Hooks
    from heartwood.plugins.collect import Contributed
    from heartwood.plugins.plugin import Plugin
    from heartwood.plugins.services import ServiceCatalog
    from heartwood.settings import Settings

    Problems = Mapping[str, list[Finding]]
    """What is wrong with the configuration of each plugin."""

DEAD = frozenset({State.MISSING, State.INCOMPATIBLE, State.FAILED, State.SKIPPED})


class Refused(HeartwoodError):
    """The hub does not start like this; the sentences say which plugin or setting is in the way."""


@define
class Parts:
    """What the plugins contributed, bound and ready, by the name of the plugin."""

    routes: dict[str, list[tuple[Route, BoundRoute]]] = field(factory=dict)
    handlers: dict[str, list[JobHandler]] = field(factory=dict)
    jobs: dict[str, list[Job]] = field(factory=dict)
    tasks: dict[str, list[tuple[Task, Callable[[], Awaitable[Any]]]]] = field(factory=dict)
    subscriptions: dict[str, list[Subscription]] = field(factory=dict)
    checks: dict[str, list[tuple[HealthCheck, Callable[[], Awaitable[str | None]]]]] = field(factory=dict)
    permissions: list[Permission] = field(factory=list)


def find(layers: Layers, settings: Settings, classes: Sequence[type[Plugin]] | None, log: Any) -> list[Record]:
    """Return all plugins in order, the enabled ones imported; ``classes`` takes the place of what is installed."""
    if classes is not None:
        return _given(layers, classes)
    candidates = find_plugins(layers, settings.loader)
    for each in candidates:
        _keep_for_kernel(each.record, settings.web.api_root, log)
        if each.record.state is State.FOUND:
            load(each, log, timeout=settings.loader.import_timeout)
    return _sorted([each.record for each in candidates if each.record.name != KERNEL])


def _keep_for_kernel(record: Record, api_root: str, log: Any) -> None:
    """Let no plugin, not even one that is off, have the kernel's name, or a gate in front of the whole API."""
    if record.name == KERNEL:
        log.error("plugin.ignored", plugin=KERNEL, reason=fault_of_name(KERNEL))
    first = api_root.split("/")[1]
    if first in record.roots:
        record.roots = tuple(root for root in record.roots if root != first)
        if record.state is State.FOUND:
            record.fail(
                Phase.DISCOVER, f"the root {first!r} of plugin {record.name!r} belongs to the API (web.api_root)"
            )


def _given(layers: Layers, classes: Sequence[type[Plugin]]) -> list[Record]:
    records = []
    for cls in classes:
        record = Record(cls.name, prefixes=_prefixes(cls), required=layers.switch(cls.name).value.required)  # type: ignore[union-attr]  # a broken switch is a finding already
        adopt(record, cls)
        records.append(record)
    return _sorted(records)


def _prefixes(cls: type[Plugin]) -> tuple[str, ...]:
    value = f"{cls.__module__}:{cls.__qualname__}"
    found = tuple(point.name for point in entry_points(group="heartwood.prefixes") if point.value == value)
    return found or (cls.name,)


def _sorted(records: list[Record]) -> list[Record]:
    """Return the startable ones in order, then the others."""
    ordered = in_order(records)
    return [*ordered, *(record for record in records if record not in ordered)]


def configure(layers: Layers, records: Iterable[Record], make_context: Callable[[Record, Any], Any]) -> Problems:
    """Give every plugin its configuration and context; return what is wrong with the configurations."""
    problems: dict[str, list[Finding]] = {}
    for record in records:
        if record.state is not State.FOUND:
            continue
        loaded = layers.plugin(record.name, record.plugin.config)
        if loaded.findings:
            problems[record.name] = loaded.findings
            record.fail(Phase.CONFIGURE, "; ".join(map(str, loaded.findings)))
        else:
            record.context = make_context(record, loaded.value if record.plugin.config else None)
    return problems


def register(records: Iterable[Record], hooks: Hooks) -> list[Record]:
    """Register those plugins that are still in the running and return them."""
    hooks.register([record for record in records if record.state is State.FOUND])
    return [record for record in records if record.state is State.FOUND]


class Assembly:
    """Collects what the registered plugins contribute and binds it."""

    def __init__(self, services: ServiceCatalog, metrics: Metrics) -> None:
        self.binder = Binder(services)
        self.parts = Parts()
        self._services = services
        self._metrics = metrics
        self._schemas = Schemas()
        self._known: frozenset[str] = frozenset()

    def collect(self, records: Sequence[Record], hooks: Hooks) -> list[Contributed]:
        """Return the contributions of those that pass; the others have failed, and nothing of them stays."""
        self._known = frozenset(record.name for record in records)
        checks: dict[str, Callable[[Record, Any], None]] = {
            "services": self._service,
            "routes": self._route,
            "jobs": self._job,
            "tasks": self._task,
            "subscriptions": self._subscription,
            "health_checks": self._check,
        }
        passed = [each for each in collect(records, hooks, checks) if self._measured(each)]
        for record in records:
            if record.state is State.FAILED:
                self._services.retract(record)
        for each in passed:
            self.parts.permissions += each.of("permissions")
        return passed

    def _service(self, record: Record, provides: Provides) -> None:
        self._services.promise(record, provides)

    def _route(self, record: Record, route: Route) -> None:
        if route.owner is not None and route.owner not in self._known:
            msg = f"its owner {route.owner!r} is no plugin that is enabled; pass on the name that `contributions` gave"
            raise HeartwoodError(msg)
        bound = bind_route(record.name, route, self.binder)
        if bound.body is not None:
            self._schemas.of(record.name, bound.body, written=False, where=f"{route.label}: body")
        self._schemas.of(record.name, bound.returns, written=True, where=f"{route.label}: answer")
        self.parts.routes.setdefault(record.name, []).append((route, bound))

    def _job(self, record: Record, job: Job) -> None:
        call = bind_job(record.name, job.handler, self.binder)
        self.parts.jobs.setdefault(record.name, []).append(job)
        self._handle(JobHandler(record.name, job, call))

    def _task(self, record: Record, task: Task) -> None:
        call = self.binder.plain(record.name, task.fn)
        if task.cron is not None:
            self._handle(cron_handler(record.name, task, call))
        else:
            self.parts.tasks.setdefault(record.name, []).append((task, call))

    def _subscription(self, record: Record, subscription: Subscription) -> None:
        call = bind_job(record.name, subscription.handler, self.binder, payload="event")
        self.parts.subscriptions.setdefault(record.name, []).append(subscription)
        self._handle(event_handler(record.name, subscription, call))

    def _check(self, record: Record, check: HealthCheck) -> None:
        call = self.binder.plain(record.name, check.fn)
        self.parts.checks.setdefault(record.name, []).append((check, call))

    def _handle(self, handler: JobHandler) -> None:
        others = self.parts.handlers.setdefault(handler.plugin, [])
        if handler.name in {other.name for other in others}:
            msg = f"plugin {handler.plugin!r} has two handlers called {handler.job.name!r}; rename one"
            raise HeartwoodError(msg)
        others.append(handler)

    def _measured(self, each: Contributed) -> bool:
        record = each.record
        with record.failing(Phase.COLLECT, "metrics"):
            self._metrics.register(record.name, each.of("metrics"), prefixes=record.prefixes)
        return record.state is State.FOUND


def migration_sources(contributed: Iterable[Contributed]) -> list[MigrationSource]:
    """Return where the tables of the plugins come from, in order."""
    return [
        MigrationSource(each.record.name, given[0] if isinstance(given[0], Tables) else tuple(given))
        for each in contributed
        if (given := each.of("tables"))
    ]


def refuse(
    records: Iterable[Record], *, strict: bool, findings: Iterable[Finding] = (), problems: Problems | None = None
) -> None:
    """Raise where the kernel's settings or a required plugin, or with ``strict`` any enabled one, stand in the way.

    Everything that is wrong is said then, also with plugins without which the hub would have started.

    Args:
        records: the plugins that count.
        strict: whether every one of them has to run.
        findings: what is wrong with the kernel's settings.
        problems: what is wrong with those of plugins.

    Raises:
        Refused: with a line for each problem.
    """
    lines = [str(finding) for finding in findings]
    broken = sorted((each for each in records if each.state in DEAD), key=lambda each: not each.required)
    if not lines and not any(strict or each.required for each in broken):
        return
    for record in broken:
        who = f"{'' if strict or record.required else 'optional '}plugin {record.name!r}"
        reasons = [str(each) for each in (problems or {}).get(record.name, ())] or [record.reason]
        lines += [f"{who} is {record.label}: {reason}" for reason in reasons]
    raise Refused("\n".join(lines))


def refuse_started(records: Sequence[Record], *, strict: bool) -> None:
    """Raise as :func:`refuse` does; an upstream that is away now is no reason, nor is waiting for one."""
    coming: set[str] = set()
    for each in records:
        waits = each.state is State.SKIPPED and coming.intersection(each.requires)
        if waits or each.state is State.RETRYING:
            coming.add(each.name)
    refuse([each for each in records if each.name not in coming], strict=strict)


def owner_of(records: Iterable[Record]) -> Callable[[str], str | None]:
    """Return what tells the plugin that a source file belongs to: that of its package, or its one file."""
    owners = {}
    for record in records:
        module = sys.modules.get(type(record.plugin).__module__)
        file = getattr(module, "__file__", None)
        if file and record.name != KERNEL:
            owners[f"{Path(file).parent}{os.sep}" if getattr(module, "__package__", "") else file] = record.name
    places = sorted(owners, key=len, reverse=True)  # a package may lie inside of another
    return lambda name: next((owners[place] for place in places if name.startswith(place)), None)


__all__ = [
    "Assembly",
    "Parts",
    "Refused",
    "configure",
    "find",
    "migration_sources",
    "owner_of",
    "refuse",
    "refuse_started",
    "register",
]
