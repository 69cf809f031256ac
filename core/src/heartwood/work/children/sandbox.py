"""bubblewrap: a program sees the system's programs, its inputs and its output folder, and no network.

The command line was measured as root and as an unprivileged user; ``/proc`` is left out because mounting it fails
inside some service units, and nothing that we run needs it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from heartwood.work.children.process import python_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TEMPORARY = 512 * 1024**2
"""Bytes of its private ``/tmp``."""

_ISOLATION = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
    "--cap-drop", "ALL", "--clearenv",
)  # fmt: skip
_SYSTEM = ("/nix/store", "/etc/fonts", "/etc/ld.so.cache", "/etc/alternatives")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")


def _system() -> list[str]:
    argv = ["--ro-bind-try", "/usr", "/usr"]
    for name in _MERGED:
        place = Path("/", name)
        if place.is_symlink():
            argv += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            argv += ["--ro-bind", str(place), str(place)]
    for path in _SYSTEM:
        argv += ["--ro-bind-try", path, path]
    return argv


def wrap(
    argv: Sequence[str], *, env: Mapping[str, str], inputs: Mapping[str, Path] = {}, output: Path | None = None
) -> list[str]:
    """Return the command line that runs ``argv`` in the sandbox; ``{name}`` and ``{output}`` become inner paths."""
    line = ["bwrap", *_ISOLATION, *_system(), "--dev", "/dev", "--size", str(TEMPORARY), "--tmpfs", "/tmp"]  # noqa: S108
    if argv[0] == sys.executable:
        for path in python_code():
            line += ["--ro-bind", path, path]
    seen = {name: f"/in/{name}" for name in inputs}
    for name, file in inputs.items():
        line += ["--ro-bind", str(file.resolve()), seen[name]]
    if output is not None:
        line += ["--bind", str(output.resolve()), "/out"]
        seen["output"] = "/out"
    for name, value in {**env, "TMPDIR": "/tmp", "HOME": "/tmp"}.items():  # noqa: S108  (the sandbox's own)
        line += ["--setenv", name, value]
    line += ["--uid", "65534", "--gid", "65534", "--chdir", "/tmp", "--"]  # noqa: S108
    return [*line, *fill(argv, seen)]


def fill(argv: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Put the paths into an argument list; an argument is a placeholder as a whole (``{input}``) or not at all."""
    holes = {f"{{{name}}}": path for name, path in places.items()}
    return [holes.get(argument, argument) for argument in argv]


def installed() -> bool:
    """Whether there is a bubblewrap to try."""
    return shutil.which("bwrap") is not None
