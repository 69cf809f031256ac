"""Content-addressed bytes, in a folder or in an S3-compatible bucket, both by obstore."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from heartwood.contracts.errors import HeartwoodError, NotFound, Unavailable
from heartwood.data.staging import Staging, sync_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from heartwood.contracts.data import Staged
    from heartwood.data.places import Places
    from heartwood.data.settings import DataSettings

CHUNK = 256 * 1024
"""Bytes of one chunk when reading."""

_NAME = re.compile(r"[0-9a-f]{64}")


class _Store:
    """What folder and bucket have in common: staging, reading and deleting."""

    def __init__(self, store: LocalStore | S3Store, staging: Staging) -> None:
        self._store = store
        self._staging = staging

    async def stage(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> Staged:
        """Write ``chunks`` to the staging area, counting and hashing; they are on the disk when this returns.

        Raises:
            TooLarge: more than ``limit`` bytes came; nothing is left behind.
            OutOfSpace: the disk is full, or less than ``data.disk_floor`` would stay free; nothing is left behind.
        """
        return await self._staging.write(chunks, limit=limit)

    async def discard(self, staged: Staged) -> None:
        """Drop staged bytes that are not wanted."""
        await self._staging.off(lambda: staged.path.unlink(missing_ok=True))

    async def read(self, sha256: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from ``start`` up to ``end`` (exclusive); a range past the end yields what there is.

        Raises:
            NotFound: there is no such blob.
            Unavailable: the bucket does not answer.
        """
        key = _key(sha256)
        with _answers(sha256):
            options: Any = {}
            if start or end is not None:
                size = (await obstore.head_async(self._store, key))["size"]
                end = size if end is None else min(end, size)
                if start >= end:
                    return
                options = {"range": (start, end)}
            found = await obstore.get_async(self._store, key, options=options)
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def delete(self, sha256: str) -> None:
        """Remove the bytes; removing what is not there is fine."""
        try:
            with _answers(sha256):
                await obstore.delete_async(self._store, _key(sha256))
        except NotFound:
            pass

    def close(self) -> None:
        """End the threads that write."""
        self._staging.close()


class FolderBlobs(_Store):
    """Blobs as files ``ab/cd/<sha256>``. A blob survives a power cut once ``keep`` has returned."""

    def __init__(self, folder: Path, staging: Staging) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        super().__init__(LocalStore(folder), staging)
        self._folder = folder
        self._durable, self._named = bytearray(0x10000), bytearray(0x100)

    async def keep(self, staged: Staged) -> None:
        """Move staged bytes under their hash; keeping what is already there is fine."""
        await self._staging.off(self._keep, staged)

    @asynccontextmanager
    async def local(self, sha256: str) -> AsyncIterator[Path]:
        """Give the path of the file itself.

        Raises:
            NotFound: there is no such blob.
        """
        path = self._folder / _key(sha256)
        if not path.is_file():
            raise _missing(sha256)
        yield path

    def _keep(self, staged: Staged) -> None:
        """Replace what is there: the bytes are the same, and those of a concurrent ``keep`` may not be durable yet."""
        target = self._folder / _key(staged.sha256)
        self._make_durable(target.parent, int(staged.sha256[:4], 16))
        try:
            staged.path.replace(target)
        except FileNotFoundError:
            if not target.is_file():
                raise
        sync_folder(target.parent)

    def _make_durable(self, folder: Path, number: int) -> None:
        """Make ``ab/cd`` and sync the folders that name it and ``ab``, each once in the life of this process."""
        if self._durable[number]:
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(folder.parent)
        if not self._named[number >> 8]:
            sync_folder(self._folder)
            self._named[number >> 8] = 1
        self._durable[number] = 1


class BucketBlobs(_Store):
    """Blobs as objects of an S3-compatible bucket, for several machines."""

    async def keep(self, staged: Staged) -> None:
        """Send staged bytes (in parts where they are many), unless the bucket has them; then drop the staged file.

        Raises:
            Unavailable: the bucket does not answer; the staged file stays.
        """
        key = _key(staged.sha256)
        with _answers(staged.sha256):
            if not await self._has(key, staged.size):
                await obstore.put_async(self._store, key, staged.path, max_concurrency=4)
        await self.discard(staged)

    @asynccontextmanager
    async def local(self, sha256: str) -> AsyncIterator[Path]:
        """Give the path of a copy, which is removed at the end.

        Raises:
            NotFound: there is no such blob.
            Unavailable: the bucket does not answer.
        """
        copy = await self._staging.write(self.read(sha256), suffix=".copy")
        try:
            yield copy.path
        finally:
            await self.discard(copy)

    async def _has(self, key: str, size: int) -> bool:
        try:
            return (await obstore.head_async(self._store, key))["size"] == size
        except FileNotFoundError:
            return False


def open_blobs(settings: DataSettings, places: Places) -> FolderBlobs | BucketBlobs:
    """Open the store that ``data.blobs`` names, and remove leftovers of uploads that died more than an hour ago.

    Raises:
        HeartwoodError: ``data.blobs`` is neither empty nor ``s3://bucket/prefix``.
    """
    staging = Staging(places.staging, settings.disk_floor)
    if not settings.blobs:
        return FolderBlobs(places.blobs, staging)
    return BucketBlobs(_bucket(settings), staging)


def _bucket(settings: DataSettings) -> S3Store:
    address = urlsplit(settings.blobs)
    if address.scheme != "s3" or not address.netloc:
        msg = f"data.blobs is {settings.blobs!r}: leave it empty for a folder, or write s3://bucket/prefix"
        raise HeartwoodError(msg)
    options: dict[str, Any] = {"region": settings.blobs_region}
    if settings.blobs_endpoint:
        options["endpoint"] = settings.blobs_endpoint
    if settings.blobs_key and settings.blobs_secret is not None:
        options["access_key_id"] = settings.blobs_key
        options["secret_access_key"] = settings.blobs_secret.reveal()
    return S3Store(
        address.netloc,
        prefix=address.path.strip("/") or None,
        client_options={
            "allow_http": settings.blobs_endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=3),
            "read_timeout": timedelta(seconds=30),
            "timeout": timedelta(hours=1),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        **options,
    )


def _key(sha256: str) -> str:
    """Return where a blob lies; what is no hash names no blob, and no path either."""
    if not _NAME.fullmatch(sha256):
        raise _missing(sha256)
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _missing(sha256: str) -> NotFound:
    return NotFound(f"There is no blob {sha256[:64]!r}")


@contextmanager
def _answers(sha256: str) -> Iterator[None]:
    """Translate what obstore raises."""
    try:
        yield
    except FileNotFoundError:
        raise _missing(sha256) from None
    except BaseError as error:
        msg = f"The blob store does not answer: {str(error).splitlines()[0]}"
        raise Unavailable(msg) from error
