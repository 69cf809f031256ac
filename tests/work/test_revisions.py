"""The kernel's revisions: what PgQueuer expects, what its metadata say, and who may change what."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.adapters.persistence.queries import Queries

from heartwood.data.migrations import MigrationSource, check, upgrade
from heartwood.data.migrations.published import changed_since_published
from heartwood.kernel import CORE_TABLES
from heartwood.work.fenced import names

CORE = MigrationSource("core", CORE_TABLES)
MAY = "select has_table_privilege('heartwood_work', $1, $2)"
PRIVILEGES = """
alter default privileges grant usage on schemas to heartwood_work;
alter default privileges grant select, insert, update, delete, truncate on tables to heartwood_work;
"""


@pytest.fixture(name="connection")
async def _connection(dsn):
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def upgraded(dsn: str) -> None:
    done = await upgrade(dsn, [CORE], structlog.get_logger())
    assert done["core"].error is None


async def test_the_schema_is_what_pgqueuer_expects(dsn, connection):
    """What was added changes nothing that PgQueuer's own upgrade would change; a version that needs more fails here."""
    await upgraded(dsn)
    queries = Queries(AsyncpgDriver(connection), qbe=QueryBuilderEnvironment(names()))
    assert () == (await queries.plan_upgrade()).statements


async def test_the_revisions_make_what_the_metadata_say(dsn):
    """No drift, no pending revision, no forbidden foreign key, and nothing published was changed."""
    await upgraded(dsn)
    assert {"core": []} == await check(dsn, [CORE])
    assert [] == changed_since_published(Path(str(files("heartwood.migrations"))) / "versions")


async def test_the_audit_cannot_be_rewritten_by_who_works(dsn, connection):
    """Requests and jobs may add to it and read it; other tables they may change."""
    if not await connection.fetchval("select true from pg_roles where rolname = 'heartwood_work'"):
        await connection.execute("create role heartwood_work")
    await connection.execute(PRIVILEGES)
    await upgraded(dsn)
    rights = {verb: await connection.fetchval(MAY, "core.audit", verb) for verb in RIGHTS}
    assert {"select": True, "insert": True, "update": False, "delete": False, "truncate": False} == rights
    assert await connection.fetchval(MAY, "core.token", "update")


RIGHTS = ("select", "insert", "update", "delete", "truncate")


async def test_a_server_without_that_role_is_upgraded_too(dsn, connection):
    """An external server has the roles that its operator gave it."""
    if await connection.fetchval("select true from pg_roles where rolname = 'heartwood_work'"):
        await connection.execute("drop owned by heartwood_work; drop role heartwood_work")
    await upgraded(dsn)
    assert 1 == await connection.fetchval("select count(*) from core.person")
