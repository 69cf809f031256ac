"""Uploads over a real socket: what is taken in, what is refused, and that nothing is ever half stored."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from attrs import evolve

from heartwood.contracts.documents import DocumentChanged
from heartwood.contracts.errors import Problem, Repeated
from heartwood_ocr import store
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.routes import DocumentRoutes

JPEG = b"\xff\xd8\xff\xe0 a small picture "
BOUNDARY = "b0undary"
PLAIN = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture(name="config")
def _config() -> OcrConfig:
    return OcrConfig(max_size=1_000_000, max_files=4)


@pytest.fixture(name="client")
async def _client(house, config):
    """The upload and the original behind a socket, with problems as their status."""
    routes = DocumentRoutes(config, house.documents, lambda document: f"/business/documents/{document}")

    @web.middleware
    async def problems(request, handler):
        try:
            return await handler(request)
        except Problem as problem:
            return web.json_response({"detail": problem.detail}, status=problem.status)
        except Repeated as repeated:
            return web.Response(body=repeated.stored.answer, status=repeated.stored.status)

    async def upload(request):
        return await routes.upload(
            request, house.owner, database=house.database, blobs=house.blobs, jobs=house.desk, events=house.desk
        )

    async def original(request):
        return await routes.original(request, house.owner, house.blobs, UUID(request.match_info["id"]))

    app = web.Application(middlewares=[problems], client_max_size=1024)
    app.add_routes([web.post("/upload", upload), web.get("/original/{id}", original)])
    async with TestClient(TestServer(app)) as client:
        yield client


def form(*files: tuple[str, bytes]) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False)
    for name, content in files:
        data.add_field("file", content, filename=name, content_type="application/octet-stream")
    return data


def body(*parts: bytes) -> bytes:
    start = f"--{BOUNDARY}\r\n".encode()
    return b"".join(start + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def part(content: bytes, headers: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="x.jpg"\r\n{headers}\r\n'
    return head.encode() + content


async def nothing_is_stored(house) -> bool:
    rows = await house.database.fetchval("select count(*) from ocr.document")
    staged = list(house.blobs._staging.folder.iterdir())
    kept = [path for path in house.blobs._folder.rglob("*") if path.is_file()]
    return (0, [], [], []) == (rows, staged, kept, house.desk.enqueued)


async def test_upload_answers_with_the_documents(client, house):
    """One or several files become documents in one act, in their order, each with a job, and their bytes are kept."""
    response = await client.post("/upload", data=form(("b.jpg", JPEG + b"b"), ("../ä.pdf", b"%PDF-1.4 a")))
    documents = (await response.json())["documents"]
    assert 202 == response.status
    assert ["b.jpg", "ä.pdf"] == [each["name"] for each in documents]
    for each, content in zip(documents, (JPEG + b"b", b"%PDF-1.4 a"), strict=True):
        digest = hashlib.sha256(content).hexdigest()
        expected = {"sha256": digest, "size": len(content), "status": "queued", "duplicate_of": None}
        assert expected | {"id": each["id"], "name": each["name"], "url": f"/business/documents/{each['id']}"} == each
        assert content == b"".join([chunk async for chunk in house.blobs.read(digest)])
    assert {f"read:{each['id']}" for each in documents} == {key for _, _, key in house.desk.enqueued}
    assert [] == list(house.blobs._staging.folder.iterdir())


async def test_duplicate_answers_with_the_first_document(client):
    """The same bytes, later or in the same upload, are one document; another name does not matter."""
    first = (await (await client.post("/upload", data=form(("a.jpg", JPEG)))).json())["documents"][0]
    files = (("b.jpg", JPEG), ("c.jpg", JPEG + b"c"), ("d.jpg", JPEG + b"c"))
    again, new, twice = (await (await client.post("/upload", data=form(*files))).json())["documents"]
    assert first["id"] == again["id"] == again["duplicate_of"]
    assert new["duplicate_of"] is None
    assert new["id"] == twice["id"] == twice["duplicate_of"]


async def test_uploading_again_brings_back_from_the_trash(client, house):
    """A deleted document is a new one for the person: same id, no duplicate, its new name, and others are told."""
    first = (await (await client.post("/upload", data=form(("a.jpg", JPEG)))).json())["documents"][0]
    async with house.database.unit(house.owner) as tx:
        await store.delete(tx, house.owner, UUID(first["id"]))
    back = (await (await client.post("/upload", data=form(("b.jpg", JPEG)))).json())["documents"][0]
    assert (first["id"], None, "queued") == (back["id"], back["duplicate_of"], back["status"])
    assert "b.jpg" == (await house.documents.get(house.owner, UUID(first["id"]))).name
    assert [DocumentChanged(UUID(first["id"]), 1)] == house.desk.published


async def test_uploading_again_reads_a_failed_document_again(client, house):
    """Sending in what could not be read queues it once more."""
    first = (await (await client.post("/upload", data=form(("a.jpg", JPEG)))).json())["documents"][0]
    await house.database.execute("update ocr.document set status = 'failed', problem = 'why'")
    again = (await (await client.post("/upload", data=form(("a.jpg", JPEG)))).json())["documents"][0]
    assert (first["id"], "queued") == (again["duplicate_of"], again["status"])
    assert (await house.documents.get(house.owner, UUID(first["id"]))).problem is None


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("a.jpg", b"")], 422),
        ([("a.jpg", JPEG), ("b.jpg", b"")], 422),
        ([("a.exe", b"MZ" + b"x" * 5000)], 415),
        ([("a.jpg", b"short")], 415),
        ([("a.jpg", JPEG), ("a.pdf", b"<html>" * 1000)], 415),
        ([("a.jpg", JPEG + b"x" * 1_000_000)], 413),
        ([("a.jpg", JPEG), ("b.jpg", JPEG + b"x" * 1_000_000)], 413),
        ([(f"{number}.jpg", JPEG + b"%d" % number) for number in range(5)], 413),
        ([], 422),
    ],
)
async def test_bad_upload_stores_nothing(client, house, files, status):
    """One bad file refuses the whole upload: no row, no job, no byte is left."""
    data = form(*files) if files else aiohttp.FormData({"other": "field"}, default_to_multipart=True)
    response = await client.post("/upload", data=data)
    assert status == response.status
    assert (await response.json())["detail"]
    assert await nothing_is_stored(house)


async def test_limit_is_exact(client):
    """A file of exactly the limit is taken in, one byte more is not."""
    for size, status in ((1_000_000, 202), (1_000_001, 413)):
        response = await client.post("/upload", data=form(("a.jpg", JPEG + b"x" * (size - len(JPEG)))))
        assert status == response.status


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (gzip.compress(body(part(JPEG))), {**PLAIN, "Content-Encoding": "gzip"}, 415),
        (JPEG, {"Content-Type": "image/jpeg"}, 415),
        (b"{}", {"Content-Type": "application/json"}, 415),
        (body(part(JPEG, "Content-Encoding: gzip\r\n")), PLAIN, 415),
        (body(part(JPEG, "Content-Transfer-Encoding: base64\r\n")), PLAIN, 415),
        (body(b"Content-Type: multipart/mixed; boundary=inner\r\n\r\n--inner--"), PLAIN, 422),
        (b"", PLAIN, 422),
        (b"not multipart at all", PLAIN, 422),
        (body(part(JPEG)), {"Content-Type": "multipart/form-data"}, 422),
        (body(part(JPEG))[:-30], PLAIN, 422),
        (body(*[b'Content-Disposition: form-data; name="other"\r\n\r\nx'] * 1000), PLAIN, 413),
    ],
)
async def test_malformed_upload_is_refused(client, house, data, headers, status):
    """Compressed, nested, cut and endless uploads get their status and leave nothing."""
    response = await client.post("/upload", data=data, headers=headers, skip_auto_headers=["Content-Type"])
    assert status == response.status
    assert await nothing_is_stored(house)


async def test_announced_size_is_refused_before_it_is_read(client, house, config):
    """An upload that says it is larger than all files may be together is refused at its headers."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    size = config.max_files * (config.max_size + 256 * 1024) + 1
    writer.write(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: {PLAIN['Content-Type']}\r\n".encode())
    writer.write(f"Content-Length: {size}\r\n\r\n".encode())
    assert b"HTTP/1.1 413" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert await nothing_is_stored(house)


async def test_broken_connection_leaves_nothing(client, house, eventually):
    """A client that goes away in the middle of a file leaves no row and no byte."""
    _, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: {PLAIN['Content-Type']}\r\n".encode())
    writer.write(b"Content-Length: 990000\r\n\r\n" + body(part(JPEG + b"x" * 980_000))[:900_000])
    await writer.drain()
    await eventually(lambda: list(house.blobs._staging.folder.iterdir()))
    writer.transport.abort()
    await eventually(lambda: not list(house.blobs._staging.folder.iterdir()))
    assert await nothing_is_stored(house)


async def test_same_key_is_done_once(client, house):
    """A repeated upload with its idempotency key gets the first answer; with another file it is refused."""
    headers = {"Idempotency-Key": "k1"}
    first = await (await client.post("/upload", data=form(("a.jpg", JPEG)), headers=headers)).read()
    second = await client.post("/upload", data=form(("a.jpg", JPEG)), headers=headers)
    third = await client.post("/upload", data=form(("a.jpg", JPEG + b"!")), headers=headers)
    assert (first, 202, 422) == (await second.read(), second.status, third.status)
    assert 1 == len(house.desk.enqueued)
    odd = await client.post("/upload", data=form(("b.jpg", JPEG + b"b")), headers={"Idempotency-Key": "k" * 201})
    assert 422 == odd.status


async def test_two_uploads_of_the_same_files_do_not_lock_each_other(client):
    """Concurrent uploads of the same files in opposite order all succeed, with one document per file."""
    files = [(f"{number}.jpg", JPEG + b"%d" % number) for number in range(4)]
    responses = await asyncio.gather(*(client.post("/upload", data=form(*order)) for order in [files, files[::-1]] * 4))
    assert {202} == {response.status for response in responses}
    answers = [await response.json() for response in responses]
    assert 4 == len({each["id"] for answer in answers for each in answer["documents"]})


async def test_original_comes_back_inert(client):
    """The bytes are unchanged, and the headers keep a browser from showing them or from believing the name."""
    content = b"%PDF-1.4" + bytes(range(256)) * 200
    document = (await (await client.post("/upload", data=form(("x.pdf", content)))).json())["documents"][0]
    response = await client.get(f"/original/{document['id']}")
    assert content == await response.read()
    headers = response.headers
    assert "attachment; filename=\"x.pdf\"; filename*=UTF-8''x.pdf" == headers["Content-Disposition"]
    assert ("nosniff", "default-src 'none'; sandbox") == (
        headers["X-Content-Type-Options"], headers["Content-Security-Policy"],
    )  # fmt: skip
    assert (str(len(content)), "application/pdf") == (headers["Content-Length"], headers["Content-Type"])
    head = await client.head(f"/original/{document['id']}")
    assert (200, str(len(content)), b"") == (head.status, head.headers["Content-Length"], await head.read())


async def test_documents_of_others_are_no_duplicates(client, house):
    """Bytes that somebody else has sent in are new for this actor."""
    other = evolve(house.owner, person=2, name="other")
    theirs = await house.put(JPEG, actor=other)
    mine = (await (await client.post("/upload", data=form(("a.jpg", JPEG)))).json())["documents"][0]
    assert mine["duplicate_of"] is None
    assert str(theirs) != mine["id"]
