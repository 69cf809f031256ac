"""Binding a route: path, query and body become the handler's arguments, and what it returns becomes JSON."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import attrs
from aiohttp import web
from attrs import field, frozen

from heartwood.config.structure import closest, is_union, reader
from heartwood.contracts.data import Transaction
from heartwood.contracts.errors import Fault, HeartwoodError, Invalid, NotFound
from heartwood.contracts.people import Actor
from heartwood.contracts.routes import UNSAFE_METHODS, Answer, Route
from heartwood.plugins.binding import MISSING, Binder, Bound, CannotBind, Parameter
from heartwood.plugins.codec import decode, encode
from heartwood.web.text import Convert, text_reader

if TYPE_CHECKING:
    from heartwood.web.headers import Encoded

INJECTABLE = (Actor, Transaction, web.Request)
PATH_PART = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
PATH = re.compile(rf"(/([^/{{}}?#\s]|{PATH_PART.pattern})*)*")
METHODS = frozenset({"GET", *UNSAFE_METHODS})
NO_CONTENT = 204


@frozen
class Query:
    """One query parameter: how its text is read, whether it may come several times, and what it is without."""

    name: str
    kind: Any
    convert: Convert
    many: bool
    default: Any


@frozen
class BoundRoute:
    """A route whose handler is bound; see :class:`heartwood.web.endpoint.Bound`.

    ``path`` and ``query`` say how text is read, ``body`` is the class of the JSON body, ``returns`` that of the answer.
    """

    route: Route
    bound: Bound
    path: Mapping[str, tuple[Any, Convert]]
    query: Mapping[str, Query]
    body: type | None
    returns: Any
    _request: str | None = field(repr=False)
    _actor: str | None = field(repr=False)
    _tx: str | None = field(repr=False)

    @property
    def reads_body(self) -> bool:
        """Whether the handler takes a JSON body."""
        return self.body is not None

    def arguments(self, request: web.Request, actor: Actor, body: bytes | None) -> dict[str, Any]:
        """Return what the handler is called with.

        Raises:
            NotFound: a part of the path is not what it should be: there is nothing of that name.
            Invalid: query or body; every fault is listed.
        """
        given: dict[str, Any] = {}
        if self.path:
            self._read_path(request, given)
        faults = (
            self._read_query(request, given)
            if self.query or (request.rel_url.raw_query_string and not self.route.raw)
            else []
        )
        if self.body is not None:
            try:
                given["body"] = decode(self.body, body or b"")
            except Invalid as error:
                faults += error.faults
        if faults:
            msg = f"The request has {len(faults)} fault{'s' if len(faults) > 1 else ''}"
            raise Invalid(msg, faults=faults)
        if self._request is not None:
            given[self._request] = request
        if self._actor is not None:
            given[self._actor] = actor
        return given

    def call(self, arguments: dict[str, Any], tx: Transaction | None) -> Awaitable[Any]:
        """Run the handler."""
        if self._tx is not None:
            arguments[self._tx] = tx
        return self.bound.call(arguments)

    def answer(self, result: Any) -> Encoded:
        """Return status, further headers and JSON of what the handler returned."""
        if result.__class__ is Answer:
            return result.status, result.headers, None if result.value is None else encode(result.value)
        if result is None:
            return NO_CONTENT, None, None
        return self.route.status, None, encode(result)

    def _read_path(self, request: web.Request, given: dict[str, Any]) -> None:
        for name, (_, convert) in self.path.items():
            text = request.match_info[name]
            try:
                given[name] = convert(text)
            except ValueError as error:
                msg = f"There is nothing called {text[:80]!r} here"
                raise NotFound(msg) from error

    def _read_query(self, request: web.Request, given: dict[str, Any]) -> list[Fault]:
        faults = []
        asked = request.query
        for each in self.query.values():
            texts = asked.getall(each.name, ())
            if not texts:
                if each.default is MISSING:
                    faults.append(Fault(each.name, "missing; it must be given"))
                continue
            if len(texts) > 1 and not each.many:
                faults.append(Fault(each.name, f"given {len(texts)} times; it may be given once"))
                continue
            try:
                read = [each.convert(text) for text in texts]
            except ValueError as error:
                faults.append(Fault(each.name, str(error)))
            else:
                given[each.name] = read if each.many else read[0]
        faults += [
            Fault(name, f"unknown query parameter{closest(name, self.query)}")
            for name in dict.fromkeys(asked)
            if name not in self.query
        ]
        return faults


def bind_route(plugin: str, route: Route, binder: Binder) -> BoundRoute:
    """Check a route's handler against its path and bind it.

    Raises:
        CannotBind: its method or path cannot be mounted, or its signature asks for something that a request cannot
            give; the sentence names it.
    """
    _check_place(route)
    bound = binder.bind(plugin, route.handler, INJECTABLE)
    rest = {each.name: each for each in bound.rest}
    name, where = bound.signature.name, f"{route.method} {route.path}"
    path = {}
    for part in PATH_PART.findall(route.path):
        parameter = rest.pop(part, None)
        if parameter is None:
            msg = f"{name}: the path {route.path!r} has {{{part}}}, and the handler no parameter of that name"
            raise CannotBind(msg)
        path[part] = (parameter.kind, _path_reader(name, parameter))
    body = _body(name, rest.pop("body", None))
    if route.raw and (rest or body):
        msg = f"{name} of {where} is raw and takes {next(iter(rest), 'body')!r}; a raw handler reads the request itself"
        raise CannotBind(msg)
    tx = bound.asks_for(Transaction)
    if tx is not None and (route.raw or not route.transactional):
        msg = f"{name} of {where} takes a Transaction, and the route has none; open one with Database.unit"
        raise CannotBind(msg)
    query = {each.name: _query(name, each) for each in rest.values()}
    return BoundRoute(
        route, bound, path, query, body, _returns(bound, route), bound.asks_for(web.Request), bound.asks_for(Actor), tx
    )


def _check_place(route: Route) -> None:
    if route.method not in METHODS:
        msg = f"the method {route.method!r} is none of {', '.join(sorted(METHODS))}; HEAD is answered wherever GET is"
        raise CannotBind(msg)
    if not PATH.fullmatch(route.path):
        msg = f"the path {route.path!r} cannot be mounted: it is empty or /parts, with {{parameters}} in lower case"
        raise CannotBind(msg)


def _path_reader(handler: str, parameter: Parameter) -> Convert:
    convert = text_reader(parameter.kind)
    if convert is None:
        raise CannotBind(_unreadable(handler, parameter))
    return convert


def _body(handler: str, parameter: Parameter | None) -> type | None:
    if parameter is None:
        return None
    kind: type = parameter.kind
    if not attrs.has(get_origin(kind) or kind):
        msg = f"{handler}: `body` is {kind}; it must be an attrs class"
        raise CannotBind(msg)
    try:
        reader(kind)
    except HeartwoodError as error:
        msg = f"{handler}: {error}"
        raise CannotBind(msg) from error
    return kind


def _query(handler: str, parameter: Parameter) -> Query:
    kind = parameter.kind
    many = get_origin(kind) is list
    inner = get_args(kind)[0] if many else _without_none(kind)
    convert = text_reader(inner)
    if convert is None:
        raise CannotBind(_unreadable(handler, parameter))
    return Query(parameter.name, inner, convert, many, parameter.default)


def _without_none(kind: Any) -> Any:
    members = [each for each in get_args(kind) if each is not type(None)] if is_union(kind) else [kind]
    return members[0] if len(members) == 1 else Union[tuple(members)]  # noqa: UP007  (its members are known at run time only)


def _unreadable(handler: str, parameter: Parameter) -> str:
    kind = getattr(parameter.kind, "__name__", parameter.kind)
    return (
        f"{handler}: nothing can be given for the parameter {parameter.name!r} of type {kind}; use text, a number, "
        "true or false, an enum, a UUID or a moment for path and query, an attrs class called `body`, or a service"
    )


def _returns(bound: Bound, route: Route) -> Any:
    returns = bound.signature.returns
    if route.raw:
        return None
    if returns is MISSING:
        msg = f"{bound.signature.name} does not say what it returns; annotate it, with None where it returns nothing"
        raise CannotBind(msg)
    return get_args(returns)[0] if get_origin(returns) is Answer else returns
