"""Errors as people and programs read them: ``application/problem+json`` of RFC 9457.

Every document has ``type``, ``title``, ``status``, ``detail``, ``instance`` and ``request_id``; ``owner`` names the
plugin behind it where there is one, and ``faults`` lists what is wrong where there are several things.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from attrs import frozen

from heartwood.contracts.errors import Problem, Unauthorized
from heartwood.web.headers import REQUEST_ID, Headers

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPE = "urn:heartwood:problem:"


class MethodNotAllowed(Problem):
    """The path is known and does not take this method; ``allowed`` are those it takes."""

    status = 405
    title = "Method not allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"{method} is not possible here; {', '.join(allowed)} is")
        self.allowed = allowed


class RequestTimeout(Problem):
    """The request's body came too slowly."""

    status = 408
    title = "Too slow"


class VersionNotSupported(Problem):
    """The request speaks a version of HTTP that is not spoken here."""

    status = 505
    title = "HTTP version not supported"


@frozen
class Description:
    """A problem as it is sent: what RFC 9457 asks for, and the headers that belong to it."""

    status: int
    kind: str
    title: str
    detail: str
    owner: str | None = None
    faults: list[dict[str, str]] | None = None
    headers: Mapping[str, str] = {}

    def document(self, instance: str, request_id: str) -> dict[str, Any]:
        """Return the JSON object of this problem, met at the path ``instance`` by the request ``request_id``."""
        members = {
            "type": TYPE + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
        }
        if self.owner is not None:
            members["owner"] = self.owner
        if self.faults:
            members["faults"] = self.faults
        return members

    def response(self, headers: Headers, instance: str, request_id: str) -> web.Response:
        """Return the answer that carries this problem."""
        body = orjson.dumps(self.document(instance, request_id))
        response = web.Response(body=body, status=self.status, headers=headers.problem)
        response.headers[REQUEST_ID] = request_id
        response.headers.update(self.headers)
        return response


def describe(problem: Problem, owner: str | None = None) -> Description:
    """Return how ``problem`` is told; ``owner`` is the plugin behind it where the problem does not say."""
    return Description(
        status=problem.status,
        kind=kind(type(problem)),
        title=problem.title,
        detail=problem.detail,
        owner=problem.owner or owner,
        faults=[{"where": fault.where, "message": fault.message} for fault in problem.faults],
        headers=_headers(problem),
    )


def describe_status(status: int, detail: str = "", owner: str | None = None) -> Description:
    """Return how a bare HTTP status is told, for errors that come from below the routes."""
    name = HTTPStatus(status)
    slug = name.name.lower().replace("_", "-")
    return Description(status, slug, name.phrase, detail or name.description or name.phrase, owner)


def kind(problem: type[Problem]) -> str:
    """Return the last part of the problem's ``type``: ``PluginUnavailable`` is ``plugin-unavailable``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", problem.__name__).lower()


def _headers(problem: Problem) -> dict[str, str]:
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    if isinstance(problem, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="heartwood"'
    if isinstance(problem, MethodNotAllowed):
        headers["Allow"] = ", ".join(problem.allowed)
    return headers
