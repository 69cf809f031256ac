"""Making a cluster: as a whole or not at all, with checksums, two roles and one database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.data.embedded.binaries import Binaries, PostgresUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heartwood.data.embedded.users import Owner

BUILTIN_LOCALES = 17
"""The first version with a C.UTF-8 of its own, the same on every system."""

DATABASE = "heartwood"
OWNER_ROLE = "heartwood"
"""Owns the tables; for migrations and back-ups."""
WORK_ROLE = "heartwood_work"
"""Reads and writes rows and cannot change the schema; for requests and jobs."""

SET_UP = f"""
create role {WORK_ROLE} login;
alter default privileges for role {OWNER_ROLE} grant usage on schemas to {WORK_ROLE};
alter default privileges for role {OWNER_ROLE} grant select, insert, update, delete, truncate on tables to {WORK_ROLE};
alter default privileges for role {OWNER_ROLE} grant usage, select, update on sequences to {WORK_ROLE};
create database {DATABASE} template template1;
"""
"""Run in template1, one statement a line, so that the database starts with these privileges."""


@frozen
class Cluster:
    """A PostgreSQL data folder, what runs it, and as whom (None: ourselves)."""

    folder: Path
    socket_dir: Path
    binaries: Binaries
    owner: Owner | None

    def argv(self, program: str, *arguments: str | Path) -> list[str]:
        """Return the command line of one of PostgreSQL's programs."""
        return [str(self.binaries.bin_dir / program), *map(str, arguments)]

    def process(self) -> dict[str, Any]:
        """Return the arguments of ``subprocess`` for it: its user, and an environment that says nothing to libpq."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {
            "env": environment | {"LC_ALL": "C"},
            "cwd": "/",
            "start_new_session": True,
            **(self.owner.process() if self.owner else {}),
        }


def make_cluster(cluster: Cluster, *, flush: bool = True) -> None:
    """Make the cluster beside its place, flush it to the disk, and rename it: a killed attempt leaves nothing half.

    Args:
        cluster: where and how.
        flush: whether it has to survive a crash of the machine; that of a test has not, and is made much sooner.

    Raises:
        PostgresUnusable: ``initdb`` failed; the sentence quotes it.
    """
    parent, name = cluster.folder.parent, cluster.folder.name
    _sweep(cluster)
    half = Path(tempfile.mkdtemp(prefix=f"{name}.new-", dir=parent))
    give(half, cluster.owner)
    options = ["--username", OWNER_ROLE, "--auth", "trust", "--encoding", "UTF8", "--data-checksums", "--no-sync"]
    _run(cluster, "initdb", "-D", half, *options, *_locale(cluster.binaries.major))
    _run(cluster, "postgres", "--single", "-D", half, "template1", stdin=SET_UP)
    if flush:
        _run(cluster, "initdb", "-D", half, "--sync-only")
    half.rename(cluster.folder)
    if flush:
        _flush(parent)
    _sweep(cluster)


def _sweep(cluster: Cluster) -> None:
    """Remove attempts that were killed. An ``initdb`` outlives its hub for a second, and makes files meanwhile."""
    for left_over in cluster.folder.parent.glob(f"{cluster.folder.name}.new-*"):
        shutil.rmtree(left_over, ignore_errors=True)


def give(folder: Path, owner: Owner | None) -> None:
    """Hand a folder to the database's user, closed to everybody else."""
    folder.chmod(0o700)
    if owner is not None:
        os.chown(folder, owner.uid, owner.gid)


def _locale(major: int) -> list[str]:
    if major >= BUILTIN_LOCALES:
        return ["--locale-provider=builtin", "--locale=C.UTF-8"]
    return ["--locale=C" if sys.platform == "darwin" else "--locale=C.UTF-8"]


def _run(cluster: Cluster, program: str, *arguments: str | Path, stdin: str = "") -> None:
    argv = cluster.argv(program, *arguments)
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, **cluster.process())
    if done.returncode != 0 or "ERROR:" in done.stderr + done.stdout:
        message = f"{program} could not make {cluster.folder}: {last_line(done.stderr or done.stdout)}"
        raise PostgresUnusable(message)


def last_line(text: str) -> str:
    """Return the line of PostgreSQL's output that tells most: the last fatal one, else the last."""
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    telling = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "ERROR:", "error:"))]
    return (telling or lines)[-1]


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
