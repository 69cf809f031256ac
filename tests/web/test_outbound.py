"""The one way out: what it refuses, and what it does with hostile answers."""

from __future__ import annotations

import asyncio
import gzip
import socket

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from heartwood.contracts.http import HttpAnswer, OutboundFailed, OutboundRefused
from heartwood.web.addresses import is_public
from heartwood.web.outbound import Outbound

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.100", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1", "2001:0:7f00:1::", "2002:7f00:1::",
    "2002:a00:1::1", "2002:a9fe:a9fe::", "fc00::1", "fd7a:115c:a1e0::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"]
SPELLINGS = [
    "http://127.0.0.1:{port}/", "http://127.1:{port}/", "http://2130706433:{port}/", "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/", "http://0x7f.1:{port}/", "http://localhost:{port}/", "http://LOCALHOST.:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://user:pass@127.0.0.1:{port}/", "http://127.0.0.1.:{port}/", "http://①②⑦.0.0.1:{port}/", "http://0:{port}/",
    "http://0.0.0.0:{port}/", "http://[::]:{port}/", "http://127.0.0.1:{port}#@example.org/",
]  # fmt: skip


class Names(AbstractResolver):
    """Resolves every name to what it is told, one list for each question."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {"hostname": host, "host": each, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for each in addresses
        ]

    async def close(self):
        pass


@pytest.fixture(name="upstream")
async def _upstream():
    """Another server on this machine; ``upstream.heard`` lists the requests that reached it."""

    async def answer(request):
        upstream.heard.append(request)
        match request.path:
            case "/elsewhere":
                msg = "http://127.0.0.1/other"
                raise web.HTTPFound(msg)
            case "/big":
                return web.Response(body=bytes(10**6))
            case "/chunked":
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(100):
                    await response.write(bytes(10**4))
                return response
            case "/bomb":
                return web.Response(body=gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"})
            case "/slow":
                await asyncio.sleep(600)
            case "/lost":
                request.transport.abort()
        body = await request.read()
        headers = {"X-Got": request.headers.get("Content-Type", ""), "Set-Cookie": "a=1"}
        return web.Response(body=body or b'{"a": 1}', headers=headers)

    server = web.Server(answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    upstream = type("Upstream", (), {})()
    upstream.heard, upstream.port = [], site.port
    upstream.url = f"http://127.0.0.1:{site.port}"
    yield upstream
    await runner.cleanup()


@pytest.fixture(name="outbound")
async def _outbound(upstream):
    """A client that may call the upstream, and nothing else on this machine."""
    client = Outbound([f"127.0.0.1:{upstream.port}"])
    yield client
    await client.close()


@pytest.fixture(name="closed")
async def _closed():
    """A client without exceptions."""
    client = Outbound([])
    yield client
    await client.close()


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_global_is_not_public(address):
    """Also in the forms by which IPv6 carries IPv4, and on shared, link-local and multicast networks."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_global_address_is_public(address):
    """Also one that IPv6 carries."""
    assert is_public(address)


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_this_machine_gets_through(closed, upstream, spelling):
    """Nothing reaches the listener, however its address is written."""
    with pytest.raises((OutboundRefused, OutboundFailed)):
        await closed.request("GET", spelling.format(port=upstream.port), timeout=2)

    assert [] == upstream.heard


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org/", "gopher://x", "//example.org", "http://", "http://[", ""]
)
async def test_only_http_with_a_host_is_called(closed, url):
    """Other schemes and what is no URL are refused."""
    with pytest.raises(OutboundRefused):
        await closed.request("GET", url)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"]])
async def test_a_name_that_leads_to_this_machine_is_refused(upstream, addresses):
    """One private address among a name's addresses is enough."""
    client = Outbound([], Names(addresses))

    with pytest.raises(OutboundRefused, match=r"evil.example.*127\.0\.0\.1.*web\.outbound_allow"):
        await client.request("GET", f"http://evil.example:{upstream.port}/")

    assert [] == upstream.heard
    await client.close()


async def test_the_address_that_was_checked_is_the_one_that_is_called(upstream):
    """A name is resolved once for a connection, so one that changes its answer gains nothing."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    client = Outbound([f"inside.example:{upstream.port}"], names)

    assert (await client.request("GET", f"http://inside.example:{upstream.port}/")).ok

    assert ["inside.example"] == names.asked
    await client.close()


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ("inside.example", True),
        ("INSIDE.example", True),
        ("inside.example:1", False),
        ("example", False),
        ("x.inside.example", False),
    ],
)
async def test_an_exception_is_for_exactly_that_host(upstream, entry, allowed):
    """Neither a port nor a neighbour of what is listed is allowed with it."""
    client = Outbound([entry], Names(["127.0.0.1"]))

    try:
        assert (await client.request("GET", f"http://inside.example:{upstream.port}/")).ok
    except OutboundRefused:
        assert not allowed
    else:
        assert allowed
    await client.close()


async def test_an_answer_is_given_whole(outbound, upstream):
    """Status, headers and body come back; JSON is sent as JSON; cookies are forgotten."""
    first = await outbound.request("POST", f"{upstream.url}/", json={"b": 2}, params={"q": "ä"}, headers={"X-A": "1"})
    second = await outbound.request("GET", f"{upstream.url}/")

    assert (200, {"b": 2}, "application/json") == (first.status, first.json(), first.headers["X-Got"])
    assert {"a": 1} == second.json()
    assert ("ä", "1") == (upstream.heard[0].query["q"], upstream.heard[0].headers["X-A"])
    assert "Cookie" not in upstream.heard[1].headers


async def test_a_redirect_is_an_answer(outbound, upstream):
    """Nobody is followed anywhere."""
    answer = await outbound.request("GET", f"{upstream.url}/elsewhere")

    assert (302, "http://127.0.0.1/other", False) == (answer.status, answer.headers["Location"], answer.ok)
    assert 1 == len(upstream.heard)


@pytest.mark.parametrize("path", ["/big", "/chunked", "/bomb"])
async def test_an_answer_has_a_size(outbound, upstream, path):
    """More than the limit is refused, declared or not, packed or not."""
    with pytest.raises(OutboundFailed, match="limit of 1000"):
        await outbound.request("GET", f"{upstream.url}{path}", limit=1000)


async def test_an_answer_has_a_time(outbound, upstream):
    """The whole exchange ends with the time-out."""
    with pytest.raises(OutboundFailed, match=r"GET 127\.0\.0\.1: no answer within 0\.1 s"):
        await outbound.request("GET", f"{upstream.url}/slow", timeout=0.1)


async def test_a_lost_connection_is_told_in_words(outbound, upstream):
    """What goes wrong below becomes one kind of error, without the query."""
    with pytest.raises(OutboundFailed, match=r"GET 127\.0\.0\.1: Server") as caught:
        await outbound.request("GET", f"{upstream.url}/lost", params={"key": "hunter2"})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[" * 100_000])
def test_what_is_no_json_is_told_as_such(body):
    """A hostile body raises one kind of error."""
    with pytest.raises(OutboundFailed, match="not JSON"):
        HttpAnswer(200, {}, body).json()
