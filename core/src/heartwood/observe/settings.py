"""The section ``[observe]``: how much is logged, how, and who watches the loop."""

from __future__ import annotations

from attrs import frozen, validators

from heartwood.contracts.settings import address_or_nothing, setting


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
        validator=address_or_nothing,
    )
    loop_lag: float = setting(
        0.1, help="Seconds the event loop may be blocked before it is reported.", validator=validators.gt(0)
    )
    loop_dead: float = setting(
        30.0, help="Seconds the event loop may be blocked before /-/live answers 503.", validator=validators.gt(0)
    )
