"""Hubs of the command line, as processes to be killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import aiohttp
import asyncpg
from attrs import define, field

from faults.parts.ledger import Ledger
from heartwood.data.embedded.postmaster import find_postmaster
from processes import HEARTWOOD, clean_environment, free_port, until

HERE = Path(__file__).parent
READY_WITHIN = 30.0


@define
class Process:
    """One ``heartwood`` process and its log."""

    popen: subprocess.Popen
    log: Path

    @property
    def lines(self) -> list[dict]:
        """Return its log so far; what is meant for people is left out."""
        text = self.log.read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def events(self, *levels: str) -> list[str]:
        """Return the names of what was logged, of these levels only where some are given."""
        return [line["event"] for line in self.lines if not levels or line["level"] in levels]

    async def ready(self) -> Process:
        await until(lambda: "hub.ready" in self.events() or self.popen.poll() is not None, within=READY_WITHIN)
        assert self.popen.poll() is None, self.log.read_text()
        return self

    def kill(self) -> float:
        """Kill -9 this process alone, and return when that was."""
        self.popen.kill()
        self.popen.wait(10)
        return time.time()

    async def stop(self) -> None:
        """SIGTERM, and a clean end."""
        self.popen.terminate()
        await until(lambda: self.popen.poll() is not None, within=20, what="the end after SIGTERM")
        assert self.popen.returncode == 0, self.log.read_text()


@define
class Hub:
    """One hub: its folder, its configuration, its database, and the processes of it that were started.

    With ``dsn`` empty its PostgreSQL is the embedded one.
    """

    folder: Path
    dsn: str
    settings: dict[str, str]
    plugins: list[str]
    port: int = field(factory=free_port)
    live: int = field(factory=free_port)
    processes: list[Process] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        (self.folder / "plugins").mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # the embedded PostgreSQL runs as somebody else where we are root
        (self.folder / "plugins.toml").write_text("".join(f"[plugins.{name}]\n" for name in self.plugins))
        if "steps" in self.plugins:
            shutil.copy(HERE / "steps.py", self.folder / "plugins")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def cluster(self) -> Path:
        """The folder of the embedded PostgreSQL."""
        return next(path for path in self.data.resolve().glob("pg*") if path.is_dir())

    @property
    def owner_url(self) -> str:
        """The address of the database, as its owner."""
        if self.dsn:
            return self.dsn
        return f"postgresql://heartwood@/heartwood?host={find_postmaster(self.cluster).socket_dir}"

    def command(self, *arguments: str, **overrides: str) -> list[str]:
        settings = {
            "data.runtime_dir": f'"{self.folder}/run"',
            "loader.plugins_dir": f'"{self.folder}/plugins"',
            "web.listen": f'["127.0.0.1:{self.port}"]',
            "observe.live_listen": f'"127.0.0.1:{self.live}"',
            "observe.format": '"json"',
            "observe.loop_lag": "5.0",  # two busy cores are no fault
            "data.auto_migrate": "true",
            "data.disk_floor": "0",
            **self.settings,
            **overrides,
        }
        given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        return [str(HEARTWOOD), "--config", f"{self.folder}/plugins.toml", "--data", str(self.data), *given, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(**({"DATABASE_URL": self.dsn} if self.dsn else {}))

    def start(self, *arguments: str, environment: dict[str, str] | None = None, **overrides: str) -> Process:
        """Start ``heartwood serve`` or the like; does not wait."""
        log = self.folder / f"{len(self.processes)}-{arguments[0]}.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                self.command(*arguments, **overrides),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**self.environment, **(environment or {})},
                start_new_session=True,
            )
        self.processes.append(Process(popen, log))
        return self.processes[-1]

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def client(self) -> aiohttp.ClientSession:
        """Return a client with the owner's token."""
        token = (self.data / "local-token").read_text().strip()
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=30)
        return aiohttp.ClientSession(self.url, connector=connector, headers=headers, timeout=timeout)

    async def order(self, client: aiohttp.ClientSession, at: str = "", **query: object) -> int:
        """Enqueue a job of the plugin ``steps``."""
        async with client.post("/business/steps", json={"at": at}, params={k: str(v) for k, v in query.items()}) as got:
            assert got.status == 200, await got.text()
            return (await got.json())["job"]

    async def rows(self, sql: str, *args: object) -> list[tuple]:
        connection = await asyncpg.connect(self.owner_url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    async def value(self, sql: str, *args: object) -> object:
        return (await self.rows(sql, *args))[0][0]

    def ledger(self, size: int = 64 * 1024) -> Ledger:
        """Return an empty ledger of uploads to this hub."""
        return Ledger(self, size)

    def end(self) -> None:
        """Leave nothing running, whatever the test did."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.popen.pid, signal.SIGKILL)
            process.popen.wait(10)
        for file in self.data.resolve().glob("pg[0-9]*/postmaster.pid"):
            if left := find_postmaster(file.parent):
                os.kill(left.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
