"""Server-sent events."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from heartwood.contracts.http import StreamEvent
from heartwood.web.sse import encode


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (StreamEvent("x"), b"data: x\n\n"),
        (StreamEvent("a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (StreamEvent("", "tick", "7"), b"event: tick\nid: 7\ndata: \n\n"),
        (StreamEvent("x", "a\ndata: evil", "1\r\n\r\n2"), b"event: adata: evil\nid: 12\ndata: x\n\n"),
        (StreamEvent("ü"), "data: ü\n\n".encode()),
    ],
)
def test_an_event_cannot_break_out_of_its_field(event, expected):
    """Line breaks in the data become lines of data; in name and id they are dropped."""
    assert expected == encode(event)


def _route(site, source):
    async def handler(visit):
        return await site.streams.serve(visit.request, source(visit.request))

    site.add("GET", "/live", handler, raw=True)


async def _until_closed(answer):
    return b"".join([chunk async for chunk in answer.content.iter_any()])


async def test_events_are_sent_as_they_come_and_the_stream_ends_with_them(site):
    """The source is told where the client left off, and what it yields is sent."""

    async def source(request):
        yield StreamEvent(f"after {request.headers['Last-Event-ID']}", id="8")
        yield StreamEvent("done")

    _route(site, source)
    await site.start()

    async with site.session.get("/business/notes/live", headers={"Last-Event-ID": "7"}) as answer:
        assert "text/event-stream" == answer.headers["Content-Type"]
        assert "nosniff" == answer.headers["X-Content-Type-Options"]
        assert b"id: 8\ndata: after 7\n\ndata: done\n\n" == await _until_closed(answer)


async def test_a_quiet_stream_shows_that_it_lives(make_site):
    """Without events a comment is sent every ``web.heartbeat`` seconds."""
    site = make_site(heartbeat=0.05)

    async def source(_):
        await asyncio.sleep(600)
        yield StreamEvent("never")

    _route(site, source)
    await site.start()

    async with site.session.get("/business/notes/live") as answer:
        assert b": \n\n: \n\n" == await answer.content.readexactly(8)


async def test_a_stop_ends_streams_at_once_and_their_sources_too(site, eventually):
    """Open streams do not hold the stop up, and the source's clean-up has run."""
    closed = asyncio.Event()

    async def source(_):
        try:
            yield StreamEvent("first")
            await asyncio.sleep(600)
        finally:
            closed.set()

    _route(site, source)
    await site.start()

    def clients():
        return site.metrics.registry.get_sample_value("heartwood_live_clients")

    async with site.session.get("/business/notes/live") as answer:
        await answer.content.readexactly(13)
        assert 1 == clients()
        await asyncio.wait_for(site.server.stop(), 2)
        assert b"" == await _until_closed(answer)
    assert closed.is_set()
    assert 0 == clients()


async def test_a_client_that_leaves_ends_its_stream(make_site, eventually):
    """The stream is given up when a heartbeat finds nobody."""
    site = make_site(heartbeat=0.05)
    closed = asyncio.Event()

    async def source(_):
        try:
            await asyncio.sleep(600)
            yield StreamEvent("never")
        finally:
            closed.set()

    _route(site, source)
    await site.start()

    answer = await site.session.get("/business/notes/live")
    answer.close()

    await asyncio.wait_for(closed.wait(), 5)
    (line,) = await eventually(site.requests)
    assert 200 == line["status"]


async def test_a_client_that_does_not_read_slows_the_source(site):
    """The next event is only asked for when the one before is on its way."""
    asked = []

    async def source(_):
        for number in range(1000):
            asked.append(number)
            yield StreamEvent("x" * 100_000)

    _route(site, source)
    await site.start()

    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1024)
    writer.write(b"GET /business/notes/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\n\r\n")
    await reader.readexactly(100)
    before = -1
    while before != len(asked):
        before = len(asked)
        await asyncio.sleep(0.2)  # as long as it still takes events

    assert len(asked) < 900
    writer.transport.abort()


async def test_a_source_that_fails_is_the_plugins_error(site):
    """The stream breaks off, and the error is the plugin's."""

    async def source(_):
        yield StreamEvent("first")
        raise ZeroDivisionError

    _route(site, source)
    await site.start()

    async with site.session.get("/business/notes/live") as answer:
        await answer.content.readexactly(13)
        with pytest.raises(aiohttp.ClientError):
            await _until_closed(answer)
    assert "ZeroDivisionError" in site.record.failures[-1].message


async def test_a_head_of_a_stream_is_only_its_head(site):
    """HEAD is answered at once and asks nothing of the source."""
    asked = []

    async def source(_):
        asked.append(1)
        yield StreamEvent("x")

    _route(site, source)
    await site.start()

    assert 200 == (await site.ask("HEAD", "/business/notes/live")).status
    assert [] == asked
