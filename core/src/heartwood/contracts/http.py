"""How a plugin asks other servers over HTTP, and streams live events to browsers."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

from heartwood.contracts.errors import Fault, HeartwoodError, Invalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp import web

MEBIBYTE = 1024 * 1024
LONGEST_KEY = 200


def idempotency_key(request: web.Request) -> str | None:
    """Return the key under which ``database.unit`` does what this request asks at most once; None where it has none.

    It stands for the header ``Idempotency-Key`` together with method, path and query, so that a client's key means
    something else on another route.

    Raises:
        Invalid: the header is empty, longer than 200 characters or not ASCII.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= LONGEST_KEY and key.isascii()):
        fault = Fault("Idempotency-Key", f"expected 1 to {LONGEST_KEY} ASCII characters, got {len(key)} characters")
        msg = "The idempotency key cannot be used"
        raise Invalid(msg, faults=[fault])
    where = hashlib.sha256(f"{request.method} {request.rel_url}".encode()).hexdigest()  # an index takes no long path
    return f"{where} {key}"


class OutboundError(HeartwoodError):
    """Asking another server did not work. The sentence names the method and the host, never the query."""


class OutboundRefused(OutboundError):
    """The hub does not call this address: it is not public, and ``web.outbound_allow`` does not list it."""


class OutboundFailed(OutboundError):
    """The other server could not be reached, was too slow, or sent more than the limit."""


@frozen
class HttpAnswer:
    """What another server answered. All of it is hostile until it has been checked."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300  # noqa: PLR2004  (the range that RFC 9110 calls successful)

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            OutboundFailed: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            msg = f"the answer is not JSON: {self.body[:60]!r}"
            raise OutboundFailed(msg) from error


class HttpClient(Protocol):
    """The one way out: every plugin's requests to other servers go through it."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        params: Mapping[str, str] = {},
        json: Any = None,
        body: bytes | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109  (covers the whole exchange, with one error for every way to fail)
        limit: int = 5 * MEBIBYTE,
    ) -> HttpAnswer:
        """Ask ``url`` and return the whole answer, whatever its status. Redirects are not followed.

        The address is checked when the connection is made: what is not public is only called where
        ``web.outbound_allow`` lists its host.

        Args:
            method: such as ``GET``.
            url: ``http`` or ``https``.
            headers: sent beside the usual ones.
            params: the query, added to that of ``url``.
            json: sent as the JSON body.
            body: bytes to send instead.
            timeout: seconds for the whole exchange.
            limit: bytes of the answer's body, after decompression.

        Raises:
            OutboundRefused: the address is not one the hub calls.
            OutboundFailed: there was no answer, or more than ``limit`` bytes of it.
        """
        ...


@frozen
class StreamEvent:
    """One server-sent event. ``name`` is its type (``message`` where None); ``id`` comes back as ``Last-Event-ID``."""

    data: str
    name: str | None = None
    id: str | None = None


class EventStreams(Protocol):
    """Server-sent events for a ``raw`` route."""

    async def serve(self, request: web.Request, events: AsyncIterator[StreamEvent]) -> web.StreamResponse:
        """Send ``events`` until they end, the client leaves or the hub stops; quiet times are filled with heartbeats.

        The next event is only taken when the one before is on its way, so a slow client slows the source: let that be
        a :class:`~heartwood.contracts.events.Subscriber`, which then loses its oldest signals.
        ``request.headers.get("Last-Event-ID")`` says where a client that comes back left off.
        """
        ...
