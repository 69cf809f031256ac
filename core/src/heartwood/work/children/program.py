"""One run of one short-lived program: feed it, read what it may say, and break it off at its limits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartwood.contracts.children import ChildFailed, Finished, Limits
from heartwood.work.children.process import GRACE, end, start, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CHUNK = 1 << 16
_TAIL = 1 << 14
"""Bytes of its error output that are kept, the last ones."""


async def finish(argv: Sequence[str], *, what: str, env: Mapping[str, str], stdin: bytes, limits: Limits) -> Finished:
    """Run ``argv`` to its end; ``what`` is what people call it.

    Raises:
        ChildFailed: it ran over a limit or was killed.
    """
    pipe = asyncio.subprocess.PIPE
    started = time.monotonic()
    process = await start(argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
    talk = (_read(process.stdout, limits.output, what), _tail(process.stderr), _feed(process.stdin, stdin))
    talking: list[asyncio.Task[Any]] = [asyncio.create_task(part) for part in talk]
    try:
        async with asyncio.timeout(limits.wall):
            stdout, stderr, _ = await asyncio.gather(*talking)
            status = await process.wait()
    except TimeoutError:
        msg = f"{what} took longer than {limits.wall:g} s"
        raise ChildFailed(msg, limit="time") from None
    finally:
        await asyncio.shield(_clear_away(process, talking))
    if failed := verdict(status, what, stderr):
        raise failed
    return Finished(status, stdout, stderr, time.monotonic() - started)


async def _clear_away(process: asyncio.subprocess.Process, talking: Iterable[asyncio.Task[Any]]) -> None:
    """End the program and read its pipes empty: the transport closes them, and knows of the end, only then."""
    for part in talking:
        part.cancel()
    await asyncio.gather(*talking, return_exceptions=True)
    try:
        async with asyncio.timeout(2 * GRACE):
            await asyncio.gather(end(process), _tail(process.stdout), _tail(process.stderr))
    except TimeoutError:  # something that left the group still holds a pipe
        await end(process)


async def _read(stream: asyncio.StreamReader | None, limit: int, what: str) -> bytes:
    data = bytearray()
    while stream and (piece := await stream.read(_CHUNK)):
        data += piece
        if len(data) > limit:
            msg = f"{what} wrote more than {limit} bytes"
            raise ChildFailed(msg, limit="output")
    return bytes(data)


async def _tail(stream: asyncio.StreamReader | None) -> bytes:
    data = b""
    while stream and (piece := await stream.read(_CHUNK)):
        data = (data + piece)[-_TAIL:]
    return data


async def _feed(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    if stream is None:
        return
    with contextlib.suppress(ConnectionError):  # a program need not read what it is given
        stream.write(data)
        await stream.drain()
    stream.close()


def name_of(argv: Sequence[str]) -> str:
    """Return what people call a command line: the program, or the module that Python runs."""
    if "-m" in argv[:-1]:
        return argv[argv.index("-m") + 1]
    return Path(argv[0]).name
