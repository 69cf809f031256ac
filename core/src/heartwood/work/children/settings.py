"""Settings of child processes, ``[work.children]``."""

from __future__ import annotations

from attrs import frozen, validators

from heartwood.contracts.settings import setting


@frozen
class ChildSettings:
    """How many child processes there are and how they are kept apart from the rest of the machine."""

    pool: int = setting(
        0, help="How many children work at once; 0 is one per processor core.", validator=validators.ge(0)
    )
    recycle: int = setting(
        200, help="Calls after which a child is replaced by a fresh one.", validator=validators.ge(1)
    )
    sandbox: str = setting(
        "auto",
        help="auto uses bubblewrap where it works; require refuses to read a file without it.",
        validator=validators.in_(("auto", "require")),
    )
    nice: int = setting(
        5,
        help="How much children give way to other processes, 0 (not at all) to 19.",
        validator=validators.and_(validators.ge(0), validators.le(19)),
    )
