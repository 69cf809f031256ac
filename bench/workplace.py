"""Where benchmarks run: a hub of their own in a temporary folder, and the arithmetic that all of them share."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
HEARTWOOD = Path(sys.executable).with_name("heartwood")
ENVIRON = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""Compiled modules are kept, as they are wherever the hub runs for the second time."""

CONFIG = """
[loader]
plugins_dir = "{plugins}"
[plugins.ocr]
[plugins.metrics]
[plugins.metrics.config]
listen = "127.0.0.1:{exporter}"
[plugins.alder]
[plugins.birch]
[plugins.cedar]
[plugins.probe]
"""


@dataclass(frozen=True)
class Figure:
    """One measured value and the bar it must reach: ``limit`` at least, or at most where ``most`` is True."""

    name: str
    value: float
    limit: float | None = None
    most: bool = False
    unit: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the bar is reached; a figure without one always does."""
        if self.limit is None:
            return True
        return self.value <= self.limit if self.most else self.value >= self.limit

    def __str__(self) -> str:
        bar = "" if self.limit is None else f"{'≤' if self.most else '≥'} {self.limit:g}"
        mark = "" if self.limit is None else ("ok" if self.reached else "MISSED")
        return f"{self.name:<62} {self.value:>10.4g} {self.unit:<6} {bar:<9} {mark:<7} {self.note}"


def at_least(limit: float, name: str, value: float, unit: str = "", note: str = "") -> Figure:
    """Return a figure that must not be lower than ``limit``."""
    return Figure(name, value, limit, unit=unit, note=note)


def at_most(limit: float, name: str, value: float, unit: str = "", note: str = "") -> Figure:
    """Return a figure that must not be higher than ``limit``."""
    return Figure(name, value, limit, most=True, unit=unit, note=note)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` (0 to 1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def spread(values: Sequence[float]) -> str:
    """Return the lowest and highest of repeated runs in words."""
    return f"median of {len(values)}, {min(values):.4g} to {max(values):.4g}"


median = statistics.median


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int | None, *argv: object) -> list[str]:
    """Return ``argv`` as text, bound to one core where ``taskset`` is there and ``core`` is given."""
    text = [str(part) for part in argv]
    if core is None or shutil.which("taskset") is None or (os.cpu_count() or 1) <= core:
        return text
    return ["taskset", "-c", str(core), *text]


@dataclass
class Server:
    """A process that answers HTTP."""

    process: subprocess.Popen[bytes]
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    ready_after: float = 0.0

    @property
    def own(self) -> psutil.Process:
        """The process itself, whatever wrapper started it."""
        return psutil.Process(self.process.pid)

    def rss(self) -> float:
        """Return the resident memory of the process, without children, in MB (10^6 bytes)."""
        return self.own.memory_info().rss / 1e6

    def cpu(self) -> float:
        """Return the seconds of processor time it has used."""
        times = self.own.cpu_times()
        return times.user + times.system


def wait_for(url: str, process: subprocess.Popen[bytes], within: float = 60.0) -> None:
    """Wait until ``url`` answers 200, looking every 5 ms."""
    deadline = time.monotonic() + within
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (OSError, urllib.error.HTTPError):
            if process.poll() is not None or time.monotonic() > deadline:
                message = f"{url} does not answer"
                raise RuntimeError(message) from None
            time.sleep(0.005)


@contextmanager
def running(argv: list[str], url: str, ready: str, log: Path) -> Iterator[Server]:
    """Run a server until the context is left; ``ready`` is the path that answers 200 once it is up."""
    with log.open("ab") as stream:
        started = time.perf_counter()
        process = subprocess.Popen(argv, stdout=stream, stderr=stream, env=ENVIRON, cwd=HERE)
        try:
            wait_for(url + ready, process)
            yield Server(process, url, ready_after=time.perf_counter() - started)
        except RuntimeError:
            print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process in peace, or else by force."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Workplace:
    """A folder with a configuration, and hubs that use it one after the other: the cluster is made once.

    Args:
        folder: where everything lies.
        short: only prove that everything runs.
    """

    def __init__(self, folder: Path, *, short: bool) -> None:
        self.folder = folder
        self.short = short
        self.config = folder / "plugins.toml"
        self.exporter = free_port()
        plugins = folder / "plugins"
        shutil.copytree(HERE / "plugins", plugins)
        trivial = (plugins / "alder.py").read_text()
        for name in ("birch", "cedar"):  # two more of the same kind, under names of their own
            again = trivial.replace("alder", name).replace("Alder", name.title())
            (plugins / f"{name}.py").write_text(again)
        self.config.write_text(CONFIG.format(plugins=plugins, exporter=self.exporter))
        self._prepared = False

    def command(self, *argv: str, settings: Sequence[str] = ()) -> list[str]:
        """Return the command line of ``heartwood``, with the folder's data."""
        sets = [f"data.runtime_dir={self.folder}/run", *settings]
        overrides = [part for each in sets for part in ("--set", each)]
        return [str(HEARTWOOD), "--config", str(self.config), "--data", f"{self.folder}/data", *overrides, *argv]

    @contextmanager
    def hub(self, *argv: str, settings: Sequence[str] = (), core: int | None = None) -> Iterator[Server]:
        """Run ``heartwood serve``; its headers carry the local token. The database is made and migrated before."""
        self.prepare()
        with self._serve(*argv, settings=settings, core=core) as server:
            yield server

    def prepare(self) -> None:
        """Make the cluster and migrate it, so that later starts find nothing to do."""
        if not self._prepared:
            self._prepared = True
            with self._serve("--no-jobs"):
                pass

    @contextmanager
    def _serve(self, *argv: str, settings: Sequence[str] = (), core: int | None = None) -> Iterator[Server]:
        port = free_port()
        addresses = (f'web.listen=["127.0.0.1:{port}"]', f"observe.live_listen=127.0.0.1:{free_port()}")
        line = pinned(core, *self.command("serve", *argv, settings=(*addresses, *settings)))
        with running(line, f"http://127.0.0.1:{port}", "/business/health", self.folder / "hub.log") as server:
            server.headers["Authorization"] = f"Bearer {(self.folder / 'data/local-token').read_text().strip()}"
            yield server

    @contextmanager
    def postgres(self) -> Iterator[str]:
        """Run the embedded PostgreSQL by itself and give its address."""
        self.prepare()
        process = subprocess.Popen(
            self.command("postgres"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRON
        )
        try:
            yield self._address(process)
        finally:
            stop(process)

    def _address(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().decode().strip()

    def token(self, name: str) -> str:
        """Make an API token of the owner and return its text."""
        made = subprocess.run(
            self.command("token", "create", "--name", name), env=ENVIRON, check=True, capture_output=True, text=True
        )
        return next(word for word in made.stdout.split() if word.startswith("hw_"))


@contextmanager
def workplace(*, short: bool) -> Iterator[Workplace]:
    """Give a folder that the database's user can reach, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="hwbench-"))
    folder.chmod(0o711)
    try:
        yield Workplace(folder, short=short)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ask(server: Server, path: str) -> dict[str, object]:
    """Return the JSON that a hub answers."""
    request = urllib.request.Request(server.url + path, headers=server.headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
        return found
