"""Around every route: headers, request id, access log, metrics, limits."""

from __future__ import annotations

import asyncio
import io
import socket

import pytest
from aiohttp import web

from heartwood.observe.logs import current_plugin, current_request
from heartwood.web.headers import SECURITY

READER = {"Authorization": "Bearer reader"}

EVERYWHERE = {"X-Request-ID", *SECURITY}


async def _null(_):
    return None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/business/notes/ok", 200),
        ("HEAD", "/business/notes/ok", 200),
        ("GET", "/business/notes/nothing", 204),
        ("GET", "/business/notes/raw", 200),
        ("GET", "/business/notes/crash", 500),
        ("GET", "/business/notes/absent", 404),
        ("GET", "/absent", 404),
        ("PUT", "/business/notes/ok", 405),
    ],
)
async def test_every_answer_carries_the_security_headers(site, method, path, status):
    """Whatever the status, the answer may not be framed, sniffed, or kept, and does not say what made it."""

    async def fine(_):
        return {"a": 1}

    async def raw(visit):
        response = web.StreamResponse()
        await response.prepare(visit.request)
        await response.write(b"x")
        return response

    async def crash(_):
        raise ZeroDivisionError

    site.add("GET", "/ok", fine)
    site.add("GET", "/nothing", _null)
    site.add("GET", "/raw", raw, raw=True)
    site.add("GET", "/crash", crash)
    await site.start()

    answer = await site.ask(method, path)

    assert status == answer.status
    assert set() == EVERYWHERE - set(answer.headers)
    assert "aiohttp" not in str(answer.headers)


async def test_the_transport_is_pinned_where_the_hub_is_reached_by_https(make_site):
    """HSTS is sent exactly where ``web.public_url`` is https."""
    plain, secure = make_site(), make_site(public_url="https://hub.example.org")
    await plain.start()
    await secure.start()

    assert "Strict-Transport-Security" not in (await plain.ask("GET", "/")).headers
    assert "Strict-Transport-Security" in (await secure.ask("GET", "/")).headers


async def test_a_route_may_set_its_own_headers(site):
    """A raw answer keeps what it says itself."""

    async def raw(_):
        return web.Response(body=b"x", headers={"Cache-Control": "private, max-age=9", "X-Mine": "1"})

    site.add("GET", "/raw", raw, raw=True)
    await site.start()

    headers = (await site.ask("GET", "/business/notes/raw")).headers

    assert ("private, max-age=9", "1") == (headers["Cache-Control"], headers["X-Mine"])


async def test_the_request_id_is_ours(site):
    """A client cannot choose the id, and two requests never share one."""
    await site.start()

    ids = {(await site.ask("GET", "/", headers={"X-Request-ID": "mine"})).headers["X-Request-ID"] for _ in range(3)}

    assert 3 == len(ids)
    assert "mine" not in ids


