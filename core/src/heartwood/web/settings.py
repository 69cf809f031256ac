"""The section ``[web]``: where the hub listens, and what it lets a request take."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen, validators

from heartwood.contracts.settings import host_and_port, setting


@frozen
class Listener:
    """One address to listen on: ``host`` and ``port`` of TCP, or ``path`` of a Unix socket.

    ``trust`` says whose word about the client is believed here; ``none`` believes nobody's.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    trust: str = field(default="none", kw_only=True)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listener(text: str) -> Listener:
    """Return the listener that ``text`` names: ``host:port``, ``[v6]:port`` or ``unix:/path``.

    Raises:
        ValueError: ``text`` is none of these.
    """
    if text.startswith("unix:/"):
        return Listener(path=text.removeprefix("unix:"))
    host, port = host_and_port(text)
    return Listener(host=host, port=port)


def _listeners(_: Any, __: Attribute[list[str]], value: list[str]) -> None:
    for text in value:
        listener(text)


def _root(_: Any, __: Attribute[str], value: str) -> None:
    if not value.startswith("/") or value.endswith("/"):
        msg = f"expected a path that starts with a slash and does not end with one, got {value!r}"
        raise ValueError(msg)


@frozen
class WebSettings:
    """Where the hub listens, under which path it answers, and the limits of a request."""

    listen: list[str] = setting(
        factory=lambda: ["127.0.0.1:8000"],
        help="Addresses to listen on: host:port, [v6]:port or unix:/path.",
        validator=_listeners,
    )
    api_root: str = setting("/business", help="Path below which the API lives.", validator=_root)
    public_url: str = setting("", help="Address under which people reach the hub, such as https://hub.example.org.")
    keepalive_timeout: float = setting(
        15.0,
        help="Seconds an idle connection stays open, and that a client has to send its headers.",
        validator=validators.gt(0),
    )
    request_timeout: float = setting(
        60.0, help="Seconds a typed route may take before it is ended with 503.", validator=validators.gt(0)
    )
    body_rate: int = setting(
        1024, help="Bytes per second below which a request's body is too slow.", validator=validators.gt(0)
    )
    body_grace: float = setting(
        20.0, help="Seconds over which the rate of a body is measured.", validator=validators.gt(0)
    )
    body_timeout: float = setting(
        600.0, help="Seconds within which a request's body must have come.", validator=validators.gt(0)
    )
    shutdown_timeout: float = setting(
        10.0, help="Seconds that requests in flight have to finish when the hub stops.", validator=validators.ge(0)
    )
    heartbeat: float = setting(
        15.0, help="Seconds between the signs of life on a quiet event stream.", validator=validators.gt(0)
    )
    outbound_allow: list[str] = setting(
        factory=list,
        help="Hosts (host or host:port) on private networks that the hub may call; all public ones are allowed.",
    )
