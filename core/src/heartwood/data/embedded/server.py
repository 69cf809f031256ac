"""Starting, finding and stopping the server of one cluster. All of it blocks: call it from a thread."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from attrs import evolve

from heartwood.data.embedded.binaries import Binaries, PostgresUnusable, find_postgres, reachable_copy
from heartwood.data.embedded.cluster import Cluster, give, last_line, make_cluster
from heartwood.data.embedded.locks import FileLock, turn
from heartwood.data.embedded.postmaster import Postmaster, clear_stale_files, find_postmaster, is_postmaster
from heartwood.data.embedded.users import database_user

if TYPE_CHECKING:
    from pathlib import Path

    from heartwood.data.places import Places

START_RETRIES = 10.0
"""Seconds for which a start that fails is tried again: after a kill, old children and locks linger."""
LONGEST_RECOVERY = 120.0
"""Seconds that a server may take until it is ready; after a crash it replays its log first."""
LONGEST_STOP = 60.0
"""Seconds of a fast stop, which ends sessions and writes everything out, before it is cut short."""
POLL = 0.005

OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",  # one for each weekday, overwritten a week later
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # details quote rows
}


class Server:
    """The server of the hub in ``places``, and this process's part in it.

    Processes share it: each holds a shared lock while it uses it, the first starts it, the last one out stops it.
    It outlives the process that started it, so that a killed hub finds it running.
    """

    def __init__(self, places: Places, binaries: Binaries | None = None) -> None:
        data = places.data_dir.resolve()  # as the server's command line is compared with it
        binaries = binaries or find_postgres(data)
        self.folder = data / f"pg{binaries.major}"
        socket_dir = places.runtime_dir / f"pg-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8]}"
        self.cluster = Cluster(self.folder, socket_dir, binaries, database_user(self.folder))
        self._turn = data / f"pg{binaries.major}.lock"
        self._users = FileLock(data / f"pg{binaries.major}.users")
        self._start_log = data / f"pg{binaries.major}.start.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._left = False
        self.postmaster: Postmaster | None = None

    @property
    def socket_dir(self) -> Path:
        """The folder of its socket; another process may have chosen it."""
        return self.postmaster.socket_dir if self.postmaster else self.cluster.socket_dir

    def join(self) -> None:
        """Use the server: find it running or start it, making the cluster where there is none.

        Raises:
            PostgresUnusable: it cannot be made or started.
        """
        with turn(self._turn):
            self._users.share()
            try:
                self._ensure()
            except BaseException:
                self._users.release()
                raise

    def revive(self) -> bool:
        """Start the server again where it is gone; whether that was needed (another process may have been quicker)."""
        with turn(self._turn):
            if self._left:
                return False
            before = self.postmaster
            self._ensure()
            return self.postmaster != before and self._child is not None

    def leave(self) -> bool:
        """Stop using the server. The last one stops it; whether that was us."""
        with turn(self._turn):
            self._left = True
            last = self._users.take_alone()
            try:
                if last:
                    self._stop()
                elif self._child is not None:
                    self._child.returncode = 0  # others use it, so it is nobody's child from now on
                    self._child = None
            finally:
                self._users.release()
        return last

    def alive(self) -> bool:
        """Whether the server's process is there; reaps it where it was our child."""
        if self._child is not None:
            return self._child.poll() is None
        return self.postmaster is not None and is_postmaster(self.postmaster.pid, self.folder)

    def _ensure(self) -> None:
        self._reap()
        running = find_postmaster(self.folder)
        if running is not None and running.status != "stopping":
            self.postmaster = self._wait_ready(running)
            return
        if running is not None:
            self._wait_gone(running.pid, LONGEST_STOP)
        self._prepare()
        self.postmaster = self._start()

    def _prepare(self) -> None:
        """Make what a start needs: programs that its user can reach, the folder of the socket, the cluster."""
        owner = self.cluster.owner
        if owner is not None:
            if not owner.reaches(self.folder):
                message = (
                    f"data.dir: {self.folder.parent} cannot be reached by user {owner.name}, whom PostgreSQL runs as; "
                    "set data.dir (--data) to a folder that is not inside a private one"
                )
                raise PostgresUnusable(message)
            if not owner.reaches(self.cluster.binaries.bin_dir / "postgres"):
                copy = reachable_copy(self.cluster.binaries, self.folder.parent)
                self.cluster = evolve(self.cluster, binaries=copy)
        self.cluster = evolve(self.cluster, socket_dir=self.socket_dir)
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        give(self.socket_dir, owner)
        if not self.folder.exists():
            make_cluster(self.cluster)

    def _start(self) -> Postmaster:
        deadline = time.monotonic() + START_RETRIES
        while True:
            clear_stale_files(self.folder, self.socket_dir)
            child = self._launch()
            postmaster = self._until_ready(child)
            if postmaster is not None:
                self._child = child
                return postmaster
            said = last_line(self._start_log.read_text(errors="replace"))
            if time.monotonic() > deadline:
                message = f"PostgreSQL does not start on {self.folder}: {said} (more in {self.folder}/log)"
                raise PostgresUnusable(message)
            time.sleep(0.1)

    def _launch(self) -> subprocess.Popen[bytes]:
        options = OPTIONS | {"unix_socket_directories": str(self.socket_dir)}
        if sys.platform == "darwin":
            options["wal_sync_method"] = "fsync_writethrough"  # the default does not reach the disk there
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        argv = self.cluster.argv("postgres", "-D", self.folder, *settings)
        with self._start_log.open("wb") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.cluster.process())

    def _until_ready(self, child: subprocess.Popen[bytes]) -> Postmaster | None:
        """Return the server once it is ready, or None where it ended."""
        deadline = time.monotonic() + LONGEST_RECOVERY
        while child.poll() is None:
            postmaster = find_postmaster(self.folder)
            if postmaster is not None and postmaster.pid == child.pid and postmaster.ready:
                return postmaster
            if time.monotonic() > deadline:
                child.send_signal(signal.SIGQUIT)
                child.wait()
                message = f"PostgreSQL was not ready after {LONGEST_RECOVERY:g} s; see {self.folder}/log"
                raise PostgresUnusable(message)
            time.sleep(POLL)
        return None

    def _wait_ready(self, running: Postmaster) -> Postmaster:
        """Wait for a server that another process started."""
        deadline = time.monotonic() + LONGEST_RECOVERY
        found: Postmaster | None = running
        while found is not None and not found.ready and time.monotonic() < deadline:
            time.sleep(POLL)
            found = find_postmaster(self.folder)
        if found is None or not found.ready:
            message = f"The PostgreSQL that runs on {self.folder} (pid {running.pid}) does not become ready"
            raise PostgresUnusable(message)
        return found

    def _stop(self) -> None:
        running = find_postmaster(self.folder)
        if running is not None:
            for name, seconds in ((signal.SIGINT, LONGEST_STOP), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
                self._signal(running.pid, name)
                if self._wait_gone(running.pid, seconds):
                    break
        self._reap()

    def _signal(self, pid: int, name: signal.Signals) -> None:
        try:
            os.kill(pid, name)
        except ProcessLookupError:
            return

    def _wait_gone(self, pid: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while is_postmaster(pid, self.folder):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def _reap(self) -> None:
        if self._child is not None and not is_postmaster(self._child.pid, self.folder):
            self._child.wait()
            self._child = None
