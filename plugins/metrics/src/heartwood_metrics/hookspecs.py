"""The hook that this plugin adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heartwood.api import hookspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heartwood.api import PluginContext
    from heartwood.contracts.analytics import Section


class AnalyticsSpecs:
    """Hooks about the analytics summary."""

    @hookspec
    def analytics(self, ctx: PluginContext) -> Iterable[Section]:
        """Return the sections that the plugin adds to ``GET /business/analytics/summary``.

        Asked once, when the metrics plugin starts; ``Section.read`` is then awaited for each request, with the
        services in its signature, for people who hold ``Section.permission``. Where it raises, or takes longer than
        ``Section.timeout`` seconds, the section shows a problem in words and the others are not affected. Implement it
        with ``@hookimpl(optionalhook=True)``, so that the plugin also works where this one is not installed.
        """
        raise NotImplementedError
