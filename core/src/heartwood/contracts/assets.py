"""Templates and static files of a package."""

from __future__ import annotations

from attrs import frozen


@frozen
class Assets:
    """Where a package keeps its templates and static files, as folders inside ``package``; None where it has none."""

    package: str
    templates: str | None = "templates"
    static: str | None = "static"
