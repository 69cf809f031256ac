"""Settings of the bookmarks."""

from __future__ import annotations

from attrs import frozen, validators

from heartwood.api import setting


@frozen
class BookmarksConfig:
    """How links are kept."""

    longest: int = setting(2000, help="Characters the address of a link may have.", validator=validators.ge(1))
