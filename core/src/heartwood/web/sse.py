"""Server-sent events: heartbeats, the end at shutdown, and no memory for a client that does not read."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from heartwood.contracts.http import StreamEvent
    from heartwood.observe.metrics import Metrics

HEARTBEAT = b": \n\n"
WRITE_TIMEOUT = 10.0
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Streams:
    """All open event streams of a hub; implements ``EventStreams``."""

    def __init__(self, heartbeat: float, metrics: Metrics) -> None:
        self._heartbeat = heartbeat
        self._open = 0
        self._closing = asyncio.Event()
        metrics.live_clients.set_function(lambda: self._open)

    async def serve(self, request: web.Request, events: AsyncIterator[StreamEvent]) -> web.StreamResponse:
        """Send ``events`` until they end, the client leaves or the hub stops; see the contract."""
        response = web.StreamResponse(headers=HEADERS)
        response.force_close()
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        self._open += 1
        try:
            with contextlib.suppress(ConnectionError):
                await self._pump(request, response, events)
        finally:
            self._open -= 1
        return response

    async def close(self, _: Any = None) -> None:
        """End all streams, and every one that is opened later; clients come back with ``Last-Event-ID``."""
        self._closing.set()

    async def _pump(
        self, request: web.Request, response: web.StreamResponse, events: AsyncIterator[StreamEvent]
    ) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        waiting = _next(events)
        try:
            while True:
                await asyncio.wait((waiting, closing), timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    return
                if not waiting.done():
                    await _write(request, response, HEARTBEAT)
                    continue
                event = waiting.result()
                if event is None:
                    return
                await _write(request, response, encode(event))
                waiting = _next(events)
        finally:
            for task in (waiting, closing):
                task.cancel()
            await asyncio.gather(waiting, closing, return_exceptions=True)


def encode(event: StreamEvent) -> bytes:
    """Return ``event`` in the wire format; a line break inside it can end neither a field nor the event."""
    lines = [f"{field}: {_one_line(value)}" for field, value in (("event", event.name), ("id", event.id)) if value]
    lines += [f"data: {line}" for line in event.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def _one_line(text: str) -> str:
    return text.translate({ord("\r"): None, ord("\n"): None, 0: None})


def _next(events: AsyncIterator[StreamEvent]) -> asyncio.Future[StreamEvent | None]:
    async def take() -> StreamEvent | None:
        return await anext(events, None)

    return asyncio.ensure_future(take())


async def _write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Write, and cut the connection of a client that does not read for ten seconds."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        msg = "the client does not read"
        raise ConnectionResetError(msg) from None
