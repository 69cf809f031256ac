"""The hook by which other plugins add labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from heartwood.api import PluginContext, hookspec

if TYPE_CHECKING:
    from bookmarks_contracts import Label


class BookmarkSpecs:
    """Hooks about links."""

    @hookspec
    def link_labels(self, ctx: PluginContext) -> Iterable[Label]:
        """Return labels for links. Asked once, when the bookmarks start."""
        raise NotImplementedError
