"""What happens around every route: request id, limits, errors as problems, access log, metrics.

It is one wrapper made once for a route, and no middleware: a request passes through two coroutines of ours.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg
from aiohttp import HttpVersion11, web
from attrs import define, field

from heartwood.contracts.errors import Problem, Repeated
from heartwood.data.faults import unavailable
from heartwood.observe.logs import bind_plugin, bind_request
from heartwood.web.headers import Headers, encoded
from heartwood.web.problem import Description, VersionNotSupported, describe, describe_status
from heartwood.web.visit import Visit, Visits

if TYPE_CHECKING:
    from heartwood.observe.logs import Logs
    from heartwood.observe.metrics import Metrics
    from heartwood.plugins.records import Record
    from heartwood.web.settings import WebSettings

Serve = Callable[[web.Request, Visit], Awaitable[web.StreamResponse]]
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

ID = web.RequestKey("id", str)
"""Where a request keeps its id (and not its visit, which would be a reference circle for each request)."""

CLIENT_GONE = 499
GENERIC = "Something went wrong here. The hub's log says more under this request id."


@define
class Place:
    """Where a request arrives: the template of its path, and the plugin that answers for it.

    ``many`` is set where it stands for paths and methods without number, which strangers may ask for.
    """

    template: str
    record: Record | None = None
    limit: float | None = None
    many: bool = False
    durations: dict[tuple[str, int], Any] = field(factory=dict)

    @property
    def owner(self) -> str | None:
        """The plugin's name, or None where no plugin answers for this path."""
        return self.record.name if self.record is not None else None


class Pipeline:
    """Wraps what serves a request, and remembers the requests in flight."""

    def __init__(self, settings: WebSettings, logs: Logs, metrics: Metrics) -> None:
        self.settings = settings
        self.headers = Headers(settings.public_url)
        self.visits = Visits(settings)
        self._logs = logs
        self._log = logs.logger()
        self._metrics = metrics
        self._ended: list[dict[str, Any]] = []
        metrics.http_requests_in_flight.set_function(lambda: len(self.visits))

    def wrap(self, serve: Serve, place: Place) -> Handle:
        """Return the handler that aiohttp calls for a route: ``serve`` with everything around it."""
        visits, owner, limit = self.visits, place.owner, place.limit

        async def handle(request: web.Request) -> web.StreamResponse:
            visit = Visit(request, limit)
            request[ID] = visit.id
            bind_request(visit.id)
            bind_plugin(owner)
            visits.add(visit)
            try:
                response = await (serve if request.version <= HttpVersion11 else _wrong_version)(request, visit)
            except BaseException as error:  # noqa: BLE001  (what must not be answered is raised again in there)
                response = self._answer(error, visit, place)
            finally:
                visits.discard(visit)
            self._report(visit, place, response.status)
            return response

        return handle

    async def stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        """Complete the headers of any answer (aiohttp's signal ``on_response_prepare``), and send no body to a HEAD."""
        self.headers.stamp(response, request.get(ID) or secrets.token_hex(8))
        if request.method == "HEAD":
            request.writer.length = 0

    def _answer(self, error: BaseException, visit: Visit, place: Place) -> web.StreamResponse:
        """Return the answer to a request whose handler raised ``error``; raise where there is nobody to answer."""
        if isinstance(error, web.HTTPRedirection | web.HTTPSuccessful):
            return web.Response(status=error.status, headers=error.headers)
        if isinstance(error, Repeated):
            return self.headers.answer(encoded(error.stored), visit.id)
        description = self._describe(error, visit, place)
        if description is None or visit.request.writer.output_size > 0:
            self._report(visit, place, CLIENT_GONE if description is None else description.status)
            raise error if description is None else ConnectionResetError("the answer broke off") from error
        response = description.response(self.headers, visit.request.rel_url.raw_path, visit.id)
        if isinstance(error, asyncio.CancelledError):
            response.force_close()
        return response

    def _describe(self, error: BaseException, visit: Visit, place: Place) -> Description | None:
        """Return how ``error`` is told to the client; None where the client or the server is going away."""
        problem: BaseException | None = error
        if isinstance(error, asyncio.CancelledError):
            problem = visit.cut_short()
        elif isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
            problem = unavailable(error)
        if isinstance(problem, Problem):
            return describe(problem, place.owner)
        if isinstance(error, web.HTTPException):
            return describe_status(error.status, owner=place.owner)
        if _nobody_left(error, visit):
            return None
        self._crashed(error, place)
        return describe_status(500, GENERIC, place.owner)

    def _crashed(self, error: BaseException, place: Place) -> None:
        """Write down an error that nobody foresaw: in the log, in the plugin's record, and as a number."""
        self._log.error("http.crashed", route=place.template, exc_info=error)
        if place.record is not None:
            place.record.note(f"route {place.template}", error)
            self._metrics.count_error(place.record.name, "route")

    def _report(self, visit: Visit, place: Place, status: int) -> None:
        """Count the request, and have it written down with the others of this round of the loop, when that is over."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._write_down)
        seconds, method = monotonic() - visit.started, visit.request.method
        key = ("any" if place.many else method, status)
        child = place.durations.get(key)
        if child is None:
            child = self._metrics.http_request_duration_seconds.labels(key[0], place.template, str(status))
            place.durations[key] = child
        child.observe(seconds)
        self._ended.append(
            {
                "plugin": place.owner,
                "request_id": visit.id,
                "method": method,
                "route": place.template,
                "status": status,
                "ms": round(seconds * 1000, 2),
                "person": None if visit.actor is None else visit.actor.person,
            }
        )

    def _write_down(self) -> None:
        """Write the access log's lines."""
        ended, self._ended = self._ended, []
        self._logs.write("http.request", ended)


async def _wrong_version(_: web.Request, __: Visit) -> web.StreamResponse:
    msg = "This server speaks HTTP/1.1"
    raise VersionNotSupported(msg)


def _nobody_left(error: BaseException, visit: Visit) -> bool:
    """Whether ``error`` means that the client has gone, or that this process is told to end."""
    if isinstance(error, ConnectionError):
        return visit.request.transport is None or visit.request.transport.is_closing()
    if isinstance(error, asyncio.CancelledError):  # one that nobody asked for is a mistake of the handler
        return visit.task is not None and visit.task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)
