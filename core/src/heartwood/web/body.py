"""Reading a request's body, counted while it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heartwood.contracts.errors import TooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from aiohttp import web


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: it says that it is, or turns out to be, more than ``limit`` bytes.
        UnsupportedMedia: it is compressed; what it would unpack to is nobody's guess.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        msg = "A compressed body is not read here; send it without Content-Encoding"
        raise UnsupportedMedia(msg)
    content = request.content
    if content.is_eof():
        body = content.read_nowait()
    elif (request.content_length or 0) > limit:
        raise _too_large(limit)
    else:
        body = await _gather(request, limit)
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _gather(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body has more than {limit} bytes, which is the limit here")
