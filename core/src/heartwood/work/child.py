"""What runs in a child process. It imports the standard library only, so that a child starts in some 20 ms.

Two ways in::

    python child.py launch SETUP PROGRAM ARGUMENT…     set limits on oneself, then become PROGRAM
    python -m heartwood.work.child serve SETUP         answer calls on the socket that is standard input

SETUP is the JSON of :func:`settle`. A call and its answer are one frame each: the length of a JSON text, the length of
the bytes behind it, the text, the bytes. A frame holds data only, so reading one runs nobody's code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEADER = struct.Struct("!QQ")
MARK = "$bytes"
"""A one-key object with this key stands for bytes that travel behind the JSON text."""

_PR_SET_PDEATHSIG = 1


def pack(value: object) -> bytes:
    """Return the frame that carries ``value``: what JSON can say, and bytes.

    Raises:
        TypeError: it holds something else.
    """
    pieces: list[bytes] = []

    def plain(item: Any) -> Any:
        if isinstance(item, bytes | bytearray | memoryview):
            pieces.append(bytes(item))
            return {MARK: len(pieces[-1])}
        if isinstance(item, dict):
            return {key: plain(inner) for key, inner in item.items()}
        return [plain(inner) for inner in item] if isinstance(item, list | tuple) else item

    text = json.dumps(plain(value)).encode()
    return b"".join((HEADER.pack(len(text), sum(map(len, pieces))), text, *pieces))


def unpack(text: bytes, data: bytes) -> Any:
    """Return the value whose frame held the JSON ``text`` and the bytes ``data`` behind it."""
    position = 0

    def whole(item: Any) -> Any:
        nonlocal position
        if isinstance(item, list):
            return [whole(inner) for inner in item]
        if not isinstance(item, dict):
            return item
        if item.keys() != {MARK}:
            return {key: whole(inner) for key, inner in item.items()}
        start, position = position, position + item[MARK]
        return data[start:position]

    return whole(json.loads(text))


def settle(setup: Mapping[str, int]) -> None:
    """Become a well-behaved child: niced, killed when its parent dies, without core files, under its limits.

    ``setup`` holds ``parent`` (the pid it must still have), ``nice``, and the limits of :func:`restrict`.
    """
    with contextlib.suppress(OSError):
        os.nice(setup["nice"])
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  (only Linux knows the parent-death signal)

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != setup["parent"]:
            raise SystemExit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    restrict(setup)


def restrict(limits: Mapping[str, int]) -> None:
    """Set the soft limits ``cpu`` (seconds from now), ``memory``, ``file`` (bytes) and ``files`` (descriptors)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(usage.ru_utime + usage.ru_stime) + limits["cpu"]
    wanted = {
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_AS: limits["memory"],
        resource.RLIMIT_FSIZE: limits["file"],
        resource.RLIMIT_NOFILE: limits["files"],
    }
    for kind, value in wanted.items():
        _lower(kind, value)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows RLIMIT_AS and refuses to set it
        resource.setrlimit(kind, (soft, hard))


def launch(setup: Mapping[str, int], argv: list[str]) -> None:
    """Set limits on this process, which the program cannot raise again, and become ``argv``."""
    settle(setup)
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        soft = resource.getrlimit(kind)[0]
        hard = soft + 2 if kind == resource.RLIMIT_CPU else soft  # SIGXCPU first, and SIGKILL where it is ignored
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (soft, hard))
    try:
        os.execvp(argv[0], argv)  # noqa: S606  (no shell is the point)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        raise SystemExit(127) from None


def find(reference: str) -> Callable[..., Any]:
    """Import and return ``package.module:function``."""
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def answer(call: dict[str, Any]) -> dict[str, Any]:
    """Do one call; an error of the function is an answer like any other."""
    try:
        restrict(call["limits"])
        return {"value": find(call["function"])(**call["payload"])}
    except MemoryError:
        return {"error": "it ran out of memory", "limit": "memory"}
    except Exception as error:  # noqa: BLE001  (whatever it is, the parent is told)
        return {"error": f"{type(error).__name__}: {error}"}


def _read(stream: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = stream.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def serve(setup: Mapping[str, int]) -> None:
    """Answer calls until the socket that was standard input ends."""
    stream = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    settle(setup)
    with contextlib.suppress(EOFError, OSError):
        while True:
            text, data = HEADER.unpack(_read(stream, HEADER.size))
            result = answer(unpack(_read(stream, text), _read(stream, data)))
            stream.sendall(_packed(result))


def _packed(result: dict[str, Any]) -> bytes:
    try:
        return pack(result)
    except (TypeError, ValueError) as error:
        return pack({"error": f"its answer cannot be sent: {error}"})


if __name__ == "__main__":
    if sys.argv[1] == "launch":
        launch(json.loads(sys.argv[2]), sys.argv[3:])
    else:
        serve(json.loads(sys.argv[2]))
