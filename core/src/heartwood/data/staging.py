"""Files on their way into the store: written and hashed off the loop, and on the disk before anybody is told so."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from heartwood.contracts.data import Staged
from heartwood.contracts.errors import OutOfSpace, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

T = TypeVar("T")

BATCH = 32 * 1024
"""Bytes collected before they are handed to a thread; every upload in progress holds up to as many."""

THREADS = 8
"""How many files are written at a time. The file system joins their fsyncs into few commits."""

LEFTOVER = 3600.0
"""Seconds after which an upload that nobody writes to is a leftover of a process that died."""

SPACE_AGAIN = 60.0
"""Seconds after which a client may ask again whether there is space."""

COPY_LEFTOVER = 24 * 3600.0
"""The same for a copy of an object, which a long job may be reading."""


class Part:
    """A file that is being written. Its methods block, and are called one after the other from any thread."""

    def __init__(self, path: Path, floor: int) -> None:
        self.path = path
        self.size = 0
        self._floor = floor
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._file: Any = None
        self._abandoned = False

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        with self._lock, _space():
            self._open()
            self._hash.update(data)
            self._file.write(data)
            self.size += len(data)

    def finish(self) -> Staged:
        """Bring everything to the disk and close the file."""
        with self._lock, _space():
            self._open()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return Staged(self.path, self._hash.hexdigest(), self.size)

    def abandon(self) -> None:
        """Close and remove the file; a write that comes later does nothing."""
        with self._lock:
            self._abandoned = True
            if self._file is not None:
                with contextlib.suppress(OSError):  # what could not be written is not wanted any more
                    self._file.close()
            self.path.unlink(missing_ok=True)

    def _open(self) -> None:
        if self._abandoned:
            raise OSError(errno.ECANCELED, "the upload was abandoned")
        if free(self.path.parent) < self._floor:
            raise OSError(errno.ENOSPC, f"less than {self._floor} bytes are free (data.disk_floor)")
        if self._file is None:
            self._file = self.path.open("xb")


class Staging:
    """The folder where files wait to be kept; it must be on the file system of the store that keeps them."""

    def __init__(self, folder: Path, floor: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._floor = floor
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self.sweep()

    async def write(self, chunks: AsyncIterator[bytes], *, limit: int | None = None, suffix: str = ".part") -> Staged:
        """Write ``chunks`` to a new file and return it once it is on the disk.

        Raises:
            TooLarge: more than ``limit`` bytes came.
            OutOfSpace: the disk is full, or less than ``data.disk_floor`` would stay free.
        """
        part = Part(self.folder / f"{uuid.uuid4().hex}{suffix}", self._floor)
        try:
            async for batch in _batches(chunks, limit):
                await self.off(part.write, batch)
            return await self.off(part.finish)
        except BaseException:
            await asyncio.shield(self.off(part.abandon))
            raise

    def off(self, call: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run ``call`` in one of the threads."""
        return asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    def sweep(self) -> None:
        """Remove what a process that died has left behind."""
        for suffix, age in ((".part", LEFTOVER), (".copy", COPY_LEFTOVER)):
            for path in self.folder.glob(f"*{suffix}"):
                with contextlib.suppress(FileNotFoundError):  # another process sweeps too
                    if path.stat().st_mtime < time.time() - age:
                        path.unlink()

    def close(self) -> None:
        """Wait for the threads and end them."""
        self._threads.shutdown()


def free(folder: Path) -> int:
    """Return how many bytes an ordinary user can still write to the file system of ``folder``."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _batches(chunks: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    """Join chunks into batches of at least ``BATCH`` bytes, counting them."""
    held: list[bytes] = []
    size = waiting = 0
    async for chunk in chunks:
        size += len(chunk)
        if limit is not None and size > limit:
            msg = f"More than the allowed {limit} bytes came"
            raise TooLarge(msg)
        held.append(chunk)
        waiting += len(chunk)
        if waiting >= BATCH:
            batch = held[0] if len(held) == 1 else b"".join(held)
            held, waiting = [], 0  # before the yield: nothing is held twice while it is written
            yield batch
    if held:
        yield b"".join(held)


@contextlib.contextmanager
def _space() -> Any:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        msg = f"The disk is full: {error.strerror}"
        raise OutOfSpace(msg, retry_after=SPACE_AGAIN) from error
