"""From configuration to collected plugins: what happens before the loop runs, without any I/O but reading."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from heartwood.contracts.data import Tables
from heartwood.contracts.errors import HeartwoodError
from heartwood.data.migrations import MigrationSource
from heartwood.observe.metrics import MetricRefused
from heartwood.plugins.binding import Binder
from heartwood.plugins.collect import collect
from heartwood.plugins.discovery import Candidate, discover
from heartwood.plugins.loader import adopt, load
from heartwood.plugins.order import in_order
from heartwood.plugins.records import Phase, Record, State
from heartwood.web.binding import BoundRoute, bind_route
from heartwood.web.openapi import Mounted, document
from heartwood.work.attempts import JobHandler
from heartwood.work.binding import bind_job
from heartwood.work.events import event_handler
from heartwood.work.tasks import cron_handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from heartwood.config.findings import Finding
    from heartwood.config.sources import Layers
    from heartwood.contracts.data import Migration
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


def find(layers: Layers, settings: Settings, classes: Sequence[type[Plugin]] | None) -> list[Record]:
    """Return all plugins in order, the enabled ones imported; ``classes`` takes the place of what is installed."""
    if classes is not None:
        return _given(layers, classes)
    folder = Path(settings.loader.dir).expanduser() if settings.loader.dir else None
    candidates = discover(layers.plugin_switches(), folder=folder)
    for each in candidates:
        if each.record.state is State.FOUND:
            load(each, timeout=settings.loader.import_timeout)
    return _sorted([each.record for each in candidates])


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


def configure(layers: Layers, records: Iterable[Record], make_context: Callable[[Record, Any], Any]) -> list[Finding]:
    """Give every plugin its configuration and context; return what is wrong with the configurations."""
    findings: list[Finding] = []
    for record in records:
        if record.state is not State.FOUND:
            continue
        loaded = layers.plugin(record.name, record.plugin.config)
        findings += loaded.findings
        if loaded.findings:
            record.fail(Phase.CONFIGURE, "; ".join(map(str, loaded.findings)))
        else:
            record.context = make_context(record, loaded.value if record.plugin.config else None)
    return findings


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

    def collect(self, records: Sequence[Record], hooks: Hooks) -> list[Contributed]:
        """Return the contributions of those that pass; the others have failed, and nothing of them stays."""
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
        bound = bind_route(record.name, route, self.binder)
        document([Mounted(record.name, route.path, bound)], version="")  # a type that has no schema is found here
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
        self.parts.handlers.setdefault(handler.plugin, []).append(handler)

    def _measured(self, each: Contributed) -> bool:
        record = each.record
        try:
            self._metrics.register(record.name, each.of("metrics"), prefixes=record.prefixes)
        except MetricRefused as error:
            record.fail(Phase.COLLECT, f"metrics: {error}", error)
        return record.state is State.FOUND


def migration_sources(records: Iterable[Record], hooks: Hooks) -> list[MigrationSource]:
    """Return where the tables of the plugins come from, in order; one that cannot say becomes ``failed(migrate)``."""
    sources = []
    for record in records:
        answer = hooks.ask(record, "tables")
        if answer.error is not None:
            record.fail(Phase.MIGRATE, f"tables: {answer.error}", answer.error)
        elif answer.value is not None:
            given: Tables | Iterable[Migration] = answer.value
            sources.append(MigrationSource(record.name, given if isinstance(given, Tables) else tuple(given)))
    return sources


def refuse(records: Iterable[Record], findings: Sequence[Finding], *, strict: bool) -> None:
    """Raise where a required plugin, or with ``strict`` any enabled one, cannot run.

    Raises:
        Refused: with a sentence for each of them.
    """
    broken = [record for record in records if record.state in DEAD and (strict or record.required)]
    if not broken:
        return
    lines = [f"plugin {record.name!r} is {record.label}: {record.reason}" for record in broken]
    others = [str(finding) for finding in findings if str(finding) not in "\n".join(lines)]
    raise Refused("\n".join([*lines, *others]))


def owner_of(records: Iterable[Record]) -> Callable[[str], str | None]:
    """Return what tells the plugin that a source file belongs to."""
    import sys  # noqa: PLC0415  (used here only)

    folders = []
    for record in records:
        module = sys.modules.get(type(record.plugin).__module__) if record.plugin else None
        file = getattr(module, "__file__", None)
        if file and record.name != "core":
            single = type(record.plugin).__module__.startswith("heartwood_file_")
            folders.append((file if single else str(Path(file).parent), record.name))
    return lambda name: next((plugin for folder, plugin in folders if name.startswith(folder)), None)


__all__ = [
    "Assembly",
    "Candidate",
    "Parts",
    "Refused",
    "configure",
    "find",
    "migration_sources",
    "owner_of",
    "refuse",
    "register",
]
