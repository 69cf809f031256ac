"""The OpenAPI 3.1 document of this hub, made from the routes that are mounted."""

from __future__ import annotations

import inspect
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

from attrs import frozen

from heartwood.config.structure import is_union
from heartwood.contracts import errors
from heartwood.contracts.permissions import PUBLIC
from heartwood.plugins.binding import MISSING
from heartwood.web.schemas import Schema, Schemas, default_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heartwood.web.binding import BoundRoute, Query

PROBLEM = "Problem"
SCHEME = "token"
_KEY = {"$ref": "#/components/parameters/IdempotencyKey"}
_PROBLEMS: tuple[type[errors.Problem], ...] = (
    errors.Unauthorized,
    errors.Forbidden,
    errors.NotFound,
    errors.Conflict,
    errors.TooLarge,
    errors.UnsupportedMedia,
    errors.Invalid,
    errors.Unavailable,
)


@frozen
class Mounted:
    """A route as it is reached: the plugin that answers for it, and its full path (``/business/documents/{id}``)."""

    plugin: str
    path: str
    bound: BoundRoute


def document(mounted: Iterable[Mounted], *, version: str) -> dict[str, Any]:
    """Return the document: the same for the same routes, whatever their order.

    Raises:
        NoSchema, Unreadable: a type in a signature cannot be in JSON; it names the place.
    """
    schemas = Schemas({PROBLEM: _PROBLEM_SCHEMA})
    schemas.of("core", errors.Fault, written=True)
    paths: dict[str, dict[str, Any]] = {}
    plugins = set()
    for each in sorted(mounted, key=lambda each: (each.path, each.bound.route.method)):
        paths.setdefault(each.path, {})[each.bound.route.method.lower()] = _operation(each, schemas)
        plugins.add(each.plugin)
    return {
        "openapi": "3.1.0",
        "info": {"title": "heartwood", "version": version, "description": _ABOUT},
        "tags": [{"name": name} for name in sorted(plugins)],
        "security": [{SCHEME: []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.named.items())),
            "responses": {PROBLEM: _problem("Any other error")}
            | {kind.__name__: _problem(_sentence(kind)) for kind in _PROBLEMS},
            "parameters": {"IdempotencyKey": _KEY_PARAMETER},
            "securitySchemes": {SCHEME: _SCHEME},
        },
    }


def _operation(each: Mounted, schemas: Schemas) -> dict[str, Any]:
    bound, route = each.bound, each.bound.route
    text = inspect.cleandoc(route.handler.__doc__ or "")
    first, _, rest = text.partition("\n")
    made: dict[str, Any] = {
        "tags": [each.plugin],
        "operationId": f"{each.plugin}.{route.label}",
        "summary": route.summary or first,
        "x-permission": route.permission,
    }
    if further := text if route.summary else rest.strip():
        made["description"] = further
    if route.permission == PUBLIC:
        made["security"] = []
    if parameters := [*_parameters(each, schemas)]:
        made["parameters"] = parameters
    if bound.body is not None:
        schema = schemas.of(each.plugin, bound.body, written=False, where=f"{route.label}: body")
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    made["responses"] = {**_answers(each, schemas), **_refusals(bound)}
    return made


def _parameters(each: Mounted, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for name, (kind, _) in each.bound.path.items():
        schema = schemas.of(each.plugin, kind, written=False)
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for query in each.bound.query.values():
        required = query.default is MISSING
        yield {"name": query.name, "in": "query", "required": required, "schema": _query(each.plugin, query, schemas)}
    if _takes_key(each.bound):
        yield _KEY


def _query(plugin: str, query: Query, schemas: Schemas) -> Schema:
    schema = schemas.of(plugin, query.kind, written=False)
    made = {"type": "array", "items": schema} if query.many else schema
    return made if query.default is MISSING else made | default_of(query.default)


def _answers(each: Mounted, schemas: Schemas) -> dict[str, Any]:
    """Return what a success looks like; None is sent as 204, and of a raw route only its text knows."""
    route, returns = each.bound.route, each.bound.returns
    if route.raw:
        return {"2XX": {"description": "As the text says"}}
    members = get_args(returns) if is_union(returns) else (returns,)
    kinds = [kind for kind in members if kind not in (None, NoneType)]
    made: dict[str, Any] = {}
    if kinds:
        found = [schemas.of(each.plugin, kind, written=True, where=f"{route.label}: answer") for kind in kinds]
        schema = found[0] if len(found) == 1 else {"anyOf": found}
        made[str(route.status)] = {"description": "Done", "content": {"application/json": {"schema": schema}}}
    if len(kinds) < len(members):
        made["204"] = {"description": "Done; there is nothing to say"}
    return made


def _refusals(bound: BoundRoute) -> dict[str, Any]:
    """Return the problems that this route answers with by itself; the handler may have more, as its text says."""
    found: list[type[errors.Problem]] = [errors.Unavailable]
    if bound.route.permission != PUBLIC:
        found += [errors.Unauthorized, errors.Forbidden]
    if bound.path:
        found.append(errors.NotFound)
    if not bound.route.raw:  # an unknown query parameter is a fault everywhere
        found.append(errors.Invalid)
    if bound.reads_body:
        found += [errors.TooLarge, errors.UnsupportedMedia]
    if _takes_key(bound):
        found.append(errors.Conflict)
    named = {str(kind.status): kind.__name__ for kind in sorted(found, key=lambda kind: kind.status)}
    return {
        status: {"$ref": f"#/components/responses/{name}"} for status, name in (named | {"default": PROBLEM}).items()
    }


def _takes_key(bound: BoundRoute) -> bool:
    return bound.route.transactional and not bound.route.raw


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{PROBLEM}"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


def _sentence(kind: type[errors.Problem]) -> str:
    return inspect.cleandoc(kind.__doc__ or kind.title).partition("\n")[0]


_ABOUT = (
    "One tag a plugin; `x-permission` is what one must hold. HEAD is answered wherever GET is. Clients accept "
    "properties and enum values that they do not know: more may come."
)
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token made by `heartwood token create`, in the header and nowhere else.",
}
_KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key within 24 hours gives the first answer again, and nothing is done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}
_PROBLEM_SCHEMA: Schema = {
    "type": "object",
    "description": "An error as RFC 9457 writes it.",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "owner": {"type": "string", "description": "The plugin behind it."},
        "faults": {"type": "array", "items": {"$ref": "#/components/schemas/Fault"}},
    },
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
}
