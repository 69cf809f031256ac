"""How a settings class describes its fields, and the type of a setting that must never be printed."""

from __future__ import annotations

from typing import Any

import attrs


class Secret:
    """Text that is shown nowhere: ``str``, ``repr``, logs and the configuration report print ``***``.

    In ``plugins.toml`` a secret is given by reference, ``{ env = "NAME" }`` or ``{ file = "/path" }``.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def setting(
    default: Any = attrs.NOTHING,
    *,
    help: str,  # noqa: A002  (the word that people know from every other tool)
    env: tuple[str, ...] = (),
    factory: Any = None,
    validator: Any = None,
) -> Any:
    """Return an attrs field for a settings class.

    Args:
        default: its value where nobody sets it; without one the setting must be given.
        help: one sentence for the reference; with units.
        env: further environment variables that set it, after ``HEARTWOOD__…`` (``("REDIS_URL",)``).
        factory: makes a default that is not immutable.
        validator: attrs validators; they are enforced and shown in the reference.
    """
    metadata = {"help": help, "env": env}
    if factory is not None:
        return attrs.field(factory=factory, validator=validator, metadata=metadata)
    return attrs.field(default=default, validator=validator, metadata=metadata)
