"""What ``postmaster.pid`` says, and whether it is true: a pid alone proves nothing, for pids are used again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOCKET_LINE, _STATUS_LINE = 4, 7  # counted from 0; see PostgreSQL's src/include/utils/pidfile.h


@frozen
class Postmaster:
    """A running PostgreSQL: its pid, the folder of its socket, and ``starting``, ``ready`` or ``stopping``."""

    pid: int
    socket_dir: Path
    status: str

    @property
    def ready(self) -> bool:
        """Whether it takes connections."""
        return self.status == "ready"


def find_postmaster(cluster: Path) -> Postmaster | None:
    """Return the server that runs on this cluster, or None; a file that some dead server left counts for nothing."""
    lines = _read(cluster)
    pid = _pid(lines)
    if pid is None or not is_postmaster(pid, cluster):
        return None
    socket_dir = lines[_SOCKET_LINE] if len(lines) > _SOCKET_LINE else ""
    status = lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else "starting"
    return Postmaster(pid, Path(socket_dir), status)


def clear_stale_files(cluster: Path, socket_dir: Path) -> None:
    """Remove what a dead server left and a new one would stumble over. Call it only where none runs.

    A pid file whose process is gone is left to PostgreSQL, which reads in it whether old children still hold the
    shared memory; one whose pid lives again as something else (or is a zombie) would be believed for ever.
    """
    pid = _pid(_read(cluster))
    if pid is not None and _exists(pid):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
    for socket in socket_dir.glob(".s.PGSQL.*"):
        socket.unlink(missing_ok=True)


def is_postmaster(pid: int, cluster: Path) -> bool:
    """Whether process ``pid`` is alive, no zombie, and a PostgreSQL server on this cluster."""
    if not _exists(pid):
        return False
    if sys.platform != "linux":
        return _ps_says_postmaster(pid, cluster)
    process = Path("/proc") / str(pid)
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        command = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if state in {"Z", "X"} or Path(os.fsdecode(command[0])).name != "postgres":  # children: "postgres: checkpointer"
        return False
    return os.fsencode(cluster) in command or _works_in(process, cluster)


def _ps_says_postmaster(pid: int, cluster: Path) -> bool:
    argv = ["/bin/ps", "-o", "stat=,command=", "-ww", "-p", str(pid)]
    state, _, command = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
    return not state.startswith("Z") and f"postgres -D {cluster} " in command


def _works_in(process: Path, cluster: Path) -> bool:
    """Whether the process has the cluster as its working folder, as a server has however it was started."""
    try:
        return (process / "cwd").readlink() == cluster
    except OSError:
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _pid(lines: Sequence[str]) -> int | None:
    try:
        return abs(int(lines[0]))  # negative: a stand-alone backend
    except (IndexError, ValueError):
        return None
