"""``heartwood plugin``, typed as an operator and as an author does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from heartwood.cli.app import root
from heartwood.config.sources import PluginSwitch
from heartwood.plugins.discovery import discover
from heartwood.plugins.records import State

CONFIG = """
# mine
[loader]
plugins_dir = "{folder}"

[plugins.boom]  # it may not be imported
enabled = true

[plugins.gone]
"""

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(name="file")
def _file(tmp_path):
    """A configuration with a folder of one single-file plugin that must never be imported."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "boom.py").write_text("raise SystemExit('imported')")
    file = tmp_path / "plugins.toml"
    file.write_text(CONFIG.format(folder=folder))
    return file


@pytest.fixture(name="plugin")
def _plugin(file):
    """Type a command: ``plugin("list")`` returns click's result."""
    start = ("--config", str(file), "--data", str(file.parent / "data"), "plugin")
    return lambda *words, **options: CliRunner().invoke(root, [*start, *words], **options)


def test_list_has_every_plugin_without_importing_any(plugin, file):
    """One line a plugin: name, state, version, package, prefixes and why."""
    for module in ("heartwood_ocr.plugin", "heartwood_file_boom"):
        sys.modules.pop(module, None)

    result = plugin("list")

    lines = {line.split("\t")[0]: line.split("\t") for line in result.stdout.splitlines()}
    assert 0 == result.exit_code, result.output
    assert ["boom", "enabled", "", str(file.parent / "plugins" / "boom.py"), "boom", ""] == lines["boom"]
    disabled = ["disabled", "0.1.0", "heartwood-hub-ocr", "documents", "not named in the configuration"]
    assert ["ocr", *disabled] == lines["ocr"]
    assert "missing" == lines["gone"][1]
    assert "no plugin 'gone' is installed" in lines["gone"][5]
    assert "heartwood_ocr.plugin" not in sys.modules
    assert "heartwood_file_boom" not in sys.modules


def test_show_has_what_the_metadata_says(plugin):
    """Code, addresses and commands are known without an import."""
    result = plugin("show", "ocr")

    assert 0 == result.exit_code
    for line in (
        "name: ocr",
        "state: disabled",
        "version: 0.1.0",
        "code: heartwood_ocr.plugin:OcrPlugin",
        "prefixes: /business/documents",
        "commands: heartwood documents, heartwood read",
        "required: no",
    ):
        assert line in result.stdout.splitlines()


def test_a_misspelt_name_is_answered_with_the_near_one(plugin, file):
    """Nothing is written for a plugin that is not there."""
    before = file.read_text()

    for word in ("show", "enable", "disable"):
        result = plugin(word, "orc")
        assert 1 == result.exit_code
        assert "no plugin 'orc' is installed" in result.output
        assert "did you mean 'ocr'?" in result.output
    assert before == file.read_text()


def test_switching_keeps_the_file_as_it_is(plugin, file):
    """Enable and disable change one key; comments stay, and the list follows."""
    on = plugin("enable", "ocr")
    off = plugin("disable", "boom")

    assert (0, 0) == (on.exit_code, off.exit_code), on.output + off.output
    assert f"ocr is switched on in {file}; the hub does so at its next start\n" == on.stdout
    assert "# mine" in file.read_text()
    assert "[plugins.boom]  # it may not be imported\nenabled = false" in file.read_text()
    states = {line.split("\t")[0]: line.split("\t")[1] for line in plugin("list").stdout.splitlines()}
    assert ("enabled", "disabled") == (states["ocr"], states["boom"])


def test_a_missing_plugin_can_be_switched_off(plugin):
    """What the configuration names may be switched off though it is not installed."""
    assert 0 == plugin("disable", "gone").exit_code
    assert "gone\tdisabled" in plugin("list").stdout


def test_the_environment_that_says_otherwise_is_told_of(plugin):
    """The file is written, and the operator learns why that changes nothing."""
    result = plugin("enable", "ocr", env={"HEARTWOOD__PLUGINS__OCR__ENABLED": "false"})

    assert 0 == result.exit_code
    assert "but the environment or --set says otherwise" in result.stderr


def test_purge_asks_and_refuses_what_is_switched_on(plugin, file):
    """Without a yes nothing is dropped, and an enabled plugin is never purged."""
    folder = file.parent / "data" / "plugins" / "ocr"
    folder.mkdir(parents=True)

    refused = plugin("purge", "boom", "--yes")
    asked = plugin("purge", "ocr", input="n\n")

    assert 2 == refused.exit_code
    assert "plugin 'boom' is switched on; type: heartwood plugin disable boom" in refused.output
    assert 1 == asked.exit_code
    assert folder.is_dir()


