"""One child of the pool: a Python process that answers calls, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Any

from attrs import asdict, define

from heartwood.contracts.children import ChildFailed, Limits
from heartwood.work.child import HEADER, pack, unpack
from heartwood.work.children.process import end, environment, import_path, setup, start, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAID = 2048


@define(eq=False)
class Worker:
    """A running child, the socket to it, and how many calls it has answered."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    said: IO[bytes]
    calls: int = 0

    @classmethod
    async def start(cls, nice: int) -> Worker:
        """Start a child that waits for calls.

        Raises:
            ChildFailed: it could not be started.
        """
        ours, theirs = socket.socketpair()
        said = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the child)
        argv = [sys.executable, "-m", "heartwood.work.child", "serve", setup(Limits(), nice)]
        env = environment({"PYTHONPATH": import_path()})
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            for each in (ours, theirs, said):
                each.close()
            raise
        try:
            process = await start(argv, env=env, stdin=theirs, stdout=asyncio.subprocess.DEVNULL, stderr=said)
        except BaseException:
            writer.close()
            said.close()
            raise
        finally:
            theirs.close()
        return cls(process, reader, writer, said)

    @property
    def alive(self) -> bool:
        """Whether it can be asked. An idle child says nothing, so what its socket has to be read is its end.

        The system is asked, for the loop may not have noticed yet.
        """
        if self.process.returncode is not None or self.writer.is_closing():
            return False
        waiting = select.poll()
        waiting.register(self.writer.get_extra_info("socket"), select.POLLIN)
        return not waiting.poll(0)

    async def call(self, function: str, payload: Mapping[str, Any], limits: Limits) -> Any:
        """Ask it for ``function(**payload)``. After anything but an answer the child must be ended.

        Raises:
            ChildFailed: it died, ran over a limit, or the function raised.
        """
        request = pack({"function": function, "payload": dict(payload), "limits": asdict(limits)})
        try:
            async with asyncio.timeout(limits.wall):
                result = await self._ask(request, function, limits)
        except TimeoutError:
            msg = f"{function} took longer than {limits.wall:g} s"
            raise ChildFailed(msg, limit="time") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._died(function) from None
        self.calls += 1
        if "error" in result:
            msg = f"{function}: {result['error']}"
            raise ChildFailed(msg, limit=result.get("limit"))
        return result["value"]

    async def _ask(self, request: bytes, function: str, limits: Limits) -> Any:
        self.writer.write(request)
        await self.writer.drain()
        text, data = HEADER.unpack(await self.reader.readexactly(HEADER.size))
        if text + data > limits.output:
            msg = f"{function} answered with more than {limits.output} bytes"
            raise ChildFailed(msg, limit="output")
        return unpack(await self.reader.readexactly(text), await self.reader.readexactly(data))

    async def _died(self, function: str) -> ChildFailed:
        await end(self.process)
        self.said.seek(max(0, self.said.seek(0, os.SEEK_END) - _SAID))
        said = self.said.read()
        status = self.process.returncode or 0
        return verdict(status, function, said) or ChildFailed(
            f"{function}: its process ended with status {status}: {said.decode(errors='replace').strip()[-300:]}"
        )

    async def close(self) -> None:
        """End the child: its socket ends, it is asked, it is killed."""
        self.writer.close()
        await end(self.process)
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
        self.said.close()
