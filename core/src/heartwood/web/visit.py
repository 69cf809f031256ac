"""Requests in flight, and the clock that ends those which take too long or whose body trickles."""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import Problem, Unavailable
from heartwood.web.problem import RequestTimeout

if TYPE_CHECKING:
    from aiohttp import web

    from heartwood.contracts.people import Actor
    from heartwood.web.settings import WebSettings


class Visit:
    """One request while it is served: its id, who asks (as soon as that is known), and how long it may take."""

    __slots__ = ("actor", "cut", "id", "limit", "measured", "received", "request", "started", "task")

    def __init__(self, request: web.Request, limit: float | None) -> None:
        self.id = f"{random.getrandbits(64):016x}"  # it names a request and protects nothing
        self.request = request
        self.limit = limit
        self.actor: Actor | None = None
        self.cut: Problem | None = None
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.started = self.measured = monotonic()
        self.received = 0

    def end(self, problem: Problem) -> None:
        """Cancel what serves this request, so that it is answered with ``problem``."""
        self.cut = problem
        if self.task is not None:
            self.task.cancel()

    def cut_short(self) -> Problem | None:
        """Return the problem by which this request was ended, once; None where somebody else cancelled it."""
        problem, self.cut = self.cut, None
        if problem is not None and self.task is not None:
            self.task.uncancel()
        return problem


class Visits(set[Visit]):
    """All requests in flight. One clock watches them, because a timer for each would cost more than the request."""

    def __init__(self, settings: WebSettings) -> None:
        super().__init__()
        self._settings = settings

    async def watch(self, every: float = 1.0) -> None:
        """Look at all requests ``every`` so many seconds, for ever."""
        while True:
            await asyncio.sleep(every)
            self.sweep(monotonic())

    def sweep(self, now: float) -> None:
        """End the requests that are over a limit at ``now``, a time of the monotonic clock."""
        for visit in tuple(self):
            problem = self._late(visit, now) or self._trickling(visit, now)
            if problem is not None and visit.cut is None:
                visit.end(problem)

    def _late(self, visit: Visit, now: float) -> Problem | None:
        if visit.limit is None or now - visit.started <= visit.limit:
            return None
        return Unavailable(f"The request took longer than web.request_timeout ({visit.limit:g} s) and was ended")

    def _trickling(self, visit: Visit, now: float) -> Problem | None:
        """Return a problem where the rest of the body does not come, and it is not us who keep it waiting."""
        content, settings = visit.request.content, self._settings
        transport = visit.request.transport
        if content.is_eof() or not isinstance(transport, asyncio.ReadTransport):
            return None
        if now - visit.started > settings.body_timeout:
            return RequestTimeout(f"The body took longer than web.body_timeout ({settings.body_timeout:g} s)")
        if now - visit.measured < settings.body_grace:
            return None
        rate = (content.total_bytes - visit.received) / (now - visit.measured)
        visit.measured, visit.received = now, content.total_bytes
        if rate >= settings.body_rate or not transport.is_reading():
            return None
        return RequestTimeout(f"The body came at {rate:.0f} bytes/s; web.body_rate asks for {settings.body_rate}")