async def test_a_head_gets_the_headers_of_the_get_and_nothing_else(site):
    """HEAD works wherever GET does; also a raw stream sends no body to it."""

    async def stream(visit):
        response = web.StreamResponse()
        await response.prepare(visit.request)
        await response.write(b"body that nobody asked for")
        await response.write_eof()
        return response

    site.add("GET", "/stream", stream, raw=True)
    await site.start()

    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = b"HEAD /business/notes/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\n"
    writer.write(head + b"Connection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" == answer[answer.index(b"\r\n\r\n") :]


async def test_one_request_is_one_line(site, eventually):
    """The access log tells method, template, status, time, plugin, person and id; never the query."""

    async def fine(_):
        return {}

    site.add("GET", "/x/{id}", fine)
    await site.start()

    answer = await site.ask("GET", "/business/notes/x/7?password=hunter2", headers=READER)
    (line,) = await eventually(site.requests)

    assert isinstance(line.pop("ms"), float)
    assert {
        "event": "http.request",
        "log_level": "info",
        "plugin": "notes",
        "request_id": answer.headers["X-Request-ID"],
        "method": "GET",
        "route": "/business/notes/x/{id}",
        "status": 200,
        "person": 2,
    } == line


async def test_requests_are_counted_by_template(site, eventually):
    """A thousand ids, or unknown paths, are one series each."""
    site.add("GET", "/x/{id}", _null)
    await site.start()

    for number in range(5):
        await site.ask("GET", f"/business/notes/x/{number}")
        await site.ask("GET", f"/absent/{number}")
    await site.ask("PROPFIND", "/absent")
    await site.ask("PROPPATCH", "/absent")
    await eventually(lambda: len(site.requests()) == 12)

    def count(method, route, status):
        labels = {"method": method, "route": route, "status": status}
        return site.metrics.registry.get_sample_value("heartwood_http_request_duration_seconds_count", labels)

    assert 5.0 == count("GET", "/business/notes/x/{id}", "204")
    assert 7.0 == count("any", "*", "404")


async def test_requests_in_flight_are_counted(site, eventually):
    """The gauge is one while a request is served, and zero after it."""
    release = asyncio.Event()

    async def slow(_):
        await release.wait()

    site.add("GET", "/slow", slow)
    await site.start()

    def in_flight():
        return site.metrics.registry.get_sample_value("heartwood_http_requests_in_flight")

    asking = asyncio.create_task(site.ask("GET", "/business/notes/slow"))
    await eventually(lambda: in_flight() == 1)
    release.set()
    await asking
    assert 0 == in_flight()


async def test_log_lines_of_a_handler_know_its_request_and_plugin(site):
    """What a handler logs is bound to the request and the plugin it works for."""

    async def handler(_):
        return {"request": current_request(), "plugin": current_plugin()}

    site.add("GET", "/x", handler)
    await site.start()

    answer = await site.ask("GET", "/business/notes/x")

    assert {"request": answer.headers["X-Request-ID"], "plugin": "notes"} == answer.json


async def test_a_typed_route_that_takes_too_long_is_ended(make_site):
    """After ``web.request_timeout`` the handler is cancelled and the client told so; a raw route may go on."""
    site = make_site(request_timeout=0.05)
    cancelled = asyncio.Event()

    async def hang(_):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def raw(_):
        site.pipeline.visits.sweep(asyncio.get_running_loop().time() + 3600)
        return web.Response(text="done")

    site.add("GET", "/hang", hang)
    site.add("GET", "/raw", raw, raw=True)
    await site.start()

    answer = await site.ask("GET", "/business/notes/hang")
    assert (503, True) == (answer.status, cancelled.is_set())
    assert "web.request_timeout" in answer.json["detail"]
    assert "done" == (await site.ask("GET", "/business/notes/raw")).text


async def test_a_body_that_trickles_is_cut(make_site):
    """A body slower than ``web.body_rate`` is answered 408 after ``web.body_grace`` seconds, and cut."""
    site = make_site(body_rate=1000, body_grace=0.3)
    site.add("POST", "/x", _null, body=True, transaction=False)
    await site.start()

    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = b"POST /business/notes/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\nContent-Length: 1000\r\n\r\n"
    writer.write(head + b"{")
    status = await asyncio.wait_for(reader.readline(), 10)
    rest = await reader.readuntil(b"}")
    writer.close()

    assert b"HTTP/1.1 408 Request Timeout\r\n" == status
    assert b"Connection: close" in rest
    assert b"web.body_rate" in rest


async def test_a_body_that_comes_fast_enough_is_not_cut(make_site):
    """A slow but steady body within the limits is read whole."""
    site = make_site(body_rate=10, body_grace=0.2)

    async def length(visit):
        return len(visit.body)

    site.add("POST", "/x", length, body=True, transaction=False)
    await site.start()

    async def steady():
        for _ in range(8):
            yield b"0" * 100
            await asyncio.sleep(0.2)  # the rate of this body is what the test is about

    assert 800 == (await site.ask("POST", "/business/notes/x", data=steady())).json


async def test_a_body_that_we_do_not_read_is_not_the_clients_fault(make_site):
    """While a handler is busy with what has come, nobody is told to be too slow."""
    site = make_site(body_rate=10**6, body_grace=0.1)

    async def busy(visit):
        first = await visit.request.content.readany()
        await asyncio.sleep(2.5)  # longer than two looks of the clock
        return len(first) + len(await visit.request.content.read())

    site.add("POST", "/x", busy, transaction=False)
    await site.start()

    assert 4 * 1024**2 == (await site.ask("POST", "/business/notes/x", data=io.BytesIO(bytes(4 * 1024**2)))).json


async def test_a_client_that_leaves_is_no_error(site, eventually):
    """Where the client goes away in the middle of a stream, the line says 499 and nothing is counted as a crash."""

    async def endless(visit):
        response = web.StreamResponse()
        await response.prepare(visit.request)
        while True:
            await response.write(bytes(65536))

    site.add("GET", "/x", endless, raw=True)
    await site.start()

    with socket.create_connection(("127.0.0.1", site.port)) as connection:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        head = b"GET /business/notes/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\n\r\n"
        await loop.sock_sendall(connection, head)
        await loop.sock_recv(connection, 1024)
    (line,) = await eventually(site.requests)

    assert 499 == line["status"]
    assert 0 == len(site.record.failures)
