"""Child processes: the only place where hostile bytes are parsed and heavy work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from heartwood.contracts.errors import HeartwoodError


@frozen
class Limits:
    """What one child may use.

    Args:
        wall: seconds until the kill ladder starts (ask, terminate, kill, for the whole process group).
        cpu: seconds of processor time.
        memory: bytes of address space.
        file: bytes of the largest file it may write.
        files: open file descriptors.
        output: bytes of answer that are read from it.
    """

    wall: float = 60.0
    cpu: int = 60
    memory: int = 2 * 1024**3
    file: int = 512 * 1024**2
    files: int = 128
    output: int = 64 * 1024**2


@frozen
class Finished:
    """How a short-lived program ended: its exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes
    seconds: float


class ChildFailed(HeartwoodError):
    """A child died, ran over a limit, or raised. ``reason`` is a sentence; ``limit`` names the limit it hit, if any."""

    def __init__(self, reason: str, *, limit: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.limit = limit


class Children(Protocol):
    """Two tools: ``run`` for a program that gets hostile bytes, ``call`` for our own functions."""

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
        """Run one short-lived program: no network, its own process group, under ``limits``.

        ``inputs`` maps names to files; ``{name}`` in ``argv`` is replaced by the path at which the child sees the
        file, read-only. ``output`` is a folder that the child may write to, ``{output}`` in ``argv``.

        Raises:
            ChildFailed: it ran over a limit or was killed. A non-zero status is returned, not raised.
        """
        ...

    async def call(self, function: str, payload: Mapping[str, Any], *, limits: Limits | None = None) -> Any:
        """Call ``package.module:function`` in a recycled child and return its answer.

        Payload and answer are what JSON can say, plus bytes. The child gets only bytes that we made.

        Raises:
            ChildFailed: it died, ran over a limit, or the function raised.
        """
        ...
