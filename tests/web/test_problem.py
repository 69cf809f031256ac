"""Every error is problem+json, and says who, what and which request."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from heartwood.contracts.errors import (
    Conflict,
    DatabaseUnavailable,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    OutOfSpace,
    PluginUnavailable,
    ServiceUnavailable,
    TooLarge,
    TooMany,
    Unauthorized,
    UnsupportedMedia,
)
from heartwood.web.problem import describe, kind

PROBLEMS = [
    Invalid("a"),
    Unauthorized("a"),
    Forbidden("a"),
    NotFound("a"),
    Conflict("a"),
    TooLarge("a"),
    UnsupportedMedia("a"),
    TooMany("a", retry_after=2.5),
    ServiceUnavailable("Mail", owner="post", state="disabled"),
    PluginUnavailable("post", "failed(start)", "no"),
    DatabaseUnavailable("a"),
    OutOfSpace("a"),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: type(problem).__name__)
async def test_a_problem_of_a_handler_is_sent_as_it_is(site, problem):
    """Whatever problem a handler raises is answered with its status, sentence, owner and the request's id."""

    async def handler(_):
        raise problem

    site.add("GET", "/x", handler)
    await site.start()

    answer = await site.ask("GET", "/business/notes/x?secret=1")

    assert problem.status == answer.status
    assert "application/problem+json" == answer.headers["Content-Type"]
    assert {
        "type": f"urn:heartwood:problem:{kind(type(problem))}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": "/business/notes/x",
        "request_id": answer.headers["X-Request-ID"],
        "owner": problem.owner or "notes",
    } == answer.json


def test_faults_are_listed():
    """Each fault is told with its place and its message."""
    document = describe(Invalid("no", faults=[Fault("body.size", "must be >= 1, got 0")])).document("/x", "1")

    assert [{"where": "body.size", "message": "must be >= 1, got 0"}] == document["faults"]


def test_waiting_times_are_whole_seconds_rounded_up():
    """``Retry-After`` never asks to come back too early."""
    assert "3" == describe(TooMany("a", retry_after=2.5)).headers["Retry-After"]


def test_who_is_not_known_is_told_how_to_sign_in():
    """A 401 says which kind of credential is wanted."""
    assert describe(Unauthorized("a")).headers["WWW-Authenticate"].startswith("Bearer")


async def test_an_unforeseen_error_is_told_without_its_inside(site):
    """A crash is a 500 without traceback; log, record and metric keep it under the request's id."""

    async def handler(_):
        msg = "/etc/passwd is secret"
        raise ZeroDivisionError(msg)

    site.add("GET", "/x", handler)
    await site.start()

    answer = await site.ask("GET", "/business/notes/x")

    assert 500 == answer.status
    assert "secret" not in answer.text
    assert "notes" == answer.json["owner"]
    failure = site.record.failures[-1]
    assert ("route /business/notes/x", "ZeroDivisionError: /etc/passwd is secret") == (failure.where, failure.message)
    crash = next(line for line in site.lines if line["event"] == "http.crashed")
    assert isinstance(crash["exc_info"], ZeroDivisionError)
    labels = {"plugin": "notes", "where": "route"}
    assert 1.0 == site.metrics.registry.get_sample_value("heartwood_plugin_errors_total", labels)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), BaseException("x")], ids=repr)
async def test_no_exception_of_a_handler_ends_the_server(site, error):
    """Also what is no ``Exception`` is a 500, and the next request is answered."""

    async def handler(_):
        raise error

    async def fine(_):
        return {"ok": True}

    site.add("GET", "/bad", handler)
    site.add("GET", "/good", fine)
    await site.start()

    assert 500 == (await site.ask("GET", "/business/notes/bad")).status
    assert {"ok": True} == (await site.ask("GET", "/business/notes/good")).json


async def test_a_path_that_nobody_has_is_a_problem(site):
    """404 outside of all prefixes has no owner, and names the path."""
    await site.start()

    answer = await site.ask("GET", "/wp-login.php")

    assert (404, "/wp-login.php") == (answer.status, answer.json["instance"])
    assert "owner" not in answer.json


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_a_method_that_a_path_does_not_take_is_a_problem(site, method):
    """405 lists what is possible instead, in the header as well."""

    async def handler(_):
        return None

    site.add("POST", "/x/{id}", handler, transaction=False)
    site.add("PUT", "/x/{name}", handler, transaction=False)
    await site.start()

    answer = await site.ask(method, "/business/notes/x/1")

    assert (405, "POST, PUT") == (answer.status, answer.headers["Allow"])
    assert "urn:heartwood:problem:method-not-allowed" == answer.json["type"]


async def test_an_error_of_aiohttp_is_a_problem(site):
    """What a raw handler raises of aiohttp's own errors gets the same form; a redirect passes."""

    async def too_large(_):
        raise web.HTTPRequestEntityTooLarge(1, 2)

    async def elsewhere(_):
        msg = "/there"
        raise web.HTTPFound(msg)

    site.add("GET", "/large", too_large, raw=True)
    site.add("GET", "/elsewhere", elsewhere, raw=True)
    await site.start()

    large = await site.ask("GET", "/business/notes/large")
    moved = await site.ask("GET", "/business/notes/elsewhere", allow_redirects=False)

    assert (413, "urn:heartwood:problem:request-entity-too-large") == (large.status, large.json["type"])
    assert (302, "/there") == (moved.status, moved.headers["Location"])
    assert "nosniff" == moved.headers["X-Content-Type-Options"]


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(site):
    """Where a stream fails half-way, the connection is cut, so that the client sees that it is not all."""

    async def handler(visit):
        response = web.StreamResponse()
        await response.prepare(visit.request)
        await response.write(b"half")
        raise ZeroDivisionError

    site.add("GET", "/x", handler, raw=True)
    await site.start()

    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET /business/notes/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\n\r\n")
    answer = await reader.read()
    writer.close()

    assert answer.endswith(b"half\r\n")
    assert "ZeroDivisionError" in site.record.failures[-1].message
