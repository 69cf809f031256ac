"""What serves one typed route: identity, gate, permission, binding, transaction, handler, answer."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from aiohttp import web

from heartwood.contracts.data import Stored
from heartwood.contracts.errors import DatabaseUnavailable, Forbidden, PluginUnavailable, Unauthorized
from heartwood.contracts.http import idempotency_key
from heartwood.contracts.people import Actor
from heartwood.contracts.permissions import PUBLIC
from heartwood.web.body import read_body
from heartwood.web.headers import Encoded, Headers

if TYPE_CHECKING:
    from heartwood.contracts.data import Transaction
    from heartwood.contracts.routes import Route
    from heartwood.data.pool import PgDatabase
    from heartwood.plugins.records import Record
    from heartwood.web.pipeline import Serve
    from heartwood.web.visit import Visit

NOBODY = Actor(person=None, name="nobody", permissions=frozenset(), via="none")
"""Who asks a public route without a credential."""

Arguments = dict[str, Any]
Finish = Callable[[web.Request, "Visit", Actor, Arguments, bytes | None], Awaitable[web.StreamResponse]]


class Bound(Protocol):
    """A route whose handler has been bound to what its signature asks for."""

    @property
    def reads_body(self) -> bool:
        """Whether the handler takes a JSON body."""
        ...

    def arguments(self, request: web.Request, actor: Actor, body: bytes | None) -> Arguments:
        """Return what the handler is called with; raises ``Invalid`` with every fault of the request."""
        ...

    def call(self, arguments: Arguments, tx: Transaction | None) -> Awaitable[Any]:
        """Run the handler."""
        ...

    def answer(self, result: Any) -> Encoded:
        """Return status, further headers and JSON of what the handler returned."""
        ...


class Authenticator(Protocol):
    """Tells who asks."""

    async def authenticate(self, authorization: str | None) -> Actor | None:
        """Return the actor behind an ``Authorization`` header, or None."""
        ...


class Parts(NamedTuple):
    """One route with all that serves it."""

    route: Route
    bound: Bound
    record: Record
    identity: Authenticator
    database: PgDatabase
    headers: Headers


def endpoint(parts: Parts) -> Serve:
    """Return the coroutine that serves the route, for the pipeline to wrap."""
    route, record, identity, bound = parts.route, parts.record, parts.identity, parts.bound
    permission, public = route.permission, route.permission == PUBLIC
    finish = _raw(parts) if route.raw else _transactional(parts) if route.transactional else _plain(parts)
    limit, reads_body = route.body_limit, bound.reads_body

    async def serve(request: web.Request, visit: Visit) -> web.StreamResponse:
        try:
            actor = visit.actor = await identity.authenticate(request.headers.get("Authorization"))
        except DatabaseUnavailable:
            if not public:
                raise
            actor = None  # who asks cannot be known now, and need not be
        if not record.serving:
            raise gate(record, actor)
        if not public:
            if actor is None:
                msg = "This needs a valid token: send `Authorization: Bearer <token>`"
                raise Unauthorized(msg)
            if not actor.may(permission):
                msg = f"{actor.name} may not do this: it needs the permission {permission}"
                raise Forbidden(msg)
        who = NOBODY if actor is None else actor
        body = await read_body(request, limit) if reads_body else None
        return await finish(request, visit, who, bound.arguments(request, who, body), body)

    return serve


def gate(record: Record, actor: Actor | None) -> PluginUnavailable:
    """Return what is answered below a prefix whose plugin does not serve; the reason is for people who are known."""
    return PluginUnavailable(record.name, record.label, record.reason if actor is not None else "")


def _raw(parts: Parts) -> Finish:
    call = parts.bound.call

    async def finish(_: web.Request, __: Visit, ___: Actor, arguments: Arguments, ____: bytes | None) -> Any:
        return await call(arguments, None)

    return finish


def _plain(parts: Parts) -> Finish:
    call, answer, headers = parts.bound.call, parts.bound.answer, parts.headers

    async def finish(_: web.Request, visit: Visit, __: Actor, arguments: Arguments, ___: bytes | None) -> web.Response:
        return headers.answer(answer(await call(arguments, None)), visit.id)

    return finish


def _transactional(parts: Parts) -> Finish:
    """Return what runs the handler in one transaction, which is committed before the answer is written.

    The answer is made inside it, so that one which cannot be written as JSON undoes what was done.
    """
    call, answer, headers, unit = parts.bound.call, parts.bound.answer, parts.headers, parts.database.unit

    async def finish(
        request: web.Request, visit: Visit, actor: Actor, arguments: Arguments, body: bytes | None
    ) -> web.Response:
        key = idempotency_key(request)
        digest = b"" if key is None else hashlib.sha256(body or b"").digest()
        async with unit(actor, key, body=digest) as tx:
            answered = answer(await call(arguments, tx))
            if key is not None:
                status, further, text = answered
                tx.remember(Stored(status, text or b"", further or {}))
        return headers.answer(answered, visit.id)

    return finish
