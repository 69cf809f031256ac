"""A thread that watches the event loop, and one that answers ``/-/live`` while the loop cannot."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.settings import host_and_port

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

CORE = "core"
FRAMES = 12
"""Innermost frames of a blocked loop that are logged."""


class LiveThread:
    """Watches one loop from its start to its stop.

    A piece of native code that holds the interpreter's lock stops these threads too; only a watchdog outside of the
    process sees that.

    Args:
        listen: ``host:port`` of ``/-/live``; empty answers nowhere and watches all the same.
        lag: seconds the loop may take to answer before it counts as blocked.
        dead: seconds after which ``/-/live`` says 503.
        owner_of: the plugin that a source file belongs to, or None.
        log: a logger; one line is written for each block.
        on_block: called in the watching thread, once for each block, with the plugin (``core`` where none is known).
    """

    def __init__(
        self,
        listen: str,
        *,
        lag: float,
        dead: float,
        owner_of: Callable[[str], str | None],
        log: Any,
        on_block: Callable[[str], None],
    ) -> None:
        self._listen = listen
        self._lag = lag
        self._dead = dead
        self._owner_of = owner_of
        self._log = log
        self._on_block = on_block
        self._server: ThreadingHTTPServer | None = None
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._asked_at: float | None = None
        self._last_lag = 0.0

    @property
    def lag(self) -> float:
        """Seconds that the loop took to answer, or has been taking until now."""
        asked = self._asked_at
        return self._last_lag if asked is None else max(self._last_lag, time.monotonic() - asked)

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port that ``/-/live`` answers at, or None."""
        return self._server.server_address[:2] if self._server else None  # type: ignore[return-value]  # host is text

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start watching ``loop``; called in the thread that runs it.

        Raises:
            HeartwoodError: the address cannot be listened at.
        """
        if self._listen:
            self._server = self._serve()
            self._run(self._server.serve_forever, "heartwood-live", 0.05)
        self._run(self._watch, "heartwood-watch", loop, threading.get_ident())

    def stop(self) -> None:
        """Stop both threads and close the address; returns when they have ended."""
        self._stopped.set()
        self._answered.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        for thread in self._threads:
            thread.join()

    def _run(self, target: Callable[..., None], name: str, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> ThreadingHTTPServer:
        watch = self

        class Handler(_Handler):
            live = watch

        try:
            return _Server(host_and_port(self._listen), Handler)
        except OSError as error:
            msg = (
                f"observe.live_listen: {self._listen} cannot be used: {error.strerror}; "
                "stop what listens there (another hub?), choose another, or '' for none"
            )
            raise HeartwoodError(msg) from error

    def verdict(self) -> tuple[HTTPStatus, str]:
        """Return what ``/-/live`` answers now."""
        lag = self.lag
        if lag > self._dead:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"blocked for {lag:.0f} s\n"
        return HTTPStatus.OK, "alive\n"

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._stopped.wait(self._lag):
            self._answered.clear()
            if self._stopped.is_set():  # stop() may have come between; it waits in the very loop that would answer
                return
            asked = self._asked_at = time.monotonic()
            try:
                loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:  # the loop is closed
                return
            if not self._answered.wait(self._lag):
                self._report(thread, time.monotonic() - asked)
                self._answered.wait()
            self._last_lag, self._asked_at = time.monotonic() - asked, None

    def _report(self, thread: int, lag: float) -> None:
        frame = sys._current_frames().get(thread)  # noqa: SLF001  (the documented way to see another thread)
        if frame is None:
            return
        plugin = self._owner(frame) or CORE
        stack = "".join(traceback.format_list(traceback.extract_stack(frame)[-FRAMES:]))
        self._log.warning("loop.blocked", plugin=plugin, seconds=round(lag, 3), stack=stack)
        self._on_block(plugin)

    def _owner(self, frame: FrameType | None) -> str | None:
        """Return the plugin of the innermost frame that belongs to one: a library blocks for whoever called it."""
        while frame is not None:
            owner = self._owner_of(frame.f_code.co_filename)
            if owner is not None:
                return owner
            frame = frame.f_back
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open must not hold up the end of the process


class _Handler(BaseHTTPRequestHandler):
    live: LiveThread
    timeout = 2  # seconds for a client that connects and says nothing
    server_version = "heartwood"
    sys_version = ""

    def do_GET(self) -> None:
        known = self.path.partition("?")[0] == "/-/live"
        status, text = self.live.verdict() if known else (HTTPStatus.NOT_FOUND, "not found\n")
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_HEAD = do_GET  # noqa: N815  (the base class asks for this name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name is the base class's)
        """Write nothing: this is asked every few seconds."""
