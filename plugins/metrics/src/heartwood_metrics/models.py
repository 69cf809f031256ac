"""What the summary answers."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from heartwood.contracts.analytics import Figure


@frozen
class SectionAnswer:
    """One plugin's part of the summary: its figures, or the problem that kept them away."""

    plugin: str
    name: str
    title: str
    figures: list[Figure]
    problem: str | None


@frozen
class Summary:
    """The figures of all plugins that the asking person may see, read at ``as_of``."""

    as_of: datetime
    sections: list[SectionAnswer]
