"""What this plugin measures of itself."""

from __future__ import annotations

from prometheus_client import Counter, Histogram


class Instruments:
    """How long each plugin's sections take to read, and how often that fails."""

    def __init__(self) -> None:
        self.seconds = Histogram(
            "heartwood_analytics_section_duration_seconds",
            "Time to read a plugin's sections of the summary.",
            ["plugin"],
            registry=None,
        )
        self.errors = Counter(
            "heartwood_analytics_section_errors_total",
            "Sections of the summary that could not be read.",
            ["plugin"],
            registry=None,
        )
