"""Who PostgreSQL runs as: ourselves, or an unprivileged user where we are root, which it refuses to run as."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.data.embedded.binaries import PostgresUnusable

if TYPE_CHECKING:
    from pathlib import Path

UNPRIVILEGED = ("heartwood", "nobody")


@frozen
class Owner:
    """A user of this machine, to whom a cluster belongs."""

    name: str
    uid: int
    gid: int

    def process(self) -> dict[str, Any]:
        """Return the arguments that make ``subprocess`` run a program as this user and with no further groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def reaches(self, path: Path) -> bool:
        """Whether this user may pass through every folder above ``path``."""
        return all(self._passes(folder) for folder in path.resolve().parents)

    def _passes(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        return bool(status.st_mode & (0o010 if status.st_gid == self.gid else 0o001))


def database_user(cluster: Path) -> Owner | None:
    """Return whom the cluster in this folder belongs to, or will; None means ourselves.

    Raises:
        PostgresUnusable: the cluster is root's, or no unprivileged user exists.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists():
        uid = cluster.stat().st_uid
        if uid == 0:
            message = (
                f"{cluster} belongs to root, whom PostgreSQL refuses to run as: give it to another user (chown -R)"
            )
            raise PostgresUnusable(message)
        return _owner(pwd.getpwuid(uid))
    for name in UNPRIVILEGED:
        try:
            return _owner(pwd.getpwnam(name))
        except KeyError:
            continue
    message = f"PostgreSQL refuses to run as root, and there is no user {' or '.join(UNPRIVILEGED)} to run it as"
    raise PostgresUnusable(message)


def _owner(entry: pwd.struct_passwd) -> Owner:
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid)
