"""Starting and ending one child process, and saying in words how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict

from heartwood.contracts.children import ChildFailed, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE = 2.0
"""Seconds between asking a process group to end and killing it."""

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TESSDATA_PREFIX", "LD_LIBRARY_PATH", "FONTCONFIG_FILE")
_CPU, _FILE, _MEMORY = "processor time", "file size", "memory"
_SIGNALS = {signal.SIGXCPU: _CPU, signal.SIGXFSZ: _FILE}
_SHELL_OFFSET = 128
"""bubblewrap reports a signal the way a shell does: 128 + its number."""


def environment(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """Return the environment of a child: no secret of ours is in it, and Tesseract keeps to one thread."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"LANG": "C.UTF-8", **kept, "OMP_THREAD_LIMIT": "1", **extra}


def import_path() -> str:
    """Return ``PYTHONPATH`` for a child that imports what we can import."""
    return os.pathsep.join(filter(None, sys.path))


def setup(limits: Limits, nice: int) -> str:
    """Return what ``heartwood.work.child`` is told about itself."""
    return json.dumps({**asdict(limits), "nice": nice, "parent": os.getpid()})


async def start(argv: Sequence[str], *, env: Mapping[str, str], **streams: Any) -> asyncio.subprocess.Process:
    """Start ``argv`` in a session and process group of its own.

    It must be called on the main thread: the parent-death signal fires when the *thread* that started it ends.

    Raises:
        ChildFailed: it could not be started.
    """
    try:
        return await asyncio.create_subprocess_exec(*argv, env=env, start_new_session=True, **streams)
    except OSError as error:
        msg = f"{Path(argv[0]).name} could not be started: {error.strerror}"
        raise ChildFailed(msg) from error


async def end(process: asyncio.subprocess.Process, *, grace: float = GRACE) -> None:
    """End the child and every process of its group: ask, wait ``grace`` seconds, kill; then reap it."""
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await process.wait()
    _signal(process.pid, signal.SIGKILL)
    await process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says "not permitted" of a group of zombies
        os.killpg(group, number)


def verdict(status: int, what: str, stderr: bytes) -> ChildFailed | None:
    """Return why a program that ended with ``status`` counts as broken off, or None where it ended by itself."""
    number = -status if status < 0 else status - _SHELL_OFFSET
    if status >= 0 and number not in (*_SIGNALS, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
        return None
    if number in _SIGNALS:
        name = _SIGNALS[signal.Signals(number)]
        return ChildFailed(f"{what} ran over its limit of {name}", limit=name)
    last = stderr.decode(errors="replace").strip().splitlines()[-1:]
    said = f": {last[0][:300]}" if last else ""
    return ChildFailed(f"{what} was killed by {signal.Signals(number).name}{said}")


def python_code() -> list[str]:
    """Return the folders that hold this interpreter and what it imports, leaving out where we happen to stand."""
    here = Path.cwd()
    packages = [path for path in sys.path if Path(path).is_dir() and not here.is_relative_to(path)]
    return list(dict.fromkeys((sys.prefix, sys.base_prefix, *packages)))