@pytest.mark.parametrize("name", ["..", "", ".", "core", "../../keep", "{folder}/keep"])
def test_purge_removes_no_folder_but_a_plugins(plugin, file, name):
    """What cannot be a plugin's name is refused before anything is dropped, so no path leads out of the data folder."""
    keep = file.parent / "keep"
    for folder in (keep, file.parent / "data" / "plugins" / "core"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("mine")

    result = plugin("purge", name.format(folder=file.parent), "--yes")

    assert 2 == result.exit_code
    assert "cannot be a plugin's name" in result.output
    assert {"keep", "core"} == {path.parent.name for path in file.parent.rglob("file")}


def test_purge_drops_schema_and_files(plugin, file, dsn):
    """Tables and the plugin's own folder go; the second time there is nothing."""

    async def exists():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval("select to_regclass('boom.thing') is not null")
        finally:
            await connection.close()

    (file.parent / "plugins" / "boom.py").write_text(
        "from heartwood.api import Migration, Plugin, hookimpl\n"
        "class Boom(Plugin):\n"
        "    @hookimpl\n"
        "    def tables(self):\n"
        "        return [Migration('0001', 'create table {schema}.thing (id int)')]\n"
    )
    env = {"DATABASE_URL": dsn}
    start = ["--config", str(file), "--data", str(file.parent / "data")]
    upgraded = CliRunner().invoke(root, [*start, "db", "upgrade"], env=env)
    assert asyncio.run(exists()), upgraded.output
    folder = file.parent / "data" / "plugins" / "boom"
    folder.mkdir(parents=True)
    plugin("disable", "boom")

    first = plugin("purge", "boom", "--yes", env=env)
    second = plugin("purge", "boom", "--yes", env=env)

    assert ("boom: its data is gone\n", "boom: it had no data\n") == (first.stdout, second.stdout)
    assert not folder.exists()
    assert not asyncio.run(exists())


@pytest.mark.parametrize("name", ["Notes", "my-notes", "core", "health", "9lives", ""])
def test_new_refuses_a_name_that_cannot_be(plugin, name, tmp_path):
    """The name becomes a schema, a module and a prefix, so it has to be fit for all of them."""
    result = plugin("new", name, "--dir", str(tmp_path / "made"))

    assert 2 == result.exit_code
    assert f"{name!r} cannot be a plugin's name" in result.output
    assert not (tmp_path / "made").exists()


def test_new_writes_into_no_folder_that_has_something(plugin, tmp_path):
    """What is there stays."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "README.md").write_text("mine")

    result = plugin("new", "notes", "--dir", str(tmp_path / "made"))

    assert 2 == result.exit_code
    assert "is there already and not empty" in result.output
    assert "mine" == (tmp_path / "made" / "README.md").read_text()


def _wheel(project, out):
    """Build the wheel of ``project`` with its own back end and return its path."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, out], cwd=project, capture_output=True, text=True, check=True, timeout=60
    )
    return Path(out) / made.stdout.split()[-1]


def test_what_new_makes_is_built_and_passes_its_own_tests(plugin, tmp_path):
    """The package's wheel is found by its metadata, and the tests that came with it pass on what is in the wheel."""
    project, site = tmp_path / "made", tmp_path / "site"
    made = plugin("new", "field_notes", "--dir", str(project))
    assert 0 == made.exit_code, made.output

    with zipfile.ZipFile(_wheel(project, tmp_path)) as wheel:
        wheel.extractall(site)
    (found,) = discover({"field_notes": PluginSwitch()}, installed=distributions(path=[str(site)]))
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert State.FOUND is found.record.state, found.record.reason
    assert ("heartwood-field-notes", "heartwood_field_notes.plugin:FieldNotesPlugin", ("field_notes",)) == (
        found.record.distribution,
        found.reference,
        found.record.prefixes,
    )
    assert 0 == tests.returncode, tests.stdout + tests.stderr
    assert "3 passed" in tests.stdout


def test_what_new_makes_is_clean(plugin, tmp_path):
    """Nothing of the template is left in it, and a linter finds nothing."""
    plugin("new", "notes", "--dir", str(tmp_path / "made"))
    texts = {file: file.read_text() for file in (tmp_path / "made").rglob("*") if file.is_file()}

    assert {"pyproject.toml", "README.md", "__init__.py", "config.py", "plugin.py", "test_plugin.py"} == {
        file.name for file in texts
    }
    assert [] == [file for file, text in texts.items() if "${" in text or "$name" in text or "PACKAGE" in str(file)]
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=120"],
        cwd=tmp_path / "made",
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == checked.returncode, checked.stdout


def test_the_template_is_in_the_wheel(tmp_path):
    """Who installs the hub has what ``new`` needs."""
    with zipfile.ZipFile(_wheel(ROOT / "core", tmp_path)) as wheel:
        names = wheel.namelist()

    assert "heartwood/template/pyproject.toml.tmpl" in names
    assert "heartwood/template/src/PACKAGE/plugin.py.tmpl" in names
    assert "heartwood/template/tests/test_plugin.py.tmpl" in names
