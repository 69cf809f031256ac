"""Settings of the metrics plugin."""

from __future__ import annotations

from attrs import frozen

from heartwood.api import setting
from heartwood.contracts.settings import address_or_nothing


@frozen
class MetricsConfig:
    """Where the exporter listens. It asks for no credential, so it should stay on an address of this machine."""

    listen: str = setting(
        "127.0.0.1:9999",
        help="Address of the exporter of `heartwood serve`, host:port or [v6]:port; empty: no exporter.",
        validator=address_or_nothing,
    )
    worker_listen: str = setting(
        "",
        help="Address of the exporter of `heartwood worker`, which has metrics of its own; empty: no exporter.",
        validator=address_or_nothing,
    )
