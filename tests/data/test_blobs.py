"""Blobs: hashed while they come in, durable once kept, the same in a folder and in a bucket."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from heartwood.contracts.errors import HeartwoodError, NotFound, OutOfSpace, TooLarge, Unavailable
from heartwood.contracts.settings import Secret
from heartwood.data import staging
from heartwood.data.blobs import open_blobs
from heartwood.data.places import Places
from heartwood.data.settings import DataSettings

SOME = bytes(range(256)) * 1024
SHA = hashlib.sha256(SOME).hexdigest()

SERVER = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", name="s3")
def _s3():
    """The address of an S3 server (moto) with the bucket ``papers``."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", SERVER], **pipes) as process:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        request = urllib.request.Request(f"{address}/papers", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        yield address
        process.kill()


@pytest.fixture(name="places")
def _places(tmp_path):
    return Places(tmp_path, tmp_path / "run")


def _bucket(address: str, prefix: str) -> DataSettings:
    return DataSettings(
        blobs=f"s3://papers/{prefix}", blobs_endpoint=address, blobs_key="key", blobs_secret=Secret("secret")
    )


@pytest.fixture(params=["folder", "bucket"], name="blobs")
def _blobs(request, places, tmp_path):
    settings = DataSettings()
    if request.param == "bucket":
        settings = _bucket(request.getfixturevalue("s3"), tmp_path.name)
    store = open_blobs(settings, places)
    yield store
    store.close()


async def _chunks(data: bytes, size: int = 10_000):
    for start in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[start : start + size]


async def _read(blobs, *args, **kwargs) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(*args, **kwargs)])


async def _keep(blobs, data: bytes) -> str:
    staged = await blobs.stage(_chunks(data))
    await blobs.keep(staged)
    return staged.sha256


async def test_what_is_kept_is_read_again(blobs, places):
    """Bytes are counted and hashed on the way in, come back unchanged, and nothing stays in the staging area."""
    staged = await blobs.stage(_chunks(SOME))
    assert (SHA, len(SOME)) == (staged.sha256, staged.size)
    with pytest.raises(NotFound):
        await _read(blobs, SHA)

    await blobs.keep(staged)

    assert await _read(blobs, SHA) == SOME
    assert list(places.staging.iterdir()) == []


async def test_nothing_at_all_is_a_blob_too(blobs):
    """An empty stream has a hash and can be kept and read."""
    assert await _read(blobs, await _keep(blobs, b"")) == b""


async def test_keeping_is_idempotent(blobs):
    """The same bytes staged twice, and the same staged bytes kept twice, are one blob."""
    first, second = await blobs.stage(_chunks(SOME)), await blobs.stage(_chunks(SOME))

    await asyncio.gather(blobs.keep(first), blobs.keep(second))
    await blobs.keep(first)

    assert await _read(blobs, SHA) == SOME


@pytest.mark.parametrize(
    ("start", "end"), [(0, 5), (5, 10), (262_000, None), (262_140, 999_999), (7, 7), (9, 3), (999_999, None), (0, 0)]
)
async def test_ranges(blobs, start, end):
    """A range yields what a slice of the bytes is."""
    await _keep(blobs, SOME)

    assert SOME[start:end] == await _read(blobs, SHA, start=start, end=end)


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", SHA.upper(), ""])
async def test_what_is_not_there_is_not_found(blobs, name):
    """An unknown hash, and a text that is no hash, name no blob and no path."""
    for ask in ({}, {"start": 1}, {"start": 3, "end": 3}):
        with pytest.raises(NotFound):
            await _read(blobs, name, **ask)
    with pytest.raises(NotFound):
        async with blobs.local(name):
            pass
    await blobs.delete(name)


async def test_local_gives_a_file_for_as_long_as_it_is_needed(blobs, places):
    """Programs that need a path get one that holds the bytes, and leave nothing behind."""
    await _keep(blobs, SOME)

    async with blobs.local(SHA) as path:
        assert path.read_bytes() == SOME

    assert list(places.staging.iterdir()) == []
    assert await _read(blobs, SHA) == SOME


async def test_deleted_bytes_are_gone(blobs):
    """After ``delete`` the blob is not found, and it may be kept again."""
    await _keep(blobs, SOME)

    await blobs.delete(SHA)
    await blobs.delete(SHA)

    with pytest.raises(NotFound):
        await _read(blobs, SHA)
    assert await _keep(blobs, SOME) == SHA
    assert await _read(blobs, SHA) == SOME


async def test_discarded_bytes_are_gone(blobs, places):
    """Staged bytes that nobody wants leave nothing, even when they are discarded twice."""
    staged = await blobs.stage(_chunks(SOME))

    await blobs.discard(staged)
    await blobs.discard(staged)

    assert list(places.staging.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 1, len(SOME) - 1])
async def test_too_many_bytes_leave_nothing_behind(blobs, places, limit):
    """The limit is exact, and what had been written is removed."""
    with pytest.raises(TooLarge, match=f"more than the allowed {limit} bytes".capitalize()):
        await blobs.stage(_chunks(SOME), limit=limit)

    assert list(places.staging.iterdir()) == []
    assert len(SOME) == (await blobs.stage(_chunks(SOME), limit=len(SOME))).size


