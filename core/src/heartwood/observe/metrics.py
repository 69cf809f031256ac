"""Metrics: one Prometheus registry a kernel, the kernel's own families, and those of plugins behind a guard."""

from __future__ import annotations

import platform
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, Summary
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase

from heartwood.contracts.errors import HeartwoodError
from heartwood.observe.names import PREFIX, SHARED, exposed, fault_of, series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample

M = TypeVar("M", bound=MetricWrapperBase)

CORE = "core"
MOST_LABEL_SETS = 200
"""Label sets of one family of a plugin that are exported; more mean that a label is not bounded. The kernel's families
have no such limit: their labels are names of plugins, routes, tasks and queues."""


class MetricRefused(HeartwoodError):
    """A plugin's metric is named badly, or its name belongs to somebody else."""


class Watched(Protocol):
    """What is exported of the state of a plugin; the kernel's records have it."""

    @property
    def name(self) -> str:
        """The plugin's name."""

    @property
    def state(self) -> str:
        """The state it is in."""

    @property
    def up(self) -> bool:
        """Whether it serves, and its health checks passed when they were asked last."""

    @property
    def import_seconds(self) -> float | None:
        """How long its import took, once it was imported."""

    @property
    def start_seconds(self) -> float | None:
        """How long its start took, once it has started."""


class Metrics:
    """Everything that one kernel measures. Attributes are named as the family, without ``heartwood_``.

    ``plugins`` are those whose state is exported; it is read at the scrape.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.on_error: Callable[[str, BaseException], None] | None = None
        self.plugins: Sequence[Watched] = ()
        self._names: dict[str, str] = {}
        self._guards: dict[str, _Guard] = {}
        self._mine: list[Collector] = [_States(self)]
        self._plugins()
        self._requests()
        self._work()
        self.register(CORE, self._mine)
        self.registry.register(self)

    def _plugins(self) -> None:
        self.build_info = self._new(Gauge, "build_info", "Version of heartwood and Python.", "version", "python")
        self.build_info.labels(version("heartwood-hub"), platform.python_version()).set(1)
        self.plugin_errors_total = self._new(
            Counter, "plugin_errors_total", "Errors by the place at which the plugin made them.", "plugin", "where"
        )
        self.metrics_dropped_total = self._new(
            Counter, "metrics_dropped_total", "Label sets left out of a scrape, because there were too many.", "plugin"
        )
        self.collector_up = self._new(Gauge, "collector_up", "Whether the last collection succeeded.", "collector")
        self.collector_last_success_timestamp_seconds = self._new(
            Gauge, "collector_last_success_timestamp_seconds", "When the collector last succeeded.", "collector"
        )
        self.collector_duration_seconds = self._new(
            Histogram, "collector_duration_seconds", "Time one collection took.", "collector"
        )

    def _requests(self) -> None:
        self.http_request_duration_seconds = self._new(
            Histogram, "http_request_duration_seconds", "Time to serve a request by route template.",
            "method", "route", "status",
        )  # fmt: skip
        self.http_requests_in_flight = self._new(Gauge, "http_requests_in_flight", "Requests being served now.")
        self.live_clients = self._new(Gauge, "live_clients", "Open live-update streams.")
        self.user_activity_total = self._new(
            Counter, "user_activity_total", "Actions taken by people, never by name.", "plugin", "action"
        )
        self.loop_lag_seconds = self._new(Gauge, "loop_lag_seconds", "How late the event loop answered last.")
        self.loop_blocked_total = self._new(
            Counter, "loop_blocked_total", "Times the event loop was blocked, by the plugin that did it.", "plugin"
        )

    def _work(self) -> None:
        task = ("plugin", "task")
        self.task_runs_total = self._new(Counter, "task_runs_total", "Runs of background tasks.", *task)
        self.task_failures_total = self._new(Counter, "task_failures_total", "Runs that raised.", *task)
        self.task_last_success_timestamp_seconds = self._new(
            Gauge, "task_last_success_timestamp_seconds", "When the task last succeeded.", *task
        )
        self.database_wait_seconds = self._new(
            Histogram, "database_wait_seconds", "Time spent waiting for a connection.", "plugin"
        )
        self.database_query_seconds = self._new(Histogram, "database_query_seconds", "Time a query took.", "plugin")
        self.database_size_bytes = self._new(Gauge, "database_size_bytes", "Size of the database.")
        self.job_duration_seconds = self._new(
            Summary, "job_duration_seconds", "Time that attempts at jobs took.", "plugin", "job"
        )
        self.jobs = self._new(Gauge, "jobs", "Background jobs by state.", "queue", "state")

    def _new(self, kind: type[M], name: str, documentation: str, *labels: str) -> M:
        made = kind(PREFIX + name, documentation, labels, registry=None)
        self._mine.append(made)
        return made

    def register(self, plugin: str, collectors: Iterable[Collector], *, prefixes: Iterable[str] = ()) -> None:
        """Export the instruments and collectors of ``plugin``; all of them, or none where one is refused.

        Names start with ``heartwood_<plugin>_`` or ``heartwood_<prefix>_``, or stand in the shared list. A collector
        without ``describe()`` is looked at in each scrape instead, and what it may not export is left out.

        Raises:
            MetricRefused: a name is bad or taken; the message names both owners.
        """
        collectors = list(collectors)
        names: dict[str, str] = {}
        for collector in collectors:
            for family in _described(collector):
                fault = self.fault_of(plugin, family, prefixes, names)
                if fault:
                    msg = f"plugin {plugin!r}: metric {exposed(family.name, family.type)} {fault}"
                    raise MetricRefused(msg)
                names |= dict.fromkeys(series(family.name, family.type), plugin)
        if collectors:
            self._guards[plugin] = _Guard(self, plugin, collectors, tuple(prefixes))
            self._names |= names

    def unregister(self, plugin: str) -> None:
        """Stop exporting what ``plugin`` registered; nothing happens where it registered nothing."""
        self._guards.pop(plugin, None)
        self._names = {name: owner for name, owner in self._names.items() if owner != plugin}

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all plugins, then the kernel's, which tell how that went in this very scrape."""
        core, *others = self._guards.values()
        for guard in others:
            started = perf_counter()
            families, well = guard.collect()
            self.collector_duration_seconds.labels(guard.owner).observe(perf_counter() - started)
            self.collector_up.labels(guard.owner).set(well)
            if well:
                self.collector_last_success_timestamp_seconds.labels(guard.owner).set_to_current_time()
            yield from families
        yield from core.collect()[0]

    def fault_of(self, plugin: str, family: Metric, prefixes: Iterable[str], others: Iterable[str] = ()) -> str | None:
        """Return why ``plugin`` may not export ``family``, in words, or None; ``others`` are names it has used up."""
        name = exposed(family.name, family.type)
        names = series(family.name, family.type)
        owner = next((self._names[each] for each in names if self._names.get(each, plugin) != plugin), None)
        if owner:
            return f"belongs to {'the kernel' if owner == CORE else f'plugin {owner!r}'} already"
        if set(names) & set(others):
            return "is exported twice"
        allowed = tuple(f"{PREFIX}{each}_" for each in (plugin, *prefixes))
        if plugin != CORE and name not in SHARED and not name.startswith(allowed):
            return f"must start with {' or '.join(allowed)}, or stand in the shared list"
        return fault_of(family.name, family.type, family.documentation)

    def count_error(self, plugin: str, where: str) -> None:
        """Count an error of ``plugin`` at ``where``: ``route``, ``job``, ``task``, ``event``, ``metrics`` and so on."""
        self.plugin_errors_total.labels(plugin, where).inc()


