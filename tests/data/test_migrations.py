"""Migrations: one history per plugin, applied under one lock, each plugin whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import textwrap

import asyncpg
import pytest
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import DBSettings, QueryBuilderEnvironment
from pgqueuer.queries import Queries

from heartwood.contracts.data import Migration, Tables
from heartwood.data import migrations
from heartwood.data.migrations import MigrationError, MigrationSource, Upgraded

LOG = structlog.get_logger()
CORE = MigrationSource("core", Tables("heartwood.data.core_tables:metadata", "heartwood.migrations"))
NOTES = MigrationSource(
    "notes",
    (
        Migration("0001", "create table {schema}.note (id int primary key); create index on {schema}.note (id);"),
        Migration("0002", "alter table {schema}.note add column body text"),
    ),
)

TABLES = """
from sqlalchemy import BigInteger, Column, ForeignKey, MetaData, Table, Text

metadata = MetaData(schema="{name}")
Table("person", metadata, Column("id", BigInteger, primary_key=True), schema="core")
Table(
    "thing",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", BigInteger, ForeignKey("core.person.id"), nullable=False),
    {extra}
)
"""

FIRST = """
from alembic import op

revision = "{name}_0001"
down_revision = None


def upgrade():
    op.run_script("create table {name}.thing (id bigint primary key, owner bigint not null references core.person);"
                  "create view {name}.seen as select 1 as one;")
"""

SECOND = """
from alembic import op

revision = "{name}_0002"
down_revision = "{name}_0001"


def upgrade():
    op.execute("alter table {name}.thing add column label text")
    {then}
"""


@pytest.fixture(name="package")
def _package(tmp_path, monkeypatch):
    """Make a package with tables and revisions: ``package("shop", then=…)`` returns its source."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(name: str, *, extra: str = 'Column("label", Text)', then: str = "") -> MigrationSource:
        folder = tmp_path / f"pkg_{name}"
        versions = folder / "migrations" / "versions"
        versions.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "migrations" / "__init__.py").touch()
        (folder / "tables.py").write_text(TABLES.format(name=name, extra=extra))
        (versions / "0001_first.py").write_text(FIRST.format(name=name))
        (versions / "0002_label.py").write_text(SECOND.format(name=name, then=then))
        made.append(f"pkg_{name}")
        return MigrationSource(name, Tables(f"pkg_{name}.tables:metadata", f"pkg_{name}.migrations"))

    yield make
    for module in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[module]


@pytest.fixture(name="db")
async def _db(dsn):
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def _tables(db: asyncpg.Connection, schema: str) -> set[str]:
    rows = await db.fetch("select tablename from pg_tables where schemaname = $1", schema)
    return {row[0] for row in rows}


async def pending(db: asyncpg.Connection, sources: list[MigrationSource]) -> dict[str, list[str]]:
    """Return the revisions still to be applied, of those plugins that have some."""
    found = await migrations.standings(db, sources)
    return {plugin: list(standing.pending) for plugin, standing in found.items() if standing.pending}


@pytest.mark.pg15
async def test_upgrade_makes_core_queue_and_plugins(dsn, db, package):
    """One call makes the kernel's schemas first and then those of plugins of both kinds, with the owner's row."""
    shop = package("shop")

    done = await migrations.upgrade(dsn, [NOTES, shop, CORE], LOG)

    assert list(done) == ["core", "notes", "shop"]
    assert Upgraded("notes", ("0001", "0002")) == done["notes"]
    assert Upgraded("shop", ("shop_0001", "shop_0002")) == done["shop"]
    assert {"person", "token", "audit", "idempotency", "subscription", "alembic_version"} <= await _tables(db, "core")
    assert {"note", "alembic_version"} == await _tables(db, "notes")
    assert {"thing", "alembic_version"} == await _tables(db, "shop")
    assert [tuple(row) for row in await db.fetch("select name, role from core.person")] == [("owner", "owner")]
    again = await migrations.upgrade(dsn, [CORE, NOTES, shop], LOG)
    assert [result.applied for result in again.values()] == [()] * 3


@pytest.mark.pg15
async def test_pgqueuer_finds_its_schema_up_to_date(dsn, db):
    """The frozen SQL of schema queue is what the installed PgQueuer declares; a newer one needs a new revision."""
    await migrations.upgrade(dsn, [CORE], LOG)

    settings = QueryBuilderEnvironment(DBSettings(db_schema="queue"))
    plan = await Queries(AsyncpgDriver(db), settings).plan_upgrade()

    assert list(plan.statements) == []


@pytest.mark.pg15
async def test_core_has_no_drift(dsn):
    """What the kernel's revisions make is exactly what its tables describe, and no published revision changed."""
    await migrations.upgrade(dsn, [CORE], LOG)

    assert await migrations.check(dsn, [CORE]) == {"core": []}


