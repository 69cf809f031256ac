"""An external server with two roles: one owns the tables, the other one reads and writes their rows."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from click.testing import CliRunner

from heartwood.cli.app import root
from heartwood.testing import running_hub

PLUGIN = """
from heartwood.api import Job, JobRun, Jobs, Migration, Permission, Plugin, Route, Transaction, hookimpl

TABLE = "create table {schema}.note (id bigint generated always as identity, job bigint); create sequence {schema}.seen"


async def look(run: JobRun) -> None:
    async with run.unit() as tx:
        await tx.execute("insert into notes.note (job) values ($1)", run.id)


async def write(tx: Transaction, jobs: Jobs) -> int:
    await jobs.enqueue(tx, "look")
    await tx.audit("notes.write", "1")
    await tx.execute("insert into notes.note default values")
    return await tx.fetchval("select nextval('notes.seen')")


class Notes(Plugin):
    name = "notes"

    @hookimpl
    def tables(self):
        return [Migration("0001", TABLE)]

    @hookimpl
    def permissions(self):
        return [Permission("notes.write", "Write.")]

    @hookimpl
    def jobs(self):
        return [Job("look", look)]

    @hookimpl
    def routes(self):
        return [Route("POST", "", write, "notes.write")]
"""


@pytest.fixture(name="roles")
async def _roles(dsn):
    """The addresses of the test's database with a role that owns it, and with one that may do nothing yet."""
    name = dsn.partition("@/")[2].partition("?")[0]
    owner, worker = f"{name}_owner", f"{name}-worker"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'create role {owner} login; create role "{worker}" login')
    await connection.execute(f"alter database {name} owner to {owner}")
    await connection.close()
    return dsn.replace("postgres@", f"{owner}@"), dsn.replace("postgres@", f"{worker}@")


@pytest.mark.pg15
async def test_an_upgrade_lets_the_role_of_every_day_read_and_write(roles, tmp_path):
    """Tables that the owner made before are granted by the next upgrade, and a hub with both roles does its work."""
    owner, worker = roles
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "notes.py").write_text(PLUGIN)
    config = {
        "loader": {"plugins_dir": str(tmp_path / "hub")},
        "plugins": {"notes": {}},
        "data": {"auto_migrate": False},
    }
    (tmp_path / "plugins.toml").write_text(f'[loader]\nplugins_dir = "{tmp_path}/hub"\n[plugins.notes]\n')
    upgrade = CliRunner()
    words = ["--config", str(tmp_path / "plugins.toml"), "--data", str(tmp_path / "data"), "db", "upgrade"]
    everyday = await asyncpg.connect(worker)

    alone = await asyncio.to_thread(upgrade.invoke, root, words, env={"DATABASE_URL": owner})
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="schema core"):
        await everyday.fetchval("select count(*) from core.person")
    both = {"DATABASE_URL": worker, "HEARTWOOD__DATA__MIGRATE_URL": owner}
    granted = await asyncio.to_thread(upgrade.invoke, root, words, env=both)

    assert (0, 0) == (alone.exit_code, granted.exit_code), alone.output + granted.output
    async with running_hub(config=config, discover=True, database=worker, environ=both) as hub:
        async with hub.client.post("/business/notes", headers={"Idempotency-Key": "k"}) as answer:
            assert (200, 1) == (answer.status, await answer.json())
        await hub.jobs.drain()
    assert 2 == await everyday.fetchval("select count(*) from notes.note")
    for forbidden in ("drop table notes.note", "delete from core.audit", "create schema mine"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await everyday.execute(forbidden)
    await everyday.close()
