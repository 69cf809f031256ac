"""Uploads to a real hub that reads nothing: what is taken in, what is refused, and that nothing is ever half stored."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import uuid
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yarl

from heartwood.contracts.people import Actor
from heartwood.testing import running_hub
from heartwood_ocr import store
from heartwood_ocr.intake import CHUNK
from heartwood_ocr.models import NewDocument
from heartwood_ocr.plugin import OcrPlugin

UPLOAD = "/business/documents/upload"
MAX_SIZE, MAX_FILES = 1_000_000, 4
BOUNDARY = "b0undary"
PLAIN = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
JPEG = b"\xff\xd8\xff\xe0 a small picture "


@pytest_asyncio.fixture(name="hub", scope="module", loop_scope="module")
async def _hub():
    config = {"plugins": {"ocr": {"config": {"max_size": MAX_SIZE, "max_files": MAX_FILES}}}}
    async with running_hub(plugins=[OcrPlugin], config=config, jobs=False) as hub:
        yield hub


@pytest.fixture(name="jpeg")
def _jpeg() -> bytes:
    """Bytes of a picture that the hub has not seen before."""
    return JPEG + uuid.uuid4().bytes


async def upload(hub, *files: tuple[str, bytes]) -> list[dict]:
    response = await hub.client.post(UPLOAD, data=form(*files))
    assert 202 == response.status, await response.text()
    return (await response.json())["documents"]


async def refused(hub, status: int, **request) -> dict:
    """Send an upload that is refused, as a problem and without a trace, and return what it says."""
    before = await stored(hub)
    response = await hub.client.post(UPLOAD, **request)
    assert (status, "application/problem+json") == (response.status, response.content_type), await response.text()
    assert before == await stored(hub)
    assert "http.crashed" not in hub.log.getvalue()
    return json.loads(await response.text())


async def stored(hub) -> tuple[int, int, int, int]:
    """Return how many documents, jobs, staged files and blobs there are."""
    database = hub.kernel.database("ocr")
    rows = [await database.fetchval(f"select count(*) from {table}") for table in ("ocr.document", "queue.pgqueuer")]
    return (*rows, len(staged(hub)), sum(path.is_file() for path in hub.kernel.places.blobs.rglob("*")))


def staged(hub) -> list[Path]:
    return list(hub.kernel.places.staging.iterdir())


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


async def chunks(*pieces: bytes):
    for piece in pieces:
        yield piece


async def test_upload_answers_with_the_documents(hub, jpeg):
    """One or several files become documents in one act, in their order, each with a job, and their bytes are kept."""
    before = await stored(hub)
    contents = (jpeg, b"%PDF-1.4 " + jpeg)
    documents = await upload(hub, ("b.jpg", contents[0]), ("../ä.pdf", contents[1]))
    assert ["b.jpg", "ä.pdf"] == [each["name"] for each in documents]
    for each, content in zip(documents, contents, strict=True):
        digest = hashlib.sha256(content).hexdigest()
        expected = {"sha256": digest, "size": len(content), "status": "queued", "duplicate_of": None}
        assert expected | {"id": each["id"], "name": each["name"], "url": f"/business/documents/{each['id']}"} == each
        assert content == (hub.kernel.places.blobs / digest[:2] / digest[2:4] / digest).read_bytes()
    assert (2, 2, 0, 2) == tuple(now - then for now, then in zip(await stored(hub), before, strict=True))


async def test_duplicate_answers_with_the_first_document(hub, jpeg):
    """The same bytes, later or in the same upload, are one document; another name does not matter."""
    (first,) = await upload(hub, ("a.jpg", jpeg))
    again, new, twice = await upload(hub, ("b.jpg", jpeg), ("c.jpg", jpeg + b"c"), ("d.jpg", jpeg + b"c"))
    assert first["id"] == again["id"] == again["duplicate_of"]
    assert new["duplicate_of"] is None
    assert new["id"] == twice["id"] == twice["duplicate_of"]


async def test_uploading_again_brings_back_from_the_trash(hub, jpeg):
    """A deleted document is a new one for the person: same id, no duplicate, its new name, its bytes never gone."""
    (first,) = await upload(hub, ("a.jpg", jpeg))
    kept = await stored(hub)
    assert 204 == (await hub.client.delete(first["url"])).status
    assert kept == await stored(hub)
    (back,) = await upload(hub, ("b.jpg", jpeg))
    assert (first["id"], None, "queued") == (back["id"], back["duplicate_of"], back["status"])
    assert "b.jpg" == (await (await hub.client.get(first["url"])).json())["name"]


async def test_uploading_again_reads_a_failed_document_again(hub, jpeg):
    """Sending in what could not be read queues it once more."""
    (first,) = await upload(hub, ("a.jpg", jpeg))
    statement = "update ocr.document set status = 'failed', problem = 'why' where id = $1"
    await hub.kernel.database("ocr").execute(statement, uuid.UUID(first["id"]))
    (again,) = await upload(hub, ("a.jpg", jpeg))
    assert (first["id"], "queued") == (again["duplicate_of"], again["status"])
    assert (await (await hub.client.get(first["url"])).json())["problem"] is None


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("a.jpg", b"")], 422),
        ([("a.jpg", JPEG), ("b.jpg", b"")], 422),
        ([("a.exe", b"MZ" + b"x" * 5000)], 415),
        ([("a.jpg", b"short")], 415),
        ([("a.jpg", JPEG), ("a.pdf", b"<html>" * 1000)], 415),
        ([("a.jpg", JPEG + b"x" * MAX_SIZE)], 413),
        ([("a.jpg", JPEG), ("b.jpg", JPEG + b"x" * MAX_SIZE)], 413),
        ([(f"{number}.jpg", JPEG + b"%d" % number) for number in range(MAX_FILES + 1)], 413),
        ([], 422),
    ],
)
async def test_bad_upload_stores_nothing(hub, files, status):
    """One bad file refuses the whole upload: no row, no job, no byte is left."""
    data = form(*files) if files else aiohttp.FormData({"other": "field"}, default_to_multipart=True)
    assert (await refused(hub, status, data=data))["detail"]


async def test_limit_is_exact(hub, jpeg):
    """A file of exactly the limit is taken in, one byte more is not."""
    await upload(hub, ("a.jpg", jpeg.ljust(MAX_SIZE, b"x")))
    await refused(hub, 413, data=form(("a.jpg", jpeg.ljust(MAX_SIZE + 1, b"x"))))


OTHER = b'Content-Disposition: form-data; name="other"\r\n\r\n'


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
        (body(part(JPEG)), {"Content-Type": f"multipart/form-data; boundary={'b' * 71}"}, 422),
        (body(part(JPEG))[:-30], PLAIN, 422),
        (body(part(JPEG + b"x" * 100_000))[:-30], PLAIN, 422),
        (body(part(JPEG, "".join(f"X-{number}: x\r\n" for number in range(200)))), PLAIN, 422),
        (body(part(JPEG, f"X-Long: {'x' * 20_000}\r\n")), PLAIN, 422),
        (body(part(JPEG, "no header at all\r\n")), PLAIN, 422),
        (body(part(JPEG, "Bad Name: x\r\n")), PLAIN, 422),
        (body(b'Content-Disposition: form-data; name="_charset_"\r\n\r\n' + b"x" * 99, part(JPEG)), PLAIN, 422),
        (body(*[OTHER + b"x"] * 1000), PLAIN, 413),
    ],
)
async def test_malformed_upload_is_refused(hub, data, headers, status):
    """Compressed, nested, cut, misspelt and endless uploads get their status and leave nothing."""
    problem = await refused(hub, status, data=data, headers=headers, skip_auto_headers=["Content-Type"])
    assert problem["detail"].isprintable()


async def test_other_fields_are_passed_over_up_to_a_limit(hub, jpeg):
    """Small fields do not matter; many bytes in them are refused although a chunked body announces no size."""
    small = body(OTHER + b"x" * 1000, part(jpeg))
    response = await hub.client.post(UPLOAD, data=chunks(small), headers=PLAIN)
    assert 202 == response.status
    for much in (body(OTHER + b"x" * 70_000), body(*[OTHER + b"x" * 35_000] * 2)):
        problem = await refused(hub, 413, data=chunks(much), headers=PLAIN)
        assert "The fields beside the files have more than 65536 bytes; send files as 'file'" == problem["detail"]


async def opened(hub, length: int):
    """Connect as a client that announces ``length`` bytes of upload, and sends none of them yet."""
    url = yarl.URL(hub.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = {"Host": "x", **PLAIN, **hub.client.headers, "Content-Length": length}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"POST {UPLOAD} HTTP/1.1\r\n{lines}\r\n".encode())
    return reader, writer


async def test_announced_size_is_refused_before_it_is_read(hub):
    """An upload that says it is larger than all files may be together is refused at its headers."""
    before = await stored(hub)
    reader, writer = await opened(hub, MAX_FILES * (MAX_SIZE + CHUNK) + 1)
    assert b"HTTP/1.1 413" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert before == await stored(hub)


async def test_broken_connection_leaves_nothing(hub, jpeg, eventually):
    """A client that goes away in the middle of a file leaves no row and no byte."""
    before = await stored(hub)
    _, writer = await opened(hub, 990_000)
    writer.write(body(part(jpeg.ljust(980_000, b"x")))[:900_000])
    await writer.drain()
    await eventually(lambda: staged(hub))
    writer.transport.abort()
    await eventually(lambda: not staged(hub))
    assert before == await stored(hub)


async def test_same_key_is_done_once(hub, jpeg):
    """A repeated upload with its idempotency key gets the first answer; with another file it is refused."""
    headers = {"Idempotency-Key": "k1"}
    first = await (await hub.client.post(UPLOAD, data=form(("a.jpg", jpeg)), headers=headers)).read()
    kept = await stored(hub)
    second = await hub.client.post(UPLOAD, data=form(("a.jpg", jpeg)), headers=headers)
    assert (first, 202, kept) == (await second.read(), second.status, await stored(hub))
    await refused(hub, 422, data=form(("a.jpg", jpeg + b"!")), headers=headers)
    await refused(hub, 422, data=form(("a.jpg", jpeg)), headers={"Idempotency-Key": "k" * 201})


async def test_two_uploads_of_the_same_files_do_not_lock_each_other(hub, jpeg):
    """Concurrent uploads of the same files in opposite order all succeed, with one document per file."""
    files = [(f"{number}.jpg", jpeg + b"%d" % number) for number in range(MAX_FILES)]
    answers = await asyncio.gather(*(upload(hub, *order) for order in [files, files[::-1]] * 4))
    assert MAX_FILES == len({each["id"] for answer in answers for each in answer})


async def test_original_comes_back_inert(hub, jpeg):
    """The bytes are unchanged, and the headers keep a browser from showing them or from believing the name."""
    content = b"%PDF-1.4" + jpeg + bytes(range(256)) * 200
    (document,) = await upload(hub, ("x.exe", content))
    response = await hub.client.get(f"{document['url']}/original")
    assert content == await response.read()
    headers = response.headers
    assert "attachment; filename=\"x.exe.pdf\"; filename*=UTF-8''x.exe.pdf" == headers["Content-Disposition"]
    assert ("nosniff", "default-src 'none'; sandbox") == (
        headers["X-Content-Type-Options"], headers["Content-Security-Policy"],
    )  # fmt: skip
    assert (str(len(content)), "application/pdf") == (headers["Content-Length"], headers["Content-Type"])
    head = await hub.client.head(f"{document['url']}/original")
    assert (200, str(len(content)), b"") == (head.status, head.headers["Content-Length"], await head.read())


async def test_documents_of_others_are_no_duplicates(hub, jpeg):
    """Bytes that somebody else has sent in are new for this actor."""
    made = "insert into core.person (name, role) values ('other', 'member') returning id"
    person = await hub.kernel.database("core").fetchval(made)
    other = Actor(person, "other", frozenset({"*"}), "test")
    new = NewDocument("a.jpg", hashlib.sha256(jpeg).hexdigest(), len(jpeg), "image/jpeg")
    async with hub.kernel.database("ocr").unit(other) as tx:
        theirs = await store.add(tx, other, new)
    (mine,) = await upload(hub, ("a.jpg", jpeg))
    assert mine["duplicate_of"] is None
    assert str(theirs) != mine["id"]
