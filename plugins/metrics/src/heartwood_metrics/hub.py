"""The hub's own section of the summary, read from the same metrics that are exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heartwood.contracts.analytics import Figure, FigureState

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

COUNTED = (
    ("plugins_running", "heartwood_plugin_up", "plugins"),
    ("requests_served", "heartwood_http_request_duration_seconds_count", "requests"),
    ("plugin_errors", "heartwood_plugin_errors_total", "errors"),
)
"""Name of the figure, the sample whose values are added up, and the unit. All count from the start of this process."""


def figures(registry: CollectorRegistry) -> list[Figure]:
    """Return how many plugins run, requests were served and errors were made; what has no sample yet has no data."""
    sums: dict[str, float] = {}
    for family in registry.collect():
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return [_figure(name, sums.get(sample), unit) for name, sample, unit in COUNTED]


def _figure(name: str, value: float | None, unit: str) -> Figure:
    return Figure(name, value, unit, FigureState.NO_DATA if value is None else FigureState.VALUE)
