"""The children of one hub process: how many there are, who is free, and that none is left over."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from heartwood.contracts.children import ChildFailed, Finished, Limits
from heartwood.contracts.errors import Unavailable
from heartwood.work import child
from heartwood.work.children import sandbox
from heartwood.work.children.process import environment, import_path, setup
from heartwood.work.children.program import finish, name_of
from heartwood.work.children.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path

    from heartwood.work.children.settings import ChildSettings

T = TypeVar("T")

_STOPPING = "The hub is stopping and starts no more work"


class ChildPool:
    """Children for everybody in this process; see :class:`heartwood.contracts.children.Children`.

    Programs and calls share the places, so that heavy work never exceeds ``settings.pool`` processes. Make it in a
    running loop on the main thread, and ``close`` it after those who use it have stopped.
    """

    def __init__(self, settings: ChildSettings, log: Any) -> None:
        self._settings = settings
        self._log = log
        self.size = settings.pool or os.cpu_count() or 1
        self._places = asyncio.Semaphore(self.size)
        self._idle: list[Worker] = []
        self._working: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._sandboxed: asyncio.Task[bool] | None = None

    async def run(
        self,
        argv: Sequence[str],
        *,
        inputs: Mapping[str, Path] = {},
        stdin: bytes = b"",
        limits: Limits | None = None,
        env: Mapping[str, str] = {},
        output: Path | None = None,
    ) -> Finished:
        """Run one short-lived program; see the contract.

        Raises:
            ChildFailed: it ran over a limit or was killed, or the sandbox is required and missing.
            Unavailable: the hub is stopping.
        """
        work = self._run(argv, inputs=inputs, stdin=stdin, limits=limits or Limits(), env=env, output=output)
        return await self._watch(work)

    async def call(self, function: str, payload: Mapping[str, Any], *, limits: Limits | None = None) -> Any:
        """Call ``package.module:function`` in a child of the pool; see the contract.

        Raises:
            ChildFailed: it died, ran over a limit, or the function raised.
            Unavailable: the hub is stopping.
        """
        return await self._watch(self._call(function, payload, limits or Limits()))

    async def sandboxed(self) -> bool:
        """Whether programs run in bubblewrap; tried once.

        Raises:
            ChildFailed: it is required and does not work.
        """
        if self._sandboxed is None:
            self._sandboxed = asyncio.create_task(self._try_sandbox())
        works = await asyncio.shield(self._sandboxed)
        if not works and self._settings.sandbox == "require":
            msg = "work.children.sandbox is 'require' and bubblewrap does not work here: install it, or set 'auto'"
            raise ChildFailed(msg)
        return works

    async def close(self) -> None:
        """Break off what is running, end every child, and refuse new work."""
        self._closed = True
        working = set(self._working)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        if self._sandboxed is not None:
            await asyncio.gather(self._sandboxed, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(worker.close() for worker in idle))

    async def _watch(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` in a task that ``close`` can end without ending the caller's."""
        if self._closed:
            work.close()
            raise Unavailable(_STOPPING)
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise Unavailable(_STOPPING) from None

    async def _run(
        self,
        argv: Sequence[str],
        *,
        inputs: Mapping[str, Path],
        stdin: bytes,
        limits: Limits,
        env: Mapping[str, str],
        output: Path | None,
    ) -> Finished:
        async with self._places:
            if await self.sandboxed():
                line = sandbox.wrap(argv, env=environment(env), inputs=inputs, output=output)
                outer = environment()
            else:
                places = {name: str(path) for name, path in inputs.items()} | {"output": str(output)}
                line = sandbox.fill(argv, places)
                outer = environment({"PYTHONPATH": import_path(), **env})
            return await finish(self._launch(line, limits), what=name_of(argv), env=outer, stdin=stdin, limits=limits)

    async def _call(self, function: str, payload: Mapping[str, Any], limits: Limits) -> Any:
        async with self._places:
            worker = await self._take()
            before = worker.calls
            try:
                return await worker.call(function, payload, limits)
            finally:
                if before < worker.calls < self._settings.recycle:
                    self._idle.append(worker)
                else:
                    await asyncio.shield(worker.close())

    async def _take(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            await worker.close()
        return await Worker.start(self._settings.nice)

    async def _try_sandbox(self) -> bool:
        why = "it is not installed"
        if sandbox.installed():
            line = sandbox.wrap([sys.executable, "-I", "-S", "-c", ""], env=environment())
            limits = Limits(wall=10)
            try:
                tried = await finish(
                    self._launch(line, limits), what="bubblewrap", env=environment(), stdin=b"", limits=limits
                )
                if tried.status == 0:
                    return True
                why = tried.stderr.decode(errors="replace").strip()
            except ChildFailed as error:
                why = error.reason
        self._log.warning("children.no_sandbox", reason=why, hint="files are read under resource limits only")
        return False

    def _launch(self, argv: Sequence[str], limits: Limits) -> list[str]:
        launcher = [sys.executable, "-I", "-S", child.__file__, "launch"]
        return [*launcher, setup(limits, self._settings.nice), *argv]
