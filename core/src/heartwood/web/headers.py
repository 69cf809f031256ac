"""The headers that every answer carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

if TYPE_CHECKING:
    from heartwood.contracts.data import Stored

REQUEST_ID = "X-Request-ID"
JSON = "application/json"
PROBLEM = "application/problem+json"

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "heartwood",
}
"""What an answer says unless it says otherwise: nothing of it may be framed, run, guessed at or kept."""

Encoded = tuple[int, Mapping[str, str] | None, bytes | None]
"""A typed answer: status, further headers, and JSON, which is None where there is no body."""

HSTS = {"Strict-Transport-Security": "max-age=31536000"}


class Headers:
    """The headers of this hub's answers, made once and copied into each."""

    def __init__(self, public_url: str = "") -> None:
        self.common = SECURITY | (HSTS if public_url.startswith("https://") else {})
        self.json = CIMultiDict({**self.common, "Content-Type": JSON})
        self.empty = CIMultiDict(self.common)
        self.problem = CIMultiDict({**self.common, "Content-Type": PROBLEM})

    def stamp(self, response: web.StreamResponse, request_id: str) -> None:
        """Give ``response`` the request's id, and the common headers that it does not set itself."""
        headers = response.headers
        if REQUEST_ID in headers:
            return
        headers[REQUEST_ID] = request_id
        for name, value in self.common.items():
            headers.setdefault(name, value)
        headers["Server"] = SECURITY["Server"]  # aiohttp has already put its name and version there

    def answer(self, encoded: Encoded, request_id: str) -> web.Response:
        """Return the answer that carries ``encoded``."""
        status, further, body = encoded
        response = web.Response(body=body, status=status, headers=self.empty if body is None else self.json)
        if further:
            response.headers.update(further)
        response.headers[REQUEST_ID] = request_id
        return response


def encoded(stored: Stored) -> Encoded:
    """Return an answer that was kept under an idempotency key; a repeated one says that it is."""
    further = {**stored.headers, "Idempotency-Replayed": "true"} if stored.repeated else stored.headers
    return stored.status, further, stored.answer or None
