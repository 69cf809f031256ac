"""The hub's HTTP API as commands use it: an address, a token, and errors that are sentences.

Plugins' commands may import this. Without ``--url`` and ``--token`` it finds the hub of this machine by its
configuration, and uses the token that the hub leaves in its data folder.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
from attrs import frozen

from heartwood.contracts.errors import HeartwoodError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import aiohttp


F = TypeVar("F", bound="Callable[..., Any]")

FAILED = 400
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (addresses that are listened on, to be called)


class HubRefused(HeartwoodError):
    """The hub answered with an error; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class HubAway(HeartwoodError):
    """No hub answers at the address."""


@frozen
class Hub:
    """An open connection to a hub. Paths are those below its API's address, ``documents/upload``."""

    session: aiohttp.ClientSession
    url: str

    async def json(self, method: str, path: str, *, query: Mapping[str, str] | None = None, data: Any = None) -> Any:
        """Send a request and return the JSON of its answer, or None where it has none.

        Raises:
            HubRefused: the answer is an error.
            HubAway: there is no answer.
        """
        body = await self.bytes(method, path, query=query, data=data)
        return orjson.loads(body) if body else None

    async def text(self, path: str) -> str:
        """Return the text at ``path``; raises as :meth:`json`."""
        return (await self.bytes("GET", path)).decode()

    async def bytes(self, method: str, path: str, *, query: Mapping[str, str] | None = None, data: Any = None) -> bytes:
        """Send a request and return the body of its answer; raises as :meth:`json`."""
        import aiohttp  # noqa: PLC0415  (imported where it is needed: it is heavy)

        try:
            async with self.session.request(method, f"{self.url}/{path}", params=query, data=data) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            msg = f"no hub answers at {self.url} ({str(error) or type(error).__name__}); is `heartwood serve` running?"
            raise HubAway(msg) from error
        if response.status >= FAILED:
            raise HubRefused(_sentence(response.status, body), response.status)
        return body


def _sentence(status: int, body: bytes) -> str:
    """Return what a problem+json says, or the status where the answer is something else."""
    try:
        problem = orjson.loads(body)
        faults = [f"{fault['where']}: {fault['message']}" for fault in problem.get("faults", [])]
        return "; ".join([problem["detail"], *faults])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the hub answered with status {status}"


def hub_options(command: F) -> F:
    """Give a click command the options ``--url`` and ``--token``, for :func:`open_hub`."""
    url = click.option("--url", envvar="HEARTWOOD_URL", help="Address of the API; by default that of this machine.")
    token = click.option("--token", envvar="HEARTWOOD_TOKEN", help="API token; by default that of this machine.")
    return url(token(command))


@asynccontextmanager
async def open_hub(ctx: click.Context, url: str | None, token: str | None) -> AsyncIterator[Hub]:
    """Connect to the hub at ``url``, or to that of this machine.

    Raises:
        HubAway: it is this machine's, and has left no token.
    """
    import aiohttp  # noqa: PLC0415  (imported where it is needed: it is heavy)

    here = _here(ctx) if url is None or token is None else ("", "")
    headers = {"Authorization": f"Bearer {token or here[1]}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Hub(session, (url or here[0]).rstrip("/"))


def _here(ctx: click.Context) -> tuple[str, str]:
    """Return the address and the token of this machine's hub."""
    from heartwood.cli.common import load_layers  # noqa: PLC0415  (imported where it is needed: it is heavy)
    from heartwood.data.places import find_places  # noqa: PLC0415  (imported where it is needed: it is heavy)
    from heartwood.data.settings import DataSettings  # noqa: PLC0415  (imported where it is needed: it is heavy)
    from heartwood.web.settings import WebSettings  # noqa: PLC0415  (imported where it is needed: it is heavy)

    layers = load_layers(ctx)
    data = layers.section("data", DataSettings).value or DataSettings()
    web = layers.section("web", WebSettings).value or WebSettings()
    file = find_places(data, os.environ).local_token
    try:
        return _address(web), file.read_text().strip()
    except OSError as error:
        msg = (
            f"there is no token in {file} ({error.strerror}): "
            "start the hub, name its folder with --data, or give --url and --token"
        )
        raise HubAway(msg) from error


def _address(web: Any) -> str:
    listen = next((each for each in web.listen if not each.startswith("unix:")), "127.0.0.1:8000")
    host, _, port = listen.rpartition(":")
    host = _EVERYWHERE.get(host.strip("[]"), host.strip("[]"))
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{web.api_root}"