def test_every_revision_of_the_kernel_is_published():
    """Each revision of the kernel, and PgQueuer's SQL, is in the list of hashes, so changing one fails the check."""
    folder = CORE.folder
    lines = [line.split() for line in (folder / "published.sha256").read_text().splitlines()]

    listed = {(folder / name).resolve() for _, name in lines}

    assert {*folder.glob("*.py"), *folder.parent.glob("*.sql")} <= listed


async def test_pending_agrees_with_alembic(db, package):
    """The revisions read from the text of the files are those that Alembic finds by running them."""
    from alembic.script import ScriptDirectory

    for source in (CORE, package("shop")):
        script = ScriptDirectory(source.folder.parent, version_locations=[source.folder])
        walked = [step.revision for step in script.walk_revisions()]

        assert walked[::-1] == list(source.revisions())
        assert {source.plugin: walked[::-1]} == await pending(db, [source])


def test_pending_imports_neither_alembic_nor_sqlalchemy(dsn):
    """A start with nothing to migrate pays for no import of Alembic, and neither do single-file plugins."""
    code = """
        import asyncio, sys, asyncpg, structlog
        from heartwood.contracts.data import Migration, Tables
        from heartwood.data import migrations
        core = migrations.MigrationSource("core", Tables("heartwood.data.core_tables:metadata", "heartwood.migrations"))
        one = migrations.MigrationSource("one", (Migration("0001", "create table {schema}.t (i int)"),))
        async def main():
            connection = await asyncpg.connect(sys.argv[1])
            assert len((await migrations.standings(connection, [core, one]))["core"].pending) > 1
            await connection.close()
            assert (await migrations.upgrade(sys.argv[1], [one], structlog.get_logger()))["one"].applied
        asyncio.run(main())
        assert not {"alembic", "sqlalchemy"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), dsn], check=True, timeout=60)


async def test_a_failing_plugin_is_rolled_back_and_the_others_go_on(dsn, db, package):
    """A revision that raises takes back its whole plugin, not even the schema remains, and the next one is migrated."""
    broken = package("broken", then='op.execute("select 1/0")')
    wrong = MigrationSource("wrong", (Migration("0001", "create table {schema}.a (i int)"), Migration("0002", "oops")))

    done = await migrations.upgrade(dsn, [CORE, broken, wrong, NOTES], LOG)

    assert "division by zero" in str(done["broken"].error)
    assert "syntax error" in str(done["wrong"].error)
    assert (done["broken"].applied, done["wrong"].applied) == ((), ())
    assert done["notes"].applied == ("0001", "0002")
    schemas = {row[0] for row in await db.fetch("select nspname from pg_namespace")}
    assert not {"broken", "wrong"} & schemas


async def test_nothing_is_tried_after_core_failed(dsn, db):
    """Plugins build on core, so they are not touched where core could not be migrated."""
    core = MigrationSource("core", (Migration("0001", "oops"),))

    done = await migrations.upgrade(dsn, [NOTES, core], LOG)

    assert "the migrations of 'core' failed" in str(done["notes"].error)
    assert set() == await _tables(db, "notes")


async def test_a_plugin_continues_where_it_stands(dsn, db):
    """Only what was published since the last upgrade is applied."""
    first = MigrationSource("notes", NOTES.tables[:1])
    await migrations.upgrade(dsn, [first], LOG)

    assert await pending(db, [NOTES]) == {"notes": ["0002"]}
    assert {"notes": Upgraded("notes", ("0002",))} == await migrations.upgrade(dsn, [NOTES], LOG)
    assert await pending(db, [NOTES]) == {}


async def test_an_unknown_revision_is_refused_and_never_downgraded(dsn, db):
    """A database that is ahead of the installed plugin is left alone, and the sentence names both revisions."""
    await migrations.upgrade(dsn, [NOTES], LOG)
    older = MigrationSource("notes", NOTES.tables[:1])

    standing = (await migrations.standings(db, [older]))["notes"]
    done = await migrations.upgrade(dsn, [older], LOG)

    assert (standing.current, standing.head, standing.pending) == ("0002", "0001", ())
    assert "at revision '0002', which the installed version of plugin 'notes' does not know" in standing.problem
    assert standing.problem == str(done["notes"].error)
    assert await db.fetchval("select version_num from notes.alembic_version") == "0002"


async def test_tables_without_a_version_row_are_refused_until_adopted(dsn, db, package):
    """Tables that the hub did not make are not overwritten; adopting compares them and writes the version row."""
    shop = package("shop")
    await migrations.upgrade(dsn, [CORE, shop], LOG)
    await db.execute("drop table shop.alembic_version")

    refused = (await migrations.upgrade(dsn, [shop], LOG))["shop"].error
    adopted = await migrations.adopt(dsn, shop)

    assert "heartwood db adopt shop" in str(refused)
    assert adopted == "shop_0002"
    assert await pending(db, [shop]) == {}
    with pytest.raises(MigrationError, match="is at revision 'shop_0002' already"):
        await migrations.adopt(dsn, shop)


async def test_adopting_refuses_tables_that_differ(dsn, db, package):
    """Tables that are not what the last revision makes are adopted at an earlier revision only."""
    shop = package("shop")
    await migrations.upgrade(dsn, [CORE, shop], LOG)
    await db.execute("drop table shop.alembic_version; alter table shop.thing drop column label")

    with pytest.raises(MigrationError, match=r"add column: shop thing .*label"):
        await migrations.adopt(dsn, shop)
    with pytest.raises(MigrationError, match="has no revision 'shop_9'"):
        await migrations.adopt(dsn, shop, "shop_9")

    assert await migrations.adopt(dsn, shop, "shop_0001") == "shop_0001"
    assert await pending(db, [shop]) == {"shop": ["shop_0002"]}


async def test_check_finds_drift_and_forbidden_foreign_keys(dsn, db, package):
    """A column that no revision makes, and a reference to another plugin's table, are named."""
    shop = package("shop", extra='Column("label", Text), Column("price", BigInteger),')
    await migrations.upgrade(dsn, [CORE, NOTES, shop], LOG)
    await db.execute("alter table notes.note add constraint to_shop foreign key (id) references shop.thing")

    faults = await migrations.check(dsn, [NOTES, shop])

    assert faults["notes"] == ["forbidden foreign key: to_shop references shop.thing"]
    assert len(faults["shop"]) == 1
    assert faults["shop"][0].startswith("add column: shop thing price")


