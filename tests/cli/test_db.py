"""``heartwood db``, typed as an operator does, on a real database."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from click.testing import CliRunner

from heartwood.cli.app import root
from heartwood.contracts.errors import HeartwoodError

CONFIG = """
[loader]
plugins_dir = "plugins"

[plugins.ocr]
enabled = false

[plugins.metrics]
enabled = false

[plugins.notes]
enabled = true
"""

PLUGIN = """
from heartwood.api import Migration, Plugin, hookimpl


class Notes(Plugin):
    name = "notes"

    @hookimpl
    def tables(self):
        return [
            Migration("0001", "create table {schema}.note (id int primary key); insert into {schema}.note values (1)"),
            Migration("0002", "SECOND"),
        ]
"""


@pytest.fixture(name="files")
def _files(tmp_path):
    """A folder with one single-file plugin that has two migrations; returns the plugin's file."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (tmp_path / "plugins.toml").write_text(CONFIG)
    path = folder / "notes.py"
    path.write_text(PLUGIN.replace("SECOND", "alter table {schema}.note add body text"))
    return path


@pytest.fixture(name="heartwood")
def _heartwood(dsn, files, tmp_path, monkeypatch):
    """Type a command: ``heartwood("db", "status")`` returns click's result."""
    monkeypatch.setenv("DATABASE_URL", dsn)
    start = ("--config", str(tmp_path / "plugins.toml"), "--data", str(tmp_path / "data"))
    return lambda *words: CliRunner().invoke(root, [*start, *words])


@pytest.fixture(name="broken")
def _broken(files, tmp_path):
    """A required plugin that cannot be imported, and an optional one that is not installed, beside the good one."""
    (files.parent / "boom.py").write_text("raise SystemExit('imported')")
    file = tmp_path / "plugins.toml"
    file.write_text(file.read_text() + "[plugins.boom]\nrequired = true\n[plugins.gone]\n")


def _ask(dsn: str, sql: str):
    async def ask():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_upgrade_brings_every_plugin_to_its_last_revision(heartwood, dsn):
    """The first call applies everything and says what; the second finds nothing to do."""
    first, second = heartwood("db", "upgrade"), heartwood("db", "upgrade")

    assert (0, 0) == (first.exit_code, second.exit_code)
    assert "core: core_0001" in first.stdout
    assert "notes: 0001 0002 up to date" in first.stdout
    assert "notes: up to date" in second.stdout
    assert 1 == _ask(dsn, "select count(*) from notes.note")


def test_status_shows_what_is_pending(heartwood):
    """Before and after an upgrade, one line a plugin says where it stands."""
    before = heartwood("db", "status").stdout
    heartwood("db", "upgrade")
    after = heartwood("db", "status").stdout

    assert "notes\t\t0002\tpending: 0001, 0002" in before
    assert "notes\t0002\t0002\tup to date" in after


def test_a_failed_plugin_is_named_and_the_status_says_so(heartwood, files, dsn):
    """The command exits 1, names plugin and error, and has migrated the others."""
    files.write_text(PLUGIN.replace("SECOND", "select 1/0"))

    result = heartwood("db", "upgrade")

    assert 1 == result.exit_code
    assert "notes: failed, nothing of it was applied: division by zero" in result.stdout
    assert 1 == _ask(dsn, "select count(*) from core.person")


def test_check_exits_1_where_something_is_wrong(heartwood):
    """What is pending is a fault; an upgraded database has none."""
    before = heartwood("db", "check")
    heartwood("db", "upgrade")
    after = heartwood("db", "check")

    assert (1, 0) == (before.exit_code, after.exit_code)
    assert "notes: 0001 is pending; type: heartwood db upgrade" in before.stdout
    assert "core: as it should be" in after.stdout


@pytest.mark.usefixtures("broken")
def test_plugins_that_cannot_be_asked_are_named_and_left_out(heartwood):
    """Upgrade and status do the rest and say whom they left out; a check does not call that as it should be."""
    upgraded, status, checked = (heartwood("db", word) for word in ("upgrade", "status", "check"))

    assert (0, 0, 1) == (upgraded.exit_code, status.exit_code, checked.exit_code), upgraded.output
    assert "notes: 0001 0002 up to date" in upgraded.stdout
    for result in (upgraded, status, checked):
        assert "boom: left out, for it is failed(import): SystemExit: imported\n" in result.stderr
        assert "gone: left out, for it is missing: no plugin 'gone' is installed" in result.stderr


def test_adopt_accepts_tables_that_were_there(heartwood, dsn):
    """A schema that was restored without its version row is refused, and upgraded again once it is adopted."""
    heartwood("db", "upgrade")
    _ask(dsn, "drop table notes.alembic_version")

    refused = heartwood("db", "upgrade")
    adopted = heartwood("db", "adopt", "notes", "--revision", "0002")

    assert "type: heartwood db adopt notes" in refused.stdout
    assert "notes: adopted at 0002\n" == adopted.stdout
    assert 0 == heartwood("db", "upgrade").exit_code


def test_revision_needs_a_package(heartwood):
    """A single file has no revision files, and an unknown plugin is answered with the names that there are."""
    heartwood("db", "upgrade")

    single = heartwood("db", "revision", "notes", "-m", "more")
    unknown = heartwood("db", "revision", "nope", "-m", "more")

    assert isinstance(single.exception, HeartwoodError)
    assert "write Migration(…) values" in str(single.exception)
    assert "no enabled plugin 'nope' has tables; there are: core, notes" in unknown.output


def test_a_removed_plugin_is_listed_as_an_orphan(heartwood, files, tmp_path):
    """A plugin that is switched off is no orphan; one whose file is gone is, and the upgrade stays green."""
    heartwood("db", "upgrade")
    config = tmp_path / "plugins.toml"
    config.write_text(config.read_text().replace("enabled = true", "enabled = false"))
    off = heartwood("db", "orphans")

    files.unlink()
    gone = heartwood("db", "orphans")

    assert "" == off.stdout
    assert "notes: plugin not installed; to drop its data, type: heartwood plugin purge notes\n" == gone.stdout
    assert 0 == heartwood("db", "upgrade").exit_code


def test_the_folder_of_plugins_may_be_below_the_home(heartwood, tmp_path, monkeypatch):
    """``~`` means the same wherever the folder is looked into: the schema of a plugin in it is no orphan."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "plugins.toml"
    config.write_text(config.read_text().replace('"plugins"', '"~/plugins"'))

    upgraded, orphans = heartwood("db", "upgrade"), heartwood("db", "orphans")

    assert "notes: 0001 0002 up to date" in upgraded.stdout
    assert (0, "") == (orphans.exit_code, orphans.stdout)
