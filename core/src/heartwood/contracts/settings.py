"""How a settings class describes its fields, and the type of a setting that must never be printed."""

from __future__ import annotations

from typing import Any

import attrs

HIGHEST_PORT = 65_535


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


def host_and_port(text: str) -> tuple[str, int]:
    """Return the two halves of ``127.0.0.1:8001`` or ``[::1]:8001``.

    Raises:
        ValueError: ``text`` is neither.
    """
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    digits = port.isascii() and port.isdecimal()
    if not bare or (":" in bare and bare == host) or not digits or int(port) > HIGHEST_PORT:
        msg = f"expected host:port or [v6]:port, got {text!r}"
        raise ValueError(msg)
    return bare, int(port)


def address_or_nothing(_: Any, __: Any, text: str) -> None:
    """Refuse, as an attrs validator, what is neither empty nor an address that :func:`host_and_port` reads."""
    if text:
        host_and_port(text)


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
