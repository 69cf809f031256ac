"""The one outbound client."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from yarl import URL

from heartwood.contracts.http import MEBIBYTE, HttpAnswer, OutboundError, OutboundFailed, OutboundRefused
from heartwood.web.addresses import Guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp.abc import AbstractResolver

PORTS = {"http": 80, "https": 443}


class Outbound:
    """Implements ``HttpClient`` with one session for the whole hub; made in a running loop, closed at its stop."""

    def __init__(self, allowed: Iterable[str], resolver: AbstractResolver | None = None) -> None:
        self._guard = Guard(allowed, resolver)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._guard, limit=64),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "heartwood"},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

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
        """Ask ``url`` and return the whole answer; see the contract."""
        target = self._target(url)
        options: dict[str, Any] = {"headers": dict(headers), "params": dict(params), "data": body}
        if json is not None:
            options["data"] = orjson.dumps(json)
            options["headers"].setdefault("Content-Type", "application/json")
        limits = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.request(
                method, target, allow_redirects=False, timeout=limits, **options
            ) as response:
                return HttpAnswer(response.status, response.headers, await _read(response, limit))
        except OutboundError as error:
            msg = f"{method} {target.host}: {error}"
            raise type(error)(msg) from error
        except TimeoutError as error:
            msg = f"{method} {target.host}: no answer within {timeout:g} s"
            raise OutboundFailed(msg) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            msg = f"{method} {target.host}: {type(error).__name__}: {error}"
            raise OutboundFailed(msg) from error

    def _target(self, text: str) -> URL:
        """Return the URL after what can be checked without resolving it: aiohttp resolves no address literals."""
        try:
            url = URL(text)
        except ValueError as error:
            msg = f"not a URL: {text[:60]!r}"
            raise OutboundRefused(msg) from error
        if url.scheme not in PORTS or not url.host:
            msg = f"not an http or https URL with a host: {text[:60]!r}"
            raise OutboundRefused(msg)
        port = url.port or PORTS[url.scheme]
        try:
            literal = str(ip_address(url.host))
        except ValueError:
            return url
        self._guard.check(url.host, port, literal)
        return url


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    if (response.content_length or 0) > limit:
        msg = f"the answer has {response.content_length} bytes, more than the limit of {limit}"
        raise OutboundFailed(msg)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            msg = f"the answer has more than the limit of {limit} bytes"
            raise OutboundFailed(msg)
    return bytes(body)
