"""A machine of its own for a test: a folder with a configuration, and the command ``heartwood`` as it is typed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from attrs import define, field

from heartwood.testing.database import folder_for_cluster
from processes import HEARTWOOD, clean_environment, free_port

SETTINGS = """
[data]
dir = "{folder}/data"
runtime_dir = "{folder}/run"

[web]
listen = ["127.0.0.1:{port}"]

[observe]
live_listen = ""
format = "json"
"""


@define
class Served:
    """A ``heartwood serve`` (or ``worker``) that runs, and what belongs to it."""

    process: subprocess.Popen
    url: str
    errors: Path
    family: set[psutil.Process] = field(factory=set)

    @property
    def said(self) -> str:
        """What it has written to standard error."""
        return self.errors.read_text()

    def look(self) -> set[psutil.Process]:
        """Take note of all processes that come from it, and return them."""
        if self.process.poll() is None:
            self.family |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self.family

    def stop(self, number: signal.Signals, *, group: bool = False, within: float = 20.0) -> int:
        """Send a signal (to its whole group, as Ctrl-C does), wait for its end, and return the exit status."""
        self.look()
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.process.wait(within)

    def left(self, *, within: float = 3.0) -> list[str]:
        """Return the command lines of those of its processes that are still there; they get a moment to go."""
        _, alive = psutil.wait_procs(self.family, timeout=within)
        return [" ".join(each.cmdline()) for each in alive if each.is_running()]


@define
class Machine:
    """A folder in which somebody types commands."""

    folder: Path
    port: int
    environ: dict[str, str]

    def configure(self, text: str = "") -> None:
        """Write ``plugins.toml``: the places of this machine, and ``text``."""
        settings = SETTINGS.format(folder=self.folder, port=self.port)
        (self.folder / "plugins.toml").write_text(f"{settings}\n{text}")

    def plugin(self, name: str, text: str) -> None:
        """Write a single-file plugin; ``[loader] plugins_dir = "plugins"`` takes it."""
        self.plugins.mkdir(exist_ok=True)
        (self.plugins / f"{name}.py").write_text(text)

    @property
    def plugins(self) -> Path:
        """The folder of single-file plugins."""
        return self.folder / "plugins"

    def run(self, *words: str, within: float = 60.0) -> subprocess.CompletedProcess:
        """Type ``heartwood`` and ``words``."""
        return subprocess.run(
            [HEARTWOOD, *words],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    @contextmanager
    def serve(self, *words: str, role: str = "serve", until: str = "", log: str = "errors", within: float = 60.0):
        """Run ``heartwood serve`` until it is ready (or says ``until``), and end it afterwards where nobody has."""
        sign = until or (r"heartwood is ready at (\S+)" if role == "serve" else r'"(hub.ready)"')
        errors = self.folder / log
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                [HEARTWOOD, role, *words],
                cwd=self.folder,
                env=self.environ,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + within
            while not (ready := re.search(sign, errors.read_text())):
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < deadline, errors.read_text()
                time.sleep(0.02)
            yield Served(process, ready[1].rpartition("/")[0], errors)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)


@contextmanager
def new_machine():
    """Make a machine; its folder can be reached by the user as whom PostgreSQL runs."""
    folder = folder_for_cluster()
    folder.chmod(0o711)
    try:
        machine = Machine(folder, free_port(), clean_environment())
        machine.configure()
        yield machine
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="machine")
def _machine():
    with new_machine() as machine:
        yield machine


@pytest.fixture(name="machine_with_database")
def _machine_with_database(machine, dsn):
    """A machine whose hub uses the database of the tests, which needs no start."""
    machine.environ["DATABASE_URL"] = dsn
    machine.environ["HEARTWOOD__DATA__AUTO_MIGRATE"] = "true"
    return machine


@pytest.fixture(name="new_machine", scope="session")
def _new_machine():
    """Make machines for fixtures that outlive a test: ``with new_machine() as machine``."""
    return new_machine
