"""Bodies are counted, and never unpacked."""

from __future__ import annotations

import asyncio
import gzip

import pytest

LIMIT = 100


@pytest.fixture(name="counting")
async def _counting(site):
    """A site whose one route answers how many bytes it was given."""

    async def length(visit):
        return len(visit.body)

    site.add("POST", "/x", length, body=True, transaction=False, body_limit=LIMIT)
    return await site.start()


async def _chunks(size):
    for _ in range(size):
        yield b"x"


@pytest.mark.parametrize("size", [0, 1, LIMIT, LIMIT + 1, 10**6])
async def test_a_declared_body_is_limited(counting, size):
    """Up to the limit it is read, above it is refused."""
    answer = await counting.ask("POST", "/business/notes/x", data=b"x" * size)

    assert (200, size) == (answer.status, answer.json) if size <= LIMIT else answer.status == 413


@pytest.mark.parametrize("size", [1, LIMIT, LIMIT + 1, 5000])
async def test_a_chunked_body_is_counted_while_it_comes(counting, size):
    """A body that does not say how long it is has the same limit."""
    answer = await counting.ask("POST", "/business/notes/x", data=_chunks(size))

    assert (200, size) == (answer.status, answer.json) if size <= LIMIT else answer.status == 413


async def test_a_declared_length_is_refused_before_the_body_comes(counting):
    """413 does not wait for what it refuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", counting.port)
    writer.write(
        b"POST /business/notes/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\nContent-Length: 999\r\n\r\n"
    )

    assert b"HTTP/1.1 413" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_body_is_not_unpacked(counting, coding):
    """Any content coding is 415, whatever it would have unpacked to."""
    headers = {"Content-Encoding": coding}
    answer = await counting.ask("POST", "/business/notes/x", data=gzip.compress(bytes(10**6)), headers=headers)

    assert 415 == answer.status


async def test_nothing_is_unpacked_behind_a_handlers_back(site):
    """A raw handler gets the bytes as they came."""
    packed = gzip.compress(bytes(10**5))

    async def raw(visit):
        from aiohttp import web

        return web.Response(text=str(len(await visit.request.read())))

    site.add("POST", "/x", raw, raw=True)
    await site.start()

    answer = await site.ask("POST", "/business/notes/x", data=packed, headers={"Content-Encoding": "gzip"})

    assert str(len(packed)) == answer.text
