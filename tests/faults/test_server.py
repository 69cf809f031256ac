"""Kill -9 of the server, alone and under uploads; a disk without space."""

from __future__ import annotations

import asyncio
import io
import subprocess

import pytest

from heartwood.data.embedded.postmaster import find_postmaster

MEBIBYTE = 1024**2


async def test_the_server_is_killed_under_uploads(make_hub, wait, form):
    """Whatever was acknowledged is there whole, once, with its job; a retry with the same key has the same document."""
    hub = make_hub(plugins=("ocr",))
    server = await hub.start("serve", "--no-jobs").ready()
    book, clients = hub.ledger(), 24 if form.long else 8
    for _ in range(30 if form.long else 2):
        before = len(book.acknowledged)
        async with book.sending(clients):
            await wait(lambda: len(book.acknowledged) > before, within=10, what="the first upload")  # noqa: B023  (awaited here)
            await asyncio.sleep(form.chance.uniform(0.0, 0.5))
            server.kill()
            server = await hub.start("serve", "--no-jobs").ready()
    assert book.cut > 0
    await book.check()
    assert not server.events("warning", "error")
    await server.stop()
    assert find_postmaster(hub.cluster) is None


async def test_the_last_one_out_stops_the_embedded_postgresql(make_hub, wait):
    """Kill -9 of the server that started it leaves it to the worker, which works on, and stops it at its own end."""
    hub = make_hub()
    server = await hub.start("serve", "--no-jobs").ready()
    worker = await hub.start("worker").ready()
    before = find_postmaster(hub.cluster)
    async with hub.client() as client:
        await hub.order(client, delay=1.0)

    server.kill()
    assert 0 == await hub.value("select count(*) from steps.result")
    await wait(lambda: hub.rows("select 1 from steps.result"), within=10, what="the job")
    assert before == find_postmaster(hub.cluster)

    await worker.stop()
    assert find_postmaster(hub.cluster) is None
    assert not worker.events("warning", "error")


async def test_a_full_disk_is_507(make_hub, dsn):
    """Below ``data.disk_floor`` uploads are refused before anything is stored; everything else goes on."""
    hub = make_hub(dsn, plugins=("ocr",), **{"data.disk_floor": str(2**60)})
    server = await hub.start("serve", "--no-jobs").ready()
    async with hub.client() as client:
        await _is_full(client)
        async with client.get("/business/documents") as answer:
            assert (200, []) == (answer.status, (await answer.json())["items"])
        async with client.get("/-/ready") as answer:
            assert 200 == answer.status
    assert [] == list((hub.data / "staging").iterdir())
    assert 0 == await hub.value("select count(*) from ocr.document")
    await server.stop()


async def test_space_that_comes_back_is_used(make_hub, dsn):
    """On a real small disk: uploads until 507, all of them there; with space again the next one is taken in."""
    hub = make_hub(dsn, plugins=("ocr",), **{"data.disk_floor": str(4 * MEBIBYTE)})
    hub.data.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=711", "heartwood", hub.data], check=False)
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        server = await hub.start("serve", "--no-jobs").ready()
        ballast = hub.data / "ballast"
        ballast.write_bytes(bytes(6 * MEBIBYTE))
        async with hub.client() as client:
            taken = [status async for status in _until_full(client)]
            assert 3 <= len(taken) <= 7
            await _is_full(client, MEBIBYTE)
            assert len(taken) == await hub.value("select count(*) from ocr.document")
            assert [] == list((hub.data / "staging").iterdir())
            ballast.unlink()
            assert 202 == await _upload(client, 99)
        assert not [line for line in server.lines if "Traceback" in str(line)]
        await server.stop()
    finally:
        subprocess.run(["umount", "-l", hub.data], check=True)


async def _until_full(client):
    for number in range(20):
        status = await _upload(client, number)
        if status == 507:
            return
        assert 202 == status
        yield status


async def _upload(client, number: int) -> int:
    content = b"\xff\xd8\xff" + number.to_bytes(1, "big") * MEBIBYTE
    async with client.post("/business/documents/upload", data={"file": io.BytesIO(content)}) as answer:
        return answer.status


async def _is_full(client, size: int = 1000) -> None:
    content = io.BytesIO(b"\xff\xd8\xff" + bytes(size))
    async with client.post("/business/documents/upload", data={"file": content}) as answer:
        assert (507, "application/problem+json") == (answer.status, answer.content_type), await answer.text()
        assert answer.headers["Retry-After"].isdecimal()