async def test_check_finds_a_published_revision_that_changed(dsn, package):
    """A revision whose hash is listed may not change any more."""
    shop = package("shop")
    await migrations.upgrade(dsn, [CORE, shop], LOG)
    first = shop.folder / "0001_first.py"
    (shop.folder / "published.sha256").write_text(f"{hashlib.sha256(first.read_bytes()).hexdigest()}  0001_first.py\n")

    assert (await migrations.check(dsn, [shop]))["shop"] == []
    first.write_text(first.read_text() + "# touched\n")

    assert (await migrations.check(dsn, [shop]))["shop"] == [
        "0001_first.py changed after it was published; put it back, and write a new revision"
    ]


async def test_a_revision_is_written_from_the_tables_of_its_plugin_alone(dsn, db, package):
    """What the tables have and the database has not becomes the next file, and applying it ends the drift."""
    other, shop = package("other"), package("shop", extra='Column("label", Text), Column("price", BigInteger),')
    await migrations.upgrade(dsn, [CORE, other, shop], LOG)
    await db.execute("alter table other.thing drop column label")

    path = await migrations.write_revision(dsn, shop, "Prices of things")

    assert path.name == "0003_prices_of_things.py"
    assert 'revision = "shop_0003"\ndown_revision = "shop_0002"' in path.read_text()
    assert "other" not in path.read_text()
    assert (await migrations.upgrade(dsn, [shop], LOG))["shop"].applied == ("shop_0003",)
    assert (await migrations.check(dsn, [shop]))["shop"] == []
    with pytest.raises(MigrationError, match="single file"):
        await migrations.write_revision(dsn, NOTES, "more")


async def test_a_removed_plugin_is_an_orphan_until_purged(dsn, db):
    """The schema of a plugin that is gone breaks nothing, is listed, and is dropped on demand with its traces."""
    await migrations.upgrade(dsn, [CORE, NOTES], LOG)
    await db.execute("create schema stranger; create table stranger.t (i int)")
    await db.execute("insert into core.subscription values ('e', 'notes', 'h'), ('e', 'notes2', 'h')")
    await db.execute(
        "insert into queue.pgqueuer (priority, status, entrypoint) "
        "values (0, 'queued', 'notes.a'), (0, 'queued', 'notes2.a')"
    )

    assert await migrations.orphans(db, ["notes"]) == []
    assert await migrations.orphans(db, []) == ["notes"]
    assert {"core": Upgraded("core")} == await migrations.upgrade(dsn, [CORE], LOG)
    assert await migrations.purge(dsn, "notes")

    assert await migrations.orphans(db, []) == []
    assert [row[0] for row in await db.fetch("select plugin from core.subscription")] == ["notes2"]
    assert [row[0] for row in await db.fetch("select entrypoint from queue.pgqueuer")] == ["notes2.a"]
    assert not await migrations.purge(dsn, "notes")


