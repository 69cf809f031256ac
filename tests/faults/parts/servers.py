"""An external PostgreSQL and a Redis, to be killed, stopped and started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import asyncpg
import psutil
from attrs import define, field

from processes import database_user, until


@define
class Postgres:
    """An external PostgreSQL that is stopped, killed and started by the test, with its fsyncs as in earnest."""

    folder: Path
    bin_dir: Path
    popen: subprocess.Popen | None = None

    def make(self) -> None:
        if user := database_user():
            os.chown(self.folder, user["user"], user["group"])
        argv = ["-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run([self.bin_dir / "initdb", *argv], check=True, stdout=subprocess.DEVNULL, **database_user())

    def _accepts(self) -> bool:
        argv = [self.bin_dir / "pg_isready", "-q", "-h", self.folder]
        return subprocess.run(argv, check=False).returncode == 0

    async def start(self) -> None:
        """Start it, again where children of a killed one still hold its memory, as a service manager would."""
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=150")
        options = [word for setting in settings for word in ("-c", setting)]
        argv = [self.bin_dir / "postgres", "-D", self.folder / "data", *options]
        while True:
            with (self.folder / "log").open("ab") as log:
                self.popen = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True, **database_user())
            await until(lambda: self._accepts() or self.popen.poll() is not None, within=30, what="PostgreSQL's start")
            if self.popen.poll() is None:
                return
            await asyncio.sleep(0.1)

    def kill(self) -> None:
        """Kill -9 the postmaster."""
        self.popen.kill()
        self.popen.wait(10)

    def stop(self) -> None:
        """Stop it at once, as an operator would in a hurry."""
        self.popen.send_signal(signal.SIGQUIT)
        self.popen.wait(30)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to all its children, each of which is a session of its own."""
        for process in (*psutil.Process(self.popen.pid).children(recursive=True), psutil.Process(self.popen.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    async def database(self) -> str:
        """Return the address of a new, empty database."""
        name = f"t{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(f"postgresql://postgres@/postgres?host={self.folder}")
        await connection.execute(f"create database {name}")
        await connection.close()
        return f"postgresql://postgres@/{name}?host={self.folder}"


@define
class Redis:
    """A ``redis-server`` on a socket of its own."""

    program: str
    folder: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="hwt")))
    popen: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    async def start(self) -> None:
        argv = [self.program, "--port", "0", "--unixsocket", f"{self.folder}/redis.sock", "--save", ""]
        self.popen = subprocess.Popen([*argv, "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
        await until((self.folder / "redis.sock").exists, within=10, what="Redis' start")

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(10)
        (self.folder / "redis.sock").unlink()

    def end(self) -> None:
        """Leave nothing, whatever the test did."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
