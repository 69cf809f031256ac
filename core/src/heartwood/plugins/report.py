"""What ``/-/plugins``, ``/business/plugins`` and ``heartwood plugin show`` say of a plugin."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import frozen

from heartwood.contracts.health import HealthResult

if TYPE_CHECKING:
    from heartwood.plugins.records import Record


@frozen
class PluginFailure:
    """One of the last errors: when, where, and the sentence."""

    at: datetime
    where: str
    message: str


@frozen
class PluginReport:
    """One plugin as people see it. Times are in seconds; ``contributions`` are names, by hook.

    ``api`` is the number of the plugin interface it was written for, known once it is imported.
    """

    name: str
    state: str
    label: str
    phase: str | None
    reason: str
    required: bool
    distribution: str | None
    version: str | None
    api: int | None
    prefixes: list[str]
    requires: list[str]
    after: list[str]
    import_seconds: float | None
    start_seconds: float | None
    contributions: dict[str, list[str]]
    unmatched_hooks: list[str]
    health: list[HealthResult]
    last_errors: list[PluginFailure]


def report(record: Record) -> PluginReport:
    """Return what is known of a plugin, without tracebacks."""
    return PluginReport(
        name=record.name,
        state=str(record.state),
        label=record.label,
        phase=str(record.phase) if record.phase else None,
        reason=record.reason,
        required=record.required,
        distribution=record.distribution,
        version=record.version,
        api=record.plugin.api if record.plugin else None,
        prefixes=list(record.prefixes),
        requires=list(record.requires),
        after=list(record.after),
        import_seconds=record.import_seconds,
        start_seconds=record.start_seconds,
        contributions={hook: names for hook, names in record.contributions.items() if names},
        unmatched_hooks=list(record.unmatched_hooks),
        health=record.health,
        last_errors=[
            PluginFailure(datetime.fromtimestamp(each.at, UTC), each.where, each.message) for each in record.failures
        ],
    )
