"""Where things lie on this machine: the folder that is kept, and the folder of sockets."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from heartwood.contracts.errors import HeartwoodError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heartwood.data.settings import DataSettings

LONGEST_RUNTIME_DIR = 60
"""Bytes; a socket's path has room for about 107."""


class PlaceUnusable(HeartwoodError):
    """A folder cannot be used for what it is meant for; the sentence says why and what to set instead."""


@frozen
class Places:
    """The folders of one hub.

    Args:
        data_dir: everything that must be kept.
        runtime_dir: sockets; its content may vanish while nothing runs.
    """

    data_dir: Path
    runtime_dir: Path

    @property
    def blobs(self) -> Path:
        """The store of bytes."""
        return self.data_dir / "blobs"

    @property
    def staging(self) -> Path:
        """Where bytes lie before they are kept; the same file system as ``blobs``."""
        return self.data_dir / "staging"

    @property
    def local_token(self) -> Path:
        """The file with the token for commands on this machine."""
        return self.data_dir / "local-token"

    def make(self) -> None:
        """Make both folders, private. As root others may pass through, for the database runs as somebody else.

        Raises:
            PlaceUnusable: one cannot be made, or the runtime folder is somebody else's.
        """
        mode = 0o711 if os.geteuid() == 0 else 0o700
        for folder, setting in ((self.data_dir, "data.dir"), (self.runtime_dir, "data.runtime_dir")):
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=mode, exist_ok=True)
            except OSError as error:
                message = f"{setting}: the folder {folder} cannot be made: {error.strerror}; set {setting} to another"
                raise PlaceUnusable(message) from error
        _check_private(self.runtime_dir)


def find_places(settings: DataSettings, environ: Mapping[str, str]) -> Places:
    """Return where this hub's folders are; makes nothing.

    Raises:
        PlaceUnusable: the path of the runtime folder is too long for sockets.
    """
    runtime = Path(settings.runtime_dir).expanduser() if settings.runtime_dir else _runtime_dir(environ)
    if len(os.fsencode(runtime.absolute())) > LONGEST_RUNTIME_DIR:
        message = f"data.runtime_dir: {runtime} is longer than {LONGEST_RUNTIME_DIR} bytes, which sockets cannot use"
        raise PlaceUnusable(message)
    data = Path(settings.dir).expanduser() if settings.dir else _data_dir(environ)
    return Places(data.absolute(), runtime.absolute())


def _data_dir(environ: Mapping[str, str]) -> Path:
    if state := _first(environ, "STATE_DIRECTORY"):
        return state
    if os.geteuid() == 0:
        return Path("/var/lib/heartwood")
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "heartwood"


def _runtime_dir(environ: Mapping[str, str]) -> Path:
    if folder := _first(environ, "RUNTIME_DIRECTORY"):
        return folder
    user = os.geteuid()
    if user != 0 and environ.get("XDG_RUNTIME_DIR"):  # root's is closed to the user whom the database runs as
        return Path(environ["XDG_RUNTIME_DIR"]) / "heartwood"
    name = f"heartwood-{user}"
    folder = Path(tempfile.gettempdir()) / name
    return folder if len(os.fsencode(folder)) <= LONGEST_RUNTIME_DIR else Path("/tmp") / name  # noqa: S108  (it is checked to be ours)


def _first(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the first of the folders that systemd gives, separated by colons."""
    first = environ.get(name, "").partition(":")[0]
    return Path(first) if first else None


def _check_private(folder: Path) -> None:
    """Refuse a folder that somebody else made or may write to: they could put their own socket there."""
    status = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        message = f"data.runtime_dir: {folder} is not a private folder of this user; remove it or set another"
        raise PlaceUnusable(message)
