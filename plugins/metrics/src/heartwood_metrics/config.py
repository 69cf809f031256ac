"""Settings of the metrics plugin."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, frozen

from heartwood.api import setting

HIGHEST_PORT = 65535


def address(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[v6]:port``.

    Raises:
        ValueError: ``text`` is neither.
    """
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare and bare == host) or not port.isdecimal() or int(port) > HIGHEST_PORT:
        msg = f"expected host:port or [v6]:port, got {text!r}"
        raise ValueError(msg)
    return bare, int(port)


def _address_or_off(_: Any, __: Attribute[str], value: str) -> None:
    if value:
        address(value)


@frozen
class MetricsConfig:
    """Where the exporter listens. It asks for no credential, so it should stay on an address of this machine."""

    listen: str = setting(
        "127.0.0.1:9999",
        help="Address of the exporter of `heartwood serve`, host:port or [v6]:port; empty: no exporter.",
        validator=_address_or_off,
    )
    worker_listen: str = setting(
        "",
        help="Address of the exporter of `heartwood worker`, which has metrics of its own; empty: no exporter.",
        validator=_address_or_off,
    )
