"""All routes on one flat router, a gate below every prefix, and an answer for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import web

from heartwood.contracts.errors import HeartwoodError, NotFound
from heartwood.web.endpoint import Authenticator, Bound, Parts, endpoint, gate
from heartwood.web.pipeline import Pipeline, Place
from heartwood.web.problem import MethodNotAllowed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heartwood.contracts.routes import Route
    from heartwood.data.pool import PgDatabase
    from heartwood.plugins.records import Record
    from heartwood.web.pipeline import Serve
    from heartwood.web.visit import Visit


class Mount:
    """Builds the aiohttp application: first every :meth:`route`, then :meth:`close`.

    A plugin's prefix lies below ``web.api_root``; a root that it claims (``dashboard``) lies beside it.
    """

    def __init__(self, pipeline: Pipeline, identity: Authenticator) -> None:
        self.app = web.Application()
        self.app.on_response_prepare.append(pipeline.stamp)
        self._pipeline = pipeline
        self._identity = identity
        self._paths: dict[str, str] = {}

    def route(
        self, record: Record, route: Route, bound: Bound, database: PgDatabase, owner: Record | None = None
    ) -> None:
        """Mount a route of ``record``'s plugin, with HEAD where it is a GET.

        ``database`` is where its transactions run. ``owner`` is the plugin that contributed the route, where that is
        another one: gate, errors, metrics and time limit are its.
        """
        answering = owner or record
        path = self.path(record, route)
        limit = None if route.raw else self._pipeline.settings.request_timeout
        parts = Parts(route, bound, answering, self._identity, database, self._pipeline.headers)
        handle = self._pipeline.wrap(endpoint(parts), Place(path, answering, limit))
        resource = self.app.router.add_resource(path)
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            resource.add_route(method, handle)
        self._paths.setdefault(f"{record.name}:{route.label}", resource.canonical)

    def close(self, records: Iterable[Record]) -> web.Application:
        """Put the gates below all prefixes and roots of ``records`` and the answer to all other paths; return the app.

        Called once, after all routes. States are looked up per request, so a plugin that comes up later serves.
        """
        known = tuple(self.app.router.resources())
        for record in records:
            for base in self.bases(record):
                handle = self._pipeline.wrap(self._unmatched(known, record), Place(f"{base}/*", record, many=True))
                self.app.router.add_route("*", base, handle)
                self.app.router.add_route("*", f"{base}/{{rest:.*}}", handle)
        everything = self._pipeline.wrap(self._unmatched(known, None), Place("*", many=True))
        self.app.router.add_route("*", "/{rest:.*}", everything)
        return self.app

    def path(self, record: Record, route: Route) -> str:
        """Return the template of the full path of a route of ``record``'s plugin."""
        prefix = route.prefix or (record.prefixes or record.roots)[0]
        return f"{self._base(record, prefix)}{route.path}"

    def bases(self, record: Record) -> list[str]:
        """Return the paths below which only ``record``'s plugin answers."""
        return [self._base(record, prefix) for prefix in (*record.prefixes, *record.roots)]

    def url_for(self, name: str, **parts: Any) -> str:
        """Return the path of a route: ``url_for("ocr:document", id=…)``.

        Raises:
            HeartwoodError: there is no such route, or a part of its path was not given.
        """
        path = self._paths.get(name)
        if path is None:
            msg = f"There is no route {name!r}; a route is named `<plugin>:<name of the route>`"
            raise HeartwoodError(msg)
        try:
            return path.format_map({part: quote(str(value), safe="") for part, value in parts.items()})
        except KeyError as error:
            msg = f"The path of {name!r} is {path}; {error} was not given"
            raise HeartwoodError(msg) from error

    def _base(self, record: Record, prefix: str) -> str:
        return f"/{prefix}" if prefix in record.roots else f"{self._pipeline.settings.api_root}/{prefix}"

    def _unmatched(self, known: Iterable[web.AbstractResource], record: Record | None) -> Serve:
        """Return what serves a path that no route takes: the gate's 503, else 405 or 404."""

        async def serve(request: web.Request, visit: Visit) -> web.StreamResponse:
            if record is not None and not record.serving:
                visit.actor = await self._identity.authenticate(request.headers.get("Authorization"))
                raise gate(record, visit.actor)
            allowed: set[str] = set()
            for resource in known:
                allowed |= (await resource.resolve(request))[1]
            if allowed:
                raise MethodNotAllowed(request.method, sorted(allowed))
            msg = f"There is nothing at {request.rel_url.path}"
            raise NotFound(msg)

        return serve
