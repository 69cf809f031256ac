"""The section ``[observe]``: how much is logged, how, and who watches the loop."""

from __future__ import annotations

from typing import Any

from attrs import frozen, validators

from heartwood.contracts.settings import setting


def host_and_port(listen: str) -> tuple[str, int]:
    """Return the two halves of ``127.0.0.1:8001`` or ``[::1]:8001``.

    Raises:
        ValueError: it is not an address; the sentence shows what one looks like.
    """
    host, colon, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004
        msg = f"must be host:port such as 127.0.0.1:8001, got {listen!r}"
        raise ValueError(msg)
    return bare, int(port)


def _listen(_: Any, __: Any, value: str) -> None:
    if value:
        host_and_port(value)


@frozen
class ObserveSettings:
    """What the hub says about itself."""

    level: str = setting(
        "info",
        help="The least important lines that are written.",
        validator=validators.in_(("debug", "info", "warning", "error")),
    )
    format: str = setting(
        "auto",
        help="One JSON object a line (json), lines for people (console), or people at a terminal only (auto).",
        validator=validators.in_(("auto", "json", "console")),
    )
    live_listen: str = setting(
        "127.0.0.1:8001",
        help="Address at which a thread of its own answers /-/live; empty: nowhere.",
        validator=_listen,
    )
    loop_lag: float = setting(
        0.1, help="Seconds the event loop may be blocked before it is reported.", validator=validators.gt(0)
    )
    loop_dead: float = setting(
        30.0, help="Seconds the event loop may be blocked before /-/live answers 503.", validator=validators.gt(0)
    )
