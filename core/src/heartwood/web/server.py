"""The server: one runner, one site for each listener, listening last and stopping in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from heartwood.contracts.errors import HeartwoodError
from heartwood.web.problem import describe_status
from heartwood.web.settings import Listener, listener

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

    from heartwood.web.pipeline import Pipeline
    from heartwood.web.sse import Streams

SOCKET_MODE = 0o660

READ_AT_ONCE = 16 * 1024
"""Bytes that are read from a connection at a time, and that a body may lead its handler by.

uvloop's and aiohttp's own figures are sixteen times that, of which 500 uploads at once make 280 MB.
"""


class WebServer:
    """Serves an application on the listeners of ``web.listen``."""

    def __init__(self, app: web.Application, pipeline: Pipeline, streams: Streams, log: Any) -> None:
        self.addresses: list[str] = []
        """Where it really listens, as URLs (``http://127.0.0.1:8000``) or ``unix:/path``; empty before the start."""
        self._app = app
        self._pipeline = pipeline
        self._log = log
        self._runner: Runner | None = None
        self._watch: asyncio.Task[None] | None = None
        app.on_shutdown.append(streams.close)

    async def start(self) -> None:
        """Listen. Called last, when everything behind the routes is there.

        Raises:
            HeartwoodError: an address cannot be listened on, or aiohttp's C parser is missing.
        """
        if HttpRequestParser is HttpRequestParserPy:
            msg = "aiohttp was installed without its C parser, which is the only one that is strict; install a wheel"
            raise HeartwoodError(msg)
        settings = self._pipeline.settings
        self._runner = Runner(self._app, self._pipeline, self._log)
        await self._runner.setup()
        self._watch = asyncio.create_task(self._pipeline.visits.watch(), name="web.watch")
        try:
            for text in settings.listen:
                self.addresses.append(await self._listen(self._runner, listener(text)))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop accepting, end event streams, let requests in flight finish, and close; safe to call at any time."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        _remove_sockets(self.addresses)
        self.addresses = []

    async def _listen(self, runner: Runner, where: Listener) -> str:
        try:
            return await (_unix(runner, where) if where.path else _tcp(runner, where))
        except OSError as error:
            reason = error.strerror or str(error)
            msg = f"web.listen: cannot listen on {where}: {reason}; stop it (another hub?), or change web.listen"
            raise HeartwoodError(msg) from error


async def _tcp(runner: Runner, where: Listener) -> str:
    site = web.TCPSite(runner, where.host, where.port)
    await site.start()
    return f"http://{Listener(where.host, site.port)}"


async def _unix(runner: Runner, where: Listener) -> str:
    await web.UnixSite(runner, where.path).start()
    os.chmod(where.path, SOCKET_MODE)  # noqa: PTH101  (one system call; pathlib's are flagged as blocking)
    return str(where)


def _remove_sockets(addresses: list[str]) -> None:
    for address in addresses:
        if address.startswith("unix:"):
            Path(address.removeprefix("unix:")).unlink(missing_ok=True)


class Runner(web.AppRunner):
    """aiohttp's runner, with a connection class that also tells its own errors as problems."""

    __slots__ = ("_log", "_pipeline")

    def __init__(self, app: web.Application, pipeline: Pipeline, log: Any) -> None:
        settings = pipeline.settings
        super().__init__(
            app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=settings.keepalive_timeout,
            read_bufsize=READ_AT_ONCE,
            shutdown_timeout=settings.shutdown_timeout,
        )
        self._pipeline = pipeline
        self._log = log

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(server, self._kwargs, self._pipeline, self._log)


class _Server(web.Server):
    """Makes a connection object for every connection."""

    def __init__(self, server: web.Server, options: dict[str, Any], pipeline: Pipeline, log: Any) -> None:
        super().__init__(server.request_handler, request_factory=server.request_factory, **options)
        self._pipeline = pipeline
        self._log = log
        self._buffer = memoryview(bytearray(READ_AT_ONCE))

    def __call__(self) -> _InPieces:  # type: ignore[override]  # the loop asks for a protocol, of either kind
        return _InPieces(Connection(self, self._pipeline, self._log, self._kwargs), self._buffer)


class _InPieces(asyncio.BufferedProtocol):
    """Between the loop and a connection: reads into one buffer, which all connections share, and hands on copies.

    The loop fills the buffer and says so without doing anything in between, so nobody else writes into it meanwhile.
    """

    __slots__ = ("_buffer", "_connection", "_receive")

    def __init__(self, connection: Connection, buffer: memoryview) -> None:
        self._buffer = buffer
        self._connection = connection
        self._receive = connection.data_received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on."""
        self._connection.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Pass it on."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._connection.resume_writing()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what has come."""
        self._receive(bytes(self._buffer[:nbytes]))


class Connection(web.RequestHandler):
    """One connection; what aiohttp itself refuses (broken framing, headers that are too long) is a problem, too."""

    __slots__ = ("_hub_log", "_pipeline")

    def __init__(self, server: web.Server, pipeline: Pipeline, log: Any, options: dict[str, Any]) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._pipeline = pipeline
        self._hub_log = log

    def handle_error(
        self,
        request: BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (it quotes what the client sent)
    ) -> web.StreamResponse:
        """Return the answer to a request that never reached a route, and close the connection after it."""
        if request.writer.output_size > 0:
            msg = "the answer broke off"
            raise ConnectionResetError(msg) from exc
        request_id = secrets.token_hex(8)
        failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        (self._hub_log.error if failed else self._hub_log.info)(
            "http.refused", status=status, request_id=request_id, exc_info=exc if failed else None
        )
        response = describe_status(status).response(self._pipeline.headers, "", request_id)
        response.force_close()
        return response
