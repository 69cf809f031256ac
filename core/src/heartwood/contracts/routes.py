"""What a plugin says about its HTTP API.

The handler's signature is the contract; see :class:`Route`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from attrs import field, frozen

T = TypeVar("T")

UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@frozen
class Route:
    """One HTTP operation.

    The kernel reads the handler's signature when the plugin is collected and binds by it:

    * a parameter named in ``path`` (``/{id}``) is a path parameter, converted to its annotation;
    * ``body`` is an attrs class, structured strictly from the JSON body, all faults reported at once (422);
    * scalars, enums, ``X | None`` and ``list[X]`` of them are query parameters; a default makes one optional;
    * ``Actor``, ``Transaction``, ``aiohttp.web.Request`` and service types (``Database``, ``Blobs``, what a
      plugin provides) are injected;
    * the return annotation is the answer: attrs classes, lists, scalars, ``Page[X]`` and ``None`` become JSON
      (``None`` is 204), ``Answer[X]`` adds status and headers; a ``raw`` route returns a
      ``aiohttp.web.StreamResponse`` of its own.

    Anything else makes the plugin ``failed(collect)`` with a sentence that names the parameter.

    Args:
        method: upper case. HEAD is answered wherever GET is.
        path: below the prefix, ``""`` or starting with a slash; ``{name}`` marks a path parameter.
        handler: an async function or method.
        permission: the permission one must hold; there is no route without.
        name: unique in the plugin; the handler's name by default. ``url_for("ocr:document", id=…)`` uses it.
        summary: one line for the API's documentation; the first line of the handler's docstring by default.
        status: the status of a plain answer.
        transaction: whether the handler runs inside the kernel's transaction; by default for unsafe methods.
            A route with False opens its own with ``Database.unit``.
        raw: the handler builds its own response and reads its own body; it is documented by its text only.
        body_limit: bytes a JSON body may have.
        prefix: which of the plugin's prefixes it lives under; the first by default.
        owner: the plugin that contributed it, where one plugin mounts what another gave it.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    permission: str
    name: str | None = field(default=None, kw_only=True)
    summary: str | None = field(default=None, kw_only=True)
    status: int = field(default=200, kw_only=True)
    transaction: bool | None = field(default=None, kw_only=True)
    raw: bool = field(default=False, kw_only=True)
    body_limit: int = field(default=1024 * 1024, kw_only=True)
    prefix: str | None = field(default=None, kw_only=True)
    owner: str | None = field(default=None, kw_only=True)

    @property
    def label(self) -> str:
        """The name of the route within its plugin."""
        return self.name or str(getattr(self.handler, "__name__", "handler"))

    @property
    def transactional(self) -> bool:
        """Whether the kernel opens a transaction around the handler."""
        return self.method in UNSAFE_METHODS if self.transaction is None else self.transaction


@frozen
class Page(Generic[T]):
    """One page of a list: ``items``, and ``next``, the cursor of the page after it, or None at the end."""

    items: list[T]
    next: str | None = None


@frozen
class Answer(Generic[T]):
    """A value with a status and headers of its own."""

    value: T
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
