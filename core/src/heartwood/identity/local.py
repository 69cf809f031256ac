"""The local token: whoever can read its file on this machine acts as the owner."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import HeartwoodError
from heartwood.identity.tokens import hash_of, new_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST = 200


class LocalTokenUnusable(HeartwoodError):
    """The file of the local token can be neither read nor made; the sentence says why and what to do."""


def local_token(path: Path, log: Any) -> str:
    """Return the token in ``path``, which is made (mode 0600) where it is missing, damaged or open to others.

    Processes that start at the same time agree on one. The folder must be there.

    Raises:
        LocalTokenUnusable: the folder cannot be written to.
    """
    try:
        with _turn(path.parent):
            text, fault = _read(path)
            if fault is not None:
                log.warning("identity.local_token_replaced", file=str(path), reason=fault)
            return text or _write(path, new_text())
    except OSError as error:
        msg = f"The local token {path} cannot be made: {error.strerror}; set data.dir to a folder of this user"
        raise LocalTokenUnusable(msg) from error


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Be the only process that looks at the file; closing the folder gives the lock back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[str | None, str | None]:
    """Return the token, and what is wrong with the file; neither where there is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"it cannot be opened: {error.strerror}"
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None, "it is not a file of this user"
        if status.st_mode & 0o077:
            return None, f"others could read it (mode {stat.S_IMODE(status.st_mode):04o})"
        text = file.read(_LONGEST).decode("ascii", "replace").strip()
    return (text, None) if hash_of(text) else (None, "there is no token in it")


def _write(path: Path, text: str) -> str:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    return text
