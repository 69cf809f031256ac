"""Parts that the tests of identity share: a database with the core tables, people, and tokens that expire."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest
import structlog
from structlog.testing import LogCapture

from heartwood.contracts.data import Tables
from heartwood.contracts.people import EVERYTHING, Actor
from heartwood.contracts.permissions import Permission, Role
from heartwood.data.migrations import MigrationSource, upgrade
from heartwood.data.pool import Pool
from heartwood.data.settings import DataSettings
from heartwood.identity.authenticate import Identity
from heartwood.identity.local import local_token
from heartwood.identity.people import find_person
from heartwood.identity.permissions import PermissionCatalog
from heartwood.identity.tokens import create_token, revoke_token
from heartwood.observe.metrics import Metrics

CORE = MigrationSource("core", Tables("heartwood.data.core_tables:metadata", "heartwood.migrations"))
COMMAND = Actor(None, "command line", frozenset({EVERYTHING}), "command")
PEOPLE = """
insert into core.person (name, role) values ('mia', 'member'), ('rita', 'reader');
insert into core.person (name, role, disabled_at) values ('dora', 'member', now())
"""


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture(scope="session", name="identity_template")
def _identity_template(cluster: Path):
    """A database with the core tables and some people, to be copied."""

    async def make() -> None:
        await _run(f"postgresql://postgres@/postgres?host={cluster}", "create database identity_template")
        url = f"postgresql://postgres@/identity_template?host={cluster}"
        done = await upgrade(url, [CORE], structlog.wrap_logger(structlog.PrintLogger(), processors=[LogCapture()]))
        assert done["core"].error is None
        await _run(url, PEOPLE)

    asyncio.run(make())
    return "identity_template"


@pytest.fixture(name="hub_dsn")
def _hub_dsn(cluster: Path, identity_template: str, request):
    """The address of a database of the test's own."""
    server = f"postgresql://postgres@/postgres?host={cluster}"
    name = f"i{os.getpid()}_{abs(hash(request.node.nodeid))}"
    asyncio.run(_run(server, f"create database {name} template {identity_template}"))
    yield f"postgresql://postgres@/{name}?host={cluster}"
    asyncio.run(_run(server, f"drop database {name} with (force)"))


@pytest.fixture(name="lines")
def _lines() -> list:
    """The entries that ``log`` writes."""
    return []


@pytest.fixture(name="log")
def _log(lines: list):
    capture = LogCapture()
    capture.entries = lines
    return structlog.wrap_logger(structlog.PrintLogger(), processors=[capture])


@pytest.fixture(name="pool")
async def _pool(hub_dsn: str, log):
    pool = Pool(hub_dsn, DataSettings(acquire_timeout=2.0), log, Metrics())
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture(name="catalog")
def _catalog() -> PermissionCatalog:
    everybody = frozenset({Role.MEMBER, Role.READER})
    return PermissionCatalog(
        [
            Permission("notes.read", "Read notes.", everybody),
            Permission("notes.write", "Write notes.", frozenset({Role.MEMBER})),
            Permission("notes.purge", "Drop notes."),
        ]
    )


@pytest.fixture(name="local")
def _local(tmp_path, log) -> str:
    """The text of the local token."""
    return local_token(tmp_path / "local-token", log)


@pytest.fixture(name="identity")
def _identity(pool, catalog, local, log) -> Identity:
    return Identity(pool.database("core"), catalog, local, log)


class Office:
    """Makes and ends tokens as the command line does."""

    def __init__(self, pool: Pool, catalog: PermissionCatalog) -> None:
        self.core = pool.database("core")
        self.catalog = catalog

    async def make(self, person: str = "owner", *, maker: Actor = COMMAND, **more):
        async with self.core.unit(maker) as tx:
            more.setdefault("name", "test")
            return await create_token(tx, self.catalog, await find_person(tx, person), **more)

    async def end(self, token: int, *, maker: Actor = COMMAND) -> str:
        async with self.core.unit(maker) as tx:
            return await revoke_token(tx, token)


@pytest.fixture(name="office")
def _office(pool: Pool, catalog: PermissionCatalog) -> Office:
    return Office(pool, catalog)
