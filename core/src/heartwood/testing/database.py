"""Databases for tests: one server a process, and for each test a database copied from one with the kernel's tables."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import structlog

from heartwood.data.embedded.binaries import find_postgres
from heartwood.data.embedded.cluster import DATABASE, OWNER_ROLE, make_cluster
from heartwood.data.embedded.server import Server
from heartwood.data.migrations import MigrationSource, upgrade
from heartwood.data.places import Places
from heartwood.kernel import CORE_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

TEMPLATE = "with_core"
MEMORY, ROOM = "/dev/shm", 2 * 1024**3  # noqa: S108  (mkdtemp makes a folder that only we may enter)


@contextmanager
def fresh_database() -> Iterator[str]:
    """Give the address of a database that has the kernel's tables and nothing else; dropped afterwards.

    Callable from anywhere, also where a loop runs: what it waits for takes some ten milliseconds.
    """
    name = f"t_{uuid.uuid4().hex[:12]}"
    _run(f"create database {name} template {_template()}")
    try:
        yield _url(name)
    finally:
        _run(f"drop database {name} with (force)")


def folder_for_cluster() -> Path:
    """Make a folder for a PostgreSQL that lives as long as this process: in memory where that has room.

    Copying a database there takes 10 ms, and a third of a second on some disks.
    """
    try:
        in_memory = shutil.disk_usage(MEMORY).free > ROOM and os.access(MEMORY, os.W_OK)
    except OSError:
        in_memory = False
    return Path(tempfile.mkdtemp(prefix="hwt", dir=MEMORY if in_memory else None))


@cache
def _server() -> Server:
    """Start the PostgreSQL of this test process; it stops, and its folder goes, when the process ends."""
    folder = folder_for_cluster()
    folder.chmod(0o711)
    server = Server(Places(folder / "data", folder / "run"), find_postgres())
    for each in (folder / "data", folder / "run"):
        each.mkdir(mode=0o711)
    make_cluster(server.cluster, flush=False)
    with (server.folder / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
        settings.write("fsync = off\nsynchronous_commit = off\n")
    server.join()

    def end() -> None:
        server.leave()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


@cache
def _template() -> str:
    _run(f"create database {TEMPLATE}")
    sources = [MigrationSource("core", CORE_TABLES)]
    done = _elsewhere(lambda: upgrade(_url(TEMPLATE), sources, structlog.get_logger()))
    assert not done["core"].error, done["core"].error
    return TEMPLATE


def _url(name: str) -> str:
    return f"postgresql://{OWNER_ROLE}@/{name}?host={_server().socket_dir}"


def _elsewhere(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` on a loop of its own in a thread of its own, since a loop may run in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


def _run(statement: str) -> None:
    """Run a statement on a connection of its own."""

    async def work() -> None:
        connection = await asyncpg.connect(_url(DATABASE))
        await connection.execute(statement)
        await connection.close()

    _elsewhere(work)