class _States:
    """The state of every plugin, as it is when somebody looks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        """Return the four families."""
        up = _gauge("plugin_up", "Whether the plugin started and its last health check passed.")
        state = _gauge("plugin_state", "The state the plugin is in now.", "state")
        imports = _gauge("plugin_import_seconds", "Time its import took.")
        starts = _gauge("plugin_start_seconds", "Time its start took.")
        for each in self._metrics.plugins:
            up.add_metric([each.name], float(each.up))
            state.add_metric([each.name, str(each.state)], 1.0)
            for family, seconds in ((imports, each.import_seconds), (starts, each.start_seconds)):
                if seconds is not None:
                    family.add_metric([each.name], seconds)
        return [up, state, imports, starts]

    describe = collect


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, documentation, labels=("plugin", *labels))


class _Guard:
    """All collectors of one owner. What one of them does wrong costs its own families, never the scrape."""

    def __init__(self, metrics: Metrics, owner: str, collectors: list[Collector], prefixes: tuple[str, ...]) -> None:
        self.owner = owner
        self._metrics = metrics
        self._collectors = collectors
        self._prefixes = prefixes

    def collect(self) -> tuple[list[Metric], bool]:
        """Return the families that are fit to be exported, and whether that is all of them."""
        used: set[str] = set()
        found: list[Metric] = []
        well = True
        for collector in self._collectors:
            try:
                found += [self._checked(family, used) for family in collector.collect()]
            except BaseException as error:  # noqa: BLE001  (a plugin's code may raise anything, ``sys.exit`` included)
                well = False
                self._count(error)
        return found, well

    def _checked(self, family: Metric, used: set[str]) -> Metric:
        """Return ``family`` without ``_created`` samples and without label sets past the limit."""
        fault = self._metrics.fault_of(self.owner, family, self._prefixes, used)
        if fault:
            msg = f"metric {exposed(family.name, family.type)} {fault}"
            raise MetricRefused(msg)
        used.update(series(family.name, family.type))
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        checked = Metric(family.name, family.documentation, family.type)
        checked.samples = self._bounded(samples)
        return checked

    def _bounded(self, samples: list[Sample]) -> list[Sample]:
        kept: list[Sample] = []
        seen: set[tuple[str, ...]] = set()
        dropped: set[tuple[str, ...]] = set()
        for sample in samples:
            float(sample.value)  # what is no number raises here, and not in the middle of the exposition
            labels = tuple(value for name, value in sample.labels.items() if name not in ("le", "quantile"))
            "".join(labels)  # and so does a label that is no text
            if labels in seen or len(seen) < MOST_LABEL_SETS or self.owner == CORE:
                seen.add(labels)
                kept.append(sample)
            else:
                dropped.add(labels)
        if dropped:
            self._metrics.metrics_dropped_total.labels(self.owner).inc(len(dropped))
        return kept

    def _count(self, error: BaseException) -> None:
        self._metrics.count_error(self.owner, "metrics")
        if self._metrics.on_error is not None:
            self._metrics.on_error(self.owner, error)


def _described(collector: Collector) -> Iterable[Metric]:
    describe = getattr(collector, "describe", None)
    return describe() if describe else ()
