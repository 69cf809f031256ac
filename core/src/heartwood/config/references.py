"""Secrets by reference: ``{ env = "NAME" }`` and ``{ file = "/path" }``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LONGEST = 65_536
"""Bytes of the largest secret file that is read: a mistyped path must not read a disk."""


def follow(kind: str, name: str, *, environ: Mapping[str, str], folder: Path) -> str:
    """Return the text behind a reference, ``env`` or ``file``; relative paths start at ``folder``.

    Raises:
        ValueError: it is not there; the sentence never contains the secret.
    """
    if kind == "file":
        return read_secret(folder / name)
    if name not in environ:
        msg = f"environment variable {name} is not set"
        raise ValueError(msg)
    return environ[name]


def read_secret(file: Path) -> str:
    """Return the text of a secret file without its last line break.

    Raises:
        ValueError: it cannot be read, is empty, too large or not UTF-8.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(LONGEST + 1)
    except OSError as error:
        msg = f"file {file} cannot be read: {error.strerror}"
        raise ValueError(msg) from error
    if not data or len(data) > LONGEST:
        msg = f"file {file} is empty" if not data else f"file {file} has more than {LONGEST} bytes"
        raise ValueError(msg)
    try:
        return data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        msg = f"file {file} is not UTF-8"
        raise ValueError(msg) from None  # the cause would quote bytes of the secret
