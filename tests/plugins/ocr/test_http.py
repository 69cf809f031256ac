"""The documents in a whole hub: routes, queue, events and permissions together."""

from __future__ import annotations

import hashlib

import aiohttp
import pytest_asyncio

from heartwood.testing import running_hub
from heartwood_ocr.plugin import OcrPlugin


@pytest_asyncio.fixture(name="hub", scope="module", loop_scope="module")
async def _hub():
    async with running_hub(plugins=[OcrPlugin]) as hub:
        yield hub


def form(*files: tuple[str, bytes]) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False)
    for name, content in files:
        data.add_field("file", content, filename=name)
    return data


async def send(hub, *files: tuple[str, bytes]) -> list[dict]:
    response = await hub.client.post("/business/documents/upload", data=form(*files))
    assert 202 == response.status, await response.text()
    return (await response.json())["documents"]


async def get(hub, path: str, status: int = 200):
    response = await hub.client.get(f"/business/documents{path}")
    assert status == response.status, await response.text()
    return await response.json()


async def test_receipt_is_sent_in_read_and_found(hub, receipt):
    """From the upload to the search: the whole way of a photographed receipt."""
    (sent,) = await send(hub, ("photo.jpg", receipt))
    assert ("queued", None, f"/business/documents/{sent['id']}") == (sent["status"], sent["duplicate_of"], sent["url"])
    await hub.jobs.drain()
    document = await get(hub, f"/{sent['id']}")
    assert ("ready", None, 1) == (document["status"], document["problem"], len(document["pages"]))
    assert ("ocr", True) == (document["pages"][0]["source"], 0.8 < document["pages"][0]["confidence"] <= 1)
    text = await hub.client.get(f"/business/documents/{sent['id']}/text")
    assert ("text/plain", "utf-8") == (text.content_type, text.charset)
    assert "MEADOW HARDWARE" in await text.text()
    (hit,) = (await get(hub, "?q=hinges"))["items"]
    assert (sent["id"], ["hinge"]) == (hit["id"], [hit["snippet"][start:end] for start, end in hit["matches"]])


async def test_original_is_what_was_sent(hub, receipt):
    """The bytes come back unchanged and inert, also for HEAD."""
    (sent,) = await send(hub, ('q"uote ä.jpg', receipt + b"original"))
    path = f"/business/documents/{sent['id']}/original"
    response = await hub.client.get(path)
    assert sent["sha256"] == hashlib.sha256(await response.read()).hexdigest()
    assert response.headers["Content-Disposition"].startswith("attachment; ")
    assert "default-src 'none'; sandbox" == response.headers["Content-Security-Policy"]
    assert "nosniff" == response.headers["X-Content-Type-Options"]
    head = await hub.client.head(path)
    assert (200, str(len(receipt + b"original"))) == (head.status, head.headers["Content-Length"])


async def test_deleted_document_is_gone_until_it_comes_again(hub, page):
    """DELETE hides a document everywhere; the same bytes bring it back with its text."""
    content = page("PNG", "A walnut chest")
    (sent,) = await send(hub, ("photo.png", content))
    await hub.jobs.drain()
    assert 204 == (await hub.client.delete(f"/business/documents/{sent['id']}")).status
    for path in ("", "/text", "/original"):
        await get(hub, f"/{sent['id']}{path}", 404)
    assert sent["id"] not in {each["id"] for each in (await get(hub, ""))["items"]}
    assert [] == (await get(hub, "?q=walnut"))["items"]
    assert 404 == (await hub.client.delete(f"/business/documents/{sent['id']}")).status
    (back,) = await send(hub, ("photo.png", content))
    assert (sent["id"], None, "ready") == (back["id"], back["duplicate_of"], back["status"])
    assert [sent["id"]] == [hit["id"] for hit in (await get(hub, "?q=walnut"))["items"]]


async def test_upload_without_a_token_is_refused(hub):
    """Nobody sends in anything without a credential."""
    response = await hub.stranger.post("/business/documents/upload", data=form(("a.jpg", b"\xff\xd8\xff")))
    assert 401 == response.status


async def test_list_pages_join(hub):
    """A list is followed by its cursor, and a cursor from elsewhere is 422."""
    sent = set()
    for start in range(0, 60, 15):
        files = ((f"{number}.jpg", b"\xff\xd8\xff%d" % number) for number in range(start, start + 15))
        sent |= {each["id"] for each in await send(hub, *files)}
    first = await get(hub, "")
    second = await get(hub, f"?cursor={first['next']}")
    listed = [item["id"] for item in first["items"] + second["items"]]
    assert (50, sent) == (len(first["items"]), sent & set(listed))
    assert len(listed) == len(set(listed))
    await get(hub, "?cursor=nonsense", 422)
