"""Parts that the tests of rows share: a cluster of our own that may be killed, log lines, and the core tables."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess

import asyncpg
import pytest
import structlog
from structlog.testing import LogCapture

from heartwood.data.embedded import Binaries
from heartwood.data.embedded.postmaster import find_postmaster
from heartwood.data.embedded.server import Server
from heartwood.data.places import Places
from heartwood.testing.database import folder_for_cluster
from processes import bin_dir


@pytest.fixture(scope="session", name="binaries")
def _binaries(major: str) -> Binaries:
    """PostgreSQL's programs under test."""
    return Binaries(bin_dir(major), int(major))


def new_places() -> Places:
    base = folder_for_cluster()
    base.chmod(0o711)
    return Places(base / "data", base / "run")


@pytest.fixture(name="places")
def _places():
    """Empty folders for one hub, short enough for sockets; whatever still runs there at the end is stopped."""
    places = new_places()
    yield places
    for file in places.data_dir.resolve().glob("pg[0-9]*/postmaster.pid"):
        if left_over := find_postmaster(file.parent):
            os.kill(left_over.pid, signal.SIGKILL)
    shutil.rmtree(places.data_dir.parent, ignore_errors=True)


@pytest.fixture(scope="session", name="made")
def _made(binaries: Binaries):
    """A data folder with a cluster that was made, and stopped."""
    places = new_places()
    places.make()
    server = Server(places, binaries)
    server.join()
    server.leave()
    yield places
    shutil.rmtree(places.data_dir.parent)


@pytest.fixture(name="cluster_places")
def _cluster_places(made: Places, places: Places) -> Places:
    """The folders of a hub whose cluster has been made."""
    subprocess.run(["cp", "-a", made.data_dir, places.data_dir], check=True)
    return places


@pytest.fixture(name="lines")
def _lines() -> list:
    """The entries that ``log`` writes."""
    return []


@pytest.fixture(name="log")
def _log(lines: list):
    capture = LogCapture()
    capture.entries = lines
    return structlog.wrap_logger(structlog.PrintLogger(), processors=[capture])


async def make_core(dsn: str) -> None:
    """Make the tables of schema ``core``, from the text of their revision."""
    connection = await asyncpg.connect(dsn)
    revision = importlib.import_module("heartwood.migrations.versions.0001_core")
    await connection.execute(f"create schema core; {revision.CORE}")
    await connection.close()


@pytest.fixture(name="core_dsn")
async def _core_dsn(dsn: str) -> str:
    """The address of a database with the core tables."""
    await make_core(dsn)
    return dsn
