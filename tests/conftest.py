"""Fixtures that every test may use: an empty database on a real PostgreSQL, and waiting for a condition."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from heartwood.testing.database import folder_for_cluster
from processes import bin_dir, database_user, until

MAJOR = os.environ.get("HEARTWOOD_TEST_PG", "18")


def pytest_configure(config):
    """Know the mark of what runs twice."""
    config.addinivalue_line("markers", "pg15: runs on PostgreSQL 15 as well, also where the others run on another")


def pytest_generate_tests(metafunc):
    """Run what is marked a second time; pytest lets all of that follow each other, so the server changes once."""
    if metafunc.definition.get_closest_marker("pg15") and "major" in metafunc.fixturenames and MAJOR != "15":
        metafunc.parametrize("major", [None, "15"], ids=[MAJOR, "15"], indirect=True, scope="session")


@pytest.fixture(scope="session", name="major")
def _major(request) -> str:
    """The version of PostgreSQL that the test runs on: the wheel's 18, or what ``HEARTWOOD_TEST_PG`` says."""
    major = getattr(request, "param", None) or MAJOR
    if not (bin_dir(major) / "postgres").exists():
        pytest.skip(f"no PostgreSQL {major} on this machine")
    return major


@pytest.fixture(scope="session", name="cluster")
def _cluster(major):
    """A PostgreSQL server of this test session, without fsync; yields its socket folder."""
    binaries = bin_dir(major)
    base = folder_for_cluster()
    user = database_user()
    if user:
        os.chown(base, user["user"], user["group"])
    data = base / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C"],
        check=True,
        stdout=subprocess.DEVNULL,
        **user,
    )
    settings = ("fsync=off", "listen_addresses=", f"unix_socket_directories={base}", "max_connections=200")
    options = [word for setting in settings for word in ("-c", setting)]
    argv = [binaries / "postgres", "-D", data, *options]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
    deadline = time.monotonic() + 30
    while not (base / ".s.PGSQL.5432").exists() or not _accepts(base):
        assert server.poll() is None, "the test server died"
        assert time.monotonic() < deadline, "the test server did not start"
        time.sleep(0.02)
    yield base
    server.terminate()
    server.wait(20)
    shutil.rmtree(base, ignore_errors=True)


def _accepts(base: Path) -> bool:
    import asyncpg

    try:
        _sql(base, "select 1")
    except (OSError, asyncpg.PostgresError):
        return False
    return True


def _sql(base: Path, *statements: str) -> None:
    import asyncpg

    async def run() -> None:
        connection = await asyncpg.connect(f"postgresql://postgres@/postgres?host={base}")
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.fixture(name="dsn")
def _dsn(cluster: Path):
    """The address of an empty database, dropped after the test."""
    name = f"t{uuid.uuid4().hex[:12]}"
    _sql(cluster, f"create database {name}")
    yield f"postgresql://postgres@/{name}?host={cluster}"
    _sql(cluster, f"drop database {name} with (force)")


@pytest.fixture(name="eventually")
def _eventually():
    """Wait until a condition holds: ``await eventually(lambda: …, within=5)``; the condition may be async."""
    return until
