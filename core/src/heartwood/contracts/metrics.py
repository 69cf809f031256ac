"""How a plugin gets at everything that the hub measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class MetricsRegistry(Protocol):
    """The metrics of this hub; a service of the kernel, for plugins that export or read them."""

    @property
    def registry(self) -> CollectorRegistry:
        """The Prometheus registry of this kernel; register with the hook ``metrics``, not here."""
        ...
