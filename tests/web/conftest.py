"""A web server made of the real parts, with two people, one plugin and routes that a test gives it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import aiohttp
import attrs
import pytest
import structlog
from structlog.testing import LogCapture

from heartwood.contracts.people import Actor
from heartwood.contracts.routes import Route
from heartwood.observe.metrics import Metrics
from heartwood.plugins.records import Record, State
from heartwood.web.mount import Mount
from heartwood.web.pipeline import Pipeline
from heartwood.web.server import WebServer
from heartwood.web.settings import WebSettings
from heartwood.web.sse import Streams

TOKENS = {
    "Bearer writer": Actor(1, "Ann", frozenset({"notes.read", "notes.write"}), "token"),
    "Bearer reader": Actor(2, "Bob", frozenset({"notes.read"}), "token"),
}
WRITER = {"Authorization": "Bearer writer"}
READER = {"Authorization": "Bearer reader"}


class People:
    """Knows two tokens."""

    async def authenticate(self, authorization):
        return TOKENS.get(authorization)


class Direct:
    """Calls a handler that takes ``(request, actor, body, tx)`` itself, and writes its answer as JSON."""

    def __init__(self, handler, *, reads_body=False):
        self.handler = handler
        self.reads_body = reads_body

    def arguments(self, request, actor, body):
        return {"request": request, "actor": actor, "body": body}

    async def call(self, arguments, tx):
        return await self.handler(SimpleNamespace(**arguments, tx=tx))

    def answer(self, result):
        return (204, None, None) if result is None else (200, None, json.dumps(result).encode())


class Site:
    """One web server: first ``add`` routes, then ``start``."""

    def __init__(self, **settings):
        self.settings = attrs.evolve(WebSettings(listen=["127.0.0.1:0"], shutdown_timeout=1.0), **settings)
        self.lines = []
        capture = LogCapture()
        capture.entries = self.lines
        self.log = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture])
        self.metrics = Metrics()
        logs = SimpleNamespace(logger=lambda: self.log, write=self.write)
        self.pipeline = Pipeline(self.settings, logs, self.metrics)
        self.mount = Mount(self.pipeline, People())
        self.record = Record("notes", State.RUNNING, prefixes=("notes",))
        self.streams = Streams(self.settings.heartbeat, self.metrics)
        self.server = None
        self.session = None

    def write(self, event, lines):
        """Keep lines of the access log."""
        self.lines += [{"event": event, "log_level": "info", **line} for line in lines]

    def add(self, method, path, handler, permission="notes.read", *, body=False, database=None, owner=None, **options):
        """Mount a route of the plugin ``notes``."""
        route = Route(method, path, handler, permission, **options)
        self.mount.route(self.record, route, Direct(handler, reads_body=body), database, owner)

    async def start(self, *records):
        """Close the mount and listen."""
        app = self.mount.close(records or (self.record,))
        self.server = WebServer(app, self.pipeline, self.streams, self.log)
        await self.server.start()
        self.session = aiohttp.ClientSession(self.server.addresses[0], headers=WRITER)
        return self

    async def stop(self):
        """Close the client, then the server."""
        if self.session is not None:
            await self.session.close()
        if self.server is not None:
            await self.server.stop()

    @property
    def port(self):
        return int(self.server.addresses[0].rpartition(":")[2])

    async def ask(self, method, path, **options):
        """Send a request and return its status, headers, and JSON (text where it is none)."""
        async with self.session.request(method, path, **options) as answer:
            text = await answer.text()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return SimpleNamespace(
                status=answer.status,
                headers=answer.headers,
                json=json.loads(text) if is_json and text else None,
                text=text,
            )

    def requests(self):
        """Return the access log's lines so far."""
        return [line for line in self.lines if line["event"] == "http.request"]


@pytest.fixture(name="site")
async def _site():
    """A web server with the default limits, not yet started."""
    site = Site()
    yield site
    await site.stop()


@pytest.fixture(name="make_site")
async def _make_site():
    """Make web servers with other settings; they are stopped after the test."""
    made = []

    def make(**settings):
        made.append(Site(**settings))
        return made[-1]

    yield make
    for site in made:
        await site.stop()
