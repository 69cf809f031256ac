"""The shared list of metric names: what a plugin may export beside ``heartwood_<plugin>_…``, and how names are made."""

from __future__ import annotations

import re

PREFIX = "heartwood_"

_SHARED = """
host_cpu_usage_ratio host_memory_used_bytes host_memory_size_bytes host_load1
service_up service_check_duration_seconds service_checks_total service_restarts_total service_start_time_seconds
service_certificate_expiry_timestamp_seconds service_cpu_seconds_total service_memory_bytes
media_library_items media_library_bytes media_queue_items media_queue_remaining_bytes media_downloaded_bytes_total
media_stuck_items media_grabs_total media_imports_total media_import_failures_total media_import_delay_seconds
media_wanted_items media_sessions media_indexer_up
storage_size_bytes storage_used_bytes storage_stale_bytes storage_efficiency_ratio storage_full_timestamp_seconds
storage_moved_bytes_total cost_per_month
disk_healthy disk_temperature_celsius disk_wear_ratio disk_reallocated_sectors disk_pending_sectors disk_media_errors
disk_info pool_healthy pool_scrub_end_timestamp_seconds
gpu_info gpu_utilization_ratio gpu_encoder_utilization_ratio gpu_decoder_utilization_ratio gpu_memory_used_bytes
gpu_memory_size_bytes gpu_temperature_celsius gpu_power_watts gpu_energy_joules_total gpu_throttled
gpu_service_memory_bytes
ai_requests_total ai_request_duration_seconds ai_tokens_total ai_model_loaded_bytes
documents documents_processed_total document_stage_duration_seconds document_ocr_confidence_ratio
document_corrections_total document_oldest_pending_timestamp_seconds
revenue_amount expense_amount project_margin_ratio
focus_sessions_total focus_session_duration_seconds energy_level energy_productivity_correlation
energy_productivity_samples context_snapshots_total
backup_last_success_timestamp_seconds backup_size_bytes notifications_total
"""
SHARED = frozenset(PREFIX + name for name in _SHARED.split())

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
    "info": ("_info",),
}
_SHAPE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_UNITS = {"percent": "ratio", "pct": "ratio", "milliseconds": "seconds", "ms": "seconds", "minutes": "seconds"}
_UNITS |= {"hours": "seconds", "kb": "bytes", "mb": "bytes", "gb": "bytes", "kilobytes": "bytes", "megabytes": "bytes"}
_KINDS = frozenset({"counter", "gauge", "histogram", "summary"})


def series(name: str, kind: str) -> tuple[str, ...]:
    """Return the names that a family occupies in a scrape: ``x`` and ``x_total`` for a counter ``x``."""
    return tuple({name: None} | {name + suffix: None for suffix in _SUFFIXES.get(kind, ("",))})


def exposed(name: str, kind: str) -> str:
    """Return the name under which people know a family: with ``_total`` for a counter, ``_info`` for an info."""
    return name + _SUFFIXES[kind][0] if kind in ("counter", "info") else name


def fault_of(name: str, kind: str, documentation: str) -> str | None:
    """Return what is wrong with how a family is named and described, in words, or None.

    The rules are those of Prometheus' naming page and of ``promtool check metrics``, and base units only.
    """
    words = name.split("_")
    if not _SHAPE.fullmatch(name):
        return "is not lower-case words with underscores"
    if not documentation.strip():
        return "has no help text"
    unit = next((word for word in words if word in _UNITS), None)
    if unit:
        return f"is in {unit}; use {_UNITS[unit]}"
    if _KINDS & set(words):
        return "has its type in its name"
    if kind != "counter" and words[-1] == "total":
        return f"ends in _total and is a {kind}"
    return None