@pytest.mark.parametrize("schema", ["core", "queue", "public", "stranger"])
async def test_purge_drops_only_what_the_hub_made_for_a_plugin(dsn, db, schema):
    """Schemas of the kernel and of other programs, even of those that use Alembic, are neither listed nor dropped."""
    await db.execute("create schema stranger; create table stranger.t (i int)")
    await db.execute("create table stranger.alembic_version (version_num text); create table alembic_version (v text)")

    assert [] == await migrations.orphans(db, [])

    with pytest.raises(MigrationError, match=f"schema '{schema}'"):
        await migrations.purge(dsn, schema)

    assert await db.fetchval("select to_regclass('stranger.t') is not null")


def test_four_processes_that_start_at_once_migrate_once(dsn):
    """The lock lets one process migrate and the others find nothing left to do."""
    code = """
        import asyncio, json, sys, structlog
        from heartwood.contracts.data import Tables
        from heartwood.data import migrations
        core = migrations.MigrationSource("core", Tables("heartwood.data.core_tables:metadata", "heartwood.migrations"))
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        print("ready", flush=True)
        sys.stdin.readline()
        done = asyncio.run(migrations.upgrade(sys.argv[1], [core], structlog.get_logger()))["core"]
        assert done.error is None, done.error
        print(json.dumps(done.applied))
    """
    argv = [sys.executable, "-c", textwrap.dedent(code), dsn]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    processes = [subprocess.Popen(argv, **pipes) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4

    outputs = _all_at_once(processes)

    assert [process.returncode for process in processes] == [0] * 4
    assert [[], [], [], list(CORE.revisions())] == sorted(json.loads(output) for output in outputs)


def _all_at_once(processes: list[subprocess.Popen]) -> list[str]:
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0] for process in processes]


async def test_a_dead_replica_does_not_block_a_start_for_ever(dsn, db):
    """Waiting for the lock ends after the limit, and the sentence says where to look."""
    from heartwood.data.migrations.session import LOCK

    await db.execute("select pg_advisory_lock($1)", LOCK)

    with pytest.raises(MigrationError, match=r"for more than 0\.2 s"):
        await migrations.upgrade(dsn, [CORE], LOG, lock_timeout=0.2)

    await db.execute("select pg_advisory_unlock($1)", LOCK)
    assert (await migrations.upgrade(dsn, [CORE], LOG, lock_timeout=0.2))["core"].applied


async def test_the_lock_is_given_back(dsn, db):
    """After an upgrade that failed, nobody holds the lock of the migrations."""
    await migrations.upgrade(dsn, [MigrationSource("wrong", (Migration("0001", "oops"),))], LOG)

    assert await db.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('revision = "shop_0003"\ndown_revision = "shop_0001"\n', "do not form one line"),
        ('revision = "shop_0003"\ndown_revision = "shop_0007"\n', "do not form one line"),
        ('revision = name()\ndown_revision = "shop_0002"\n', "0003_bad.py must set revision to a text"),
        ('revision = "shop_0003"\ndown_revision = ("shop_0001", "shop_0002")\n', "0003_bad.py must set revision"),
        ("def (", "invalid syntax"),
    ],
)
async def test_revisions_that_do_not_fit_are_one_plugins_problem(db, package, text, message):
    """A branch, a gap, a computed id or a syntax error is reported for its plugin, without running anything."""
    shop = package("shop")
    (shop.folder / "0003_bad.py").write_text(text)

    found = await migrations.standings(db, [shop, NOTES])

    assert message in found["shop"].problem
    assert found["notes"].pending == ("0001", "0002")


@pytest.mark.parametrize("revisions", [("0002", "0001"), ("0001", "0001")])
def test_steps_of_a_single_file_are_unique_and_increasing(revisions):
    """The order of a single file's steps is that of their names."""
    with pytest.raises(MigrationError, match="not unique and increasing"):
        MigrationSource("one", tuple(Migration(name, "") for name in revisions)).revisions()


async def test_a_package_without_revisions_folder_is_named(db):
    """The sentence says which package the hook names and what is missing in it."""
    source = MigrationSource("shop", Tables("json:x", "json"))

    assert "no folder 'versions' in the package 'json'" in (await migrations.standings(db, [source]))["shop"].problem


async def test_an_upgrade_waits_only_a_while_for_a_table_in_use(dsn, db, monkeypatch):
    """A statement that needs a table which somebody holds is given up, and the plugin is as before."""
    await migrations.upgrade(dsn, [MigrationSource("notes", NOTES.tables[:1])], LOG)
    monkeypatch.setattr("heartwood.data.migrations.session.STATEMENT_LOCK", 1)

    async with db.transaction():
        await db.execute("lock table notes.note in access share mode")
        done = await asyncio.wait_for(migrations.upgrade(dsn, [NOTES], LOG), 20)

    assert isinstance(done["notes"].error, asyncpg.LockNotAvailableError)
    assert await pending(db, [NOTES]) == {"notes": ["0002"]}