async def test_a_broken_or_cancelled_stream_leaves_nothing_behind(blobs, places, eventually):
    """An upload that ends in the middle is removed, whether the sender failed or the request was cancelled."""

    async def broken():
        yield SOME
        raise ConnectionResetError

    async def endless():
        while True:
            await asyncio.sleep(0)
            yield SOME

    with pytest.raises(ConnectionResetError):
        await blobs.stage(broken())
    assert list(places.staging.iterdir()) == []

    task = asyncio.create_task(blobs.stage(endless(), limit=2**40))
    await eventually(lambda: any(path.stat().st_size for path in places.staging.iterdir()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(places.staging.iterdir()) == []


async def test_many_megabytes_go_to_the_bucket_in_parts(s3, places, tmp_path):
    """An object over the size of one part is sent in several and arrives whole."""
    blobs = open_blobs(_bucket(s3, tmp_path.name), places)
    data = os.urandom(12 * 1024**2 + 1)

    sha = await _keep(blobs, data)

    assert data == await _read(blobs, sha)
    assert data[11 * 1024**2 :] == await _read(blobs, sha, start=11 * 1024**2)
    blobs.close()


async def test_an_absent_bucket_server_is_unavailable(places):
    """Where the bucket does not answer, the client is told to come back, and the staged bytes stay for that."""
    blobs = open_blobs(_bucket("http://127.0.0.1:1", "x"), places)
    staged = await blobs.stage(_chunks(SOME))

    with pytest.raises(Unavailable, match="The blob store does not answer"):
        await blobs.keep(staged)
    with pytest.raises(Unavailable):
        await _read(blobs, SHA)

    assert staged.path.is_file()
    blobs.close()


@pytest.mark.parametrize("address", ["/var/blobs", "s3://", "gs://bucket"])
def test_an_address_that_is_no_bucket_is_refused(places, address):
    """The sentence shows the value and both ways out."""
    with pytest.raises(HeartwoodError, match=r"leave it empty for a folder, or write s3://bucket/prefix"):
        open_blobs(DataSettings(blobs=address), places)


@pytest.mark.parametrize("fault", ["fsync", "open"])
async def test_a_full_disk_is_said_and_leaves_nothing_behind(places, monkeypatch, fault):
    """ENOSPC at any step becomes 507, and no half file stays."""
    blobs = open_blobs(DataSettings(), places)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    targets = {"fsync": (os, "fsync"), "open": (Path, "open")}
    with monkeypatch.context() as patch:
        patch.setattr(*targets[fault], full)
        with pytest.raises(OutOfSpace, match="disk is full"):
            await blobs.stage(_chunks(SOME))

    assert list(places.staging.iterdir()) == []
    assert await _keep(blobs, SOME) == SHA
    blobs.close()


async def test_the_disk_floor_is_kept_free(places):
    """An upload that would go below data.disk_floor is refused before anything is written."""
    blobs = open_blobs(DataSettings(disk_floor=2**60), places)

    with pytest.raises(OutOfSpace, match=r"data\.disk_floor"):
        await blobs.stage(_chunks(SOME))

    assert list(places.staging.iterdir()) == []
    blobs.close()


def test_bytes_are_on_the_disk_before_keep_returns(tmp_path):
    """The file is synced before it is renamed, and the folder that names it after; those above while new."""
    first = hashlib.sha256(b"0").hexdigest()
    other = next(
        text for text in map(str, range(1, 10_000)) if hashlib.sha256(text.encode()).hexdigest()[:2] == first[:2]
    )
    code = f"""
import asyncio, pathlib
from heartwood.data.blobs import open_blobs
from heartwood.data.places import Places
from heartwood.data.settings import DataSettings
base = pathlib.Path({str(tmp_path)!r})
blobs = open_blobs(DataSettings(), Places(base, base / "run"))
calls = []
import os
for name in ("fsync", "rename", "replace"):
    def traced(*args, name=name, real=getattr(os, name)):
        path = os.readlink(f"/proc/self/fd/{{args[0]}}") if name == "fsync" else args[1]
        calls.append(f"{{name}} {{pathlib.Path(path).relative_to(base)}}")
        return real(*args)
    setattr(os, name, traced)
async def chunks(text):
    yield text.encode()
async def main():
    for text in ("0", {other!r}):
        staged = await blobs.stage(chunks(text))
        calls.append("staged")
        await blobs.keep(staged)
        print("\\n".join(calls).replace(staged.path.name, "FILE").replace(staged.sha256, "SHA"))
        calls.clear()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    expected = []
    for sha, new in ((first, ["fsync blobs"]), (hashlib.sha256(other.encode()).hexdigest(), [])):
        ab, cd = sha[:2], sha[2:4]
        expected += ["fsync staging/FILE", "staged", f"fsync blobs/{ab}", *new]
        expected += [f"replace blobs/{ab}/{cd}/SHA", f"fsync blobs/{ab}/{cd}"]
    assert expected == done.stdout.splitlines()


def test_leftovers_are_swept_when_the_store_is_opened(places):
    """What a process that died left behind goes after an hour; what is being written, or copied for a job, stays."""
    places.staging.mkdir()
    now = time.time()
    for name, age in {"dead.part": 3700, "live.part": 60, "read.copy": 7200, "dead.copy": 90_000}.items():
        path = places.staging / name
        path.write_bytes(b"x")
        os.utime(path, (now - age, now - age))

    open_blobs(DataSettings(), places).close()

    assert {"live.part", "read.copy"} == {path.name for path in places.staging.iterdir()}


async def test_an_upload_holds_one_batch_in_memory():
    """What is held of an upload in progress is one batch, however small its chunks and however large it is."""

    async def chunks():
        for _ in range(1000):
            yield b"x" * 1000

    sizes = [len(batch) async for batch in staging._batches(chunks(), None)]

    assert sum(sizes) == 1_000_000
    assert {-(-staging.BATCH // 1000) * 1000} == set(sizes[:-1])
