"""Who uses the server: file locks, which the system takes back from a process however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from heartwood.data.embedded.binaries import PostgresUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_TURN = 180.0
"""Seconds to wait for another process that makes, starts or stops the server; recovery may take two minutes."""


class FileLock:
    """A lock on a file, made where it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def share(self) -> None:
        """Hold it together with others; waits for whoever holds it alone."""
        self._lock(fcntl.LOCK_SH)

    def take_alone(self) -> bool:
        """Try to hold it alone; what was shared before is shared still where that fails."""
        try:
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give it up."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock(self, operation: int) -> None:
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                message = f"{self._path} cannot be opened ({error.strerror}): does the data belong to another user?"
                raise PostgresUnusable(message) from error
        fcntl.flock(self._file, operation)


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Be the only process that makes, starts or stops the server.

    Raises:
        PostgresUnusable: another process took longer than three minutes.
    """
    lock = FileLock(path)
    deadline = time.monotonic() + LONGEST_TURN
    try:
        while not lock.take_alone():
            if time.monotonic() > deadline:
                message = f"Another process has been starting or stopping PostgreSQL for {LONGEST_TURN:g} s ({path})"
                raise PostgresUnusable(message)
            time.sleep(0.01)
        yield
    finally:
        lock.release()
