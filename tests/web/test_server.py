"""Listening, refusing what is no HTTP, and stopping in order."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from heartwood.contracts.errors import HeartwoodError
from heartwood.web.settings import Listener, WebSettings, listener


async def _fine(_):
    return {"ok": True}


async def _exchange(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8000", Listener("127.0.0.1", 8000)),
        ("localhost:0", Listener("localhost", 0)),
        ("[::1]:80", Listener("::1", 80)),
        ("unix:/run/hub.sock", Listener(path="/run/hub.sock")),
    ],
)
def test_listeners_are_read_and_written(text, expected):
    """An address reads back as it was written, and trusts nobody."""
    assert expected == listener(text)
    assert text == str(listener(text))
    assert "none" == listener(text).trust


@pytest.mark.parametrize(
    "text", ["", "8000", ":8000", "host:", "host:x", "host:65536", "::1:80", "unix:relative", "a:-1"]
)
def test_what_is_no_address_is_refused_with_what_was_expected(text):
    """The settings refuse it before anything starts."""
    with pytest.raises(ValueError, match="expected host:port"):
        WebSettings(listen=[text])


@pytest.mark.parametrize("root", ["business", "/", "/business/"])
def test_the_api_needs_a_path_of_its_own(root):
    """The root of the API starts with a slash and does not end with one."""
    with pytest.raises(ValueError, match="starts with a slash"):
        WebSettings(api_root=root)


async def test_it_listens_on_every_address_and_says_where(make_site, tmp_path):
    """TCP on both families and a Unix socket serve the same; the socket is gone afterwards."""
    path = tmp_path / "hub.sock"
    site = make_site(listen=["127.0.0.1:0", "[::1]:0", f"unix:{path}"])
    site.add("GET", "/x", _fine)
    await site.start()
    ipv4, ipv6, unix = site.server.addresses
    headers = {"Authorization": "Bearer writer"}

    for base in (ipv4, ipv6):
        async with aiohttp.ClientSession(headers=headers) as client, client.get(f"{base}/business/notes/x") as answer:
            assert 200 == answer.status
    connector = aiohttp.UnixConnector(path=str(path))
    async with aiohttp.ClientSession(headers=headers, connector=connector) as client:
        assert 200 == (await client.get("http://hub/business/notes/x")).status
    assert f"unix:{path}" == unix
    assert 0o660 == path.stat().st_mode & 0o777
    await site.stop()
    assert not path.exists()


async def test_an_address_in_use_stops_the_start_and_leaves_nothing_listening(make_site):
    """The sentence names the setting and the address; the addresses before it are given back."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        first, second = free.getsockname()[1], taken.getsockname()[1]
        free.close()
        site = make_site(listen=[f"127.0.0.1:{first}", f"127.0.0.1:{second}"])

        with pytest.raises(
            HeartwoodError, match=rf"web\.listen: cannot listen on 127\.0\.0\.1:{second}: .*change web\.listen"
        ):
            await site.start()

        assert [] == site.server.addresses
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", first))


async def test_a_stop_lets_requests_finish(site):
    """What is in flight is answered; then nothing listens any more."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(_):
        entered.set()
        await release.wait()
        return {"done": True}

    site.add("GET", "/x", slow)
    await site.start()
    port = site.port
    asking = asyncio.create_task(site.ask("GET", "/business/notes/x"))
    await entered.wait()

    stopping = asyncio.create_task(site.server.stop())
    await asyncio.sleep(0)
    release.set()

    assert {"done": True} == (await asking).json
    await stopping
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


async def test_a_stop_does_not_wait_for_ever(make_site):
    """After ``web.shutdown_timeout`` seconds what still runs is cancelled."""
    site = make_site(shutdown_timeout=0.1)
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(_):
        entered.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    site.add("GET", "/x", hang)
    await site.start()
    asking = asyncio.create_task(site.ask("GET", "/business/notes/x"))
    await entered.wait()

    await asyncio.wait_for(site.server.stop(), 5)

    assert cancelled.is_set()
    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_stopping_twice_is_fine(site):
    """A stop after a stop does nothing."""
    await site.start()
    await site.server.stop()
    await site.server.stop()
    assert [] == site.server.addresses


BROKEN = {
    "two lengths": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "zero byte": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "endless line": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * 500 + b"\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_framing_is_refused_as_a_problem_and_the_connection_closed(site, name):
    """What the parser refuses gets 400 in the same form, with the same headers, and no second chance."""
    await site.start()

    answer = await _exchange(site.port, BROKEN[name])

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"400 Bad Request" in head.partition(b"\r\n")[0]
    assert b"application/problem+json" in head
    assert b"nosniff" in head
    assert b"aiohttp" not in head
    assert b"urn:heartwood:problem:bad-request" in body
    assert [] == [line for line in site.lines if line["log_level"] == "error"]


async def test_an_unknown_version_of_http_is_refused(site):
    """A request line that says HTTP/2.0 is not taken for HTTP/1.1."""
    site.add("GET", "/x", _fine)
    await site.start()

    answer = await _exchange(site.port, b"GET /business/notes/x HTTP/2.0\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert b" 505 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0]


async def test_unfinished_headers_are_cut(make_site):
    """A client that never finishes its headers loses the connection after ``web.keepalive_timeout``."""
    site = make_site(keepalive_timeout=0.2)
    await site.start()

    assert b"" == await _exchange(site.port, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")


async def test_unfinished_headers_hold_nobody_up(site):
    """While a hundred clients dawdle over their headers, another is answered."""
    site.add("GET", "/x", _fine)
    await site.start()
    dawdling = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(100)]
    for connection in dawdling:
        connection.send(b"GET / HTTP/1.1\r\n")

    assert 200 == (await site.ask("GET", "/business/notes/x")).status
    for connection in dawdling:
        connection.close()
