"""``heartwood config`` finds everything that is wrong, shows where values come from, and imports no plugin."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HEARTWOOD = Path(sysconfig.get_path("scripts")) / "heartwood"


@pytest.fixture(name="heartwood")
def _heartwood(tmp_path):
    def call(*arguments, toml=None, env=None):
        if toml is not None:
            (tmp_path / "plugins.toml").write_text(toml)
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | (env or {})
        return subprocess.run(
            [HEARTWOOD, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60
        )

    return call


def test_a_good_configuration_is_in_order(heartwood):
    """A configuration without problems is said to be in order, and how to check the plugins' own settings."""
    done = heartwood("config", "check", toml="[data]\npool_size = 4\n[plugins.ocr.config]\nanything = 1\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "The configuration is in order. Settings of plugins are checked when these are imported: "
        "heartwood serve --check\n"
    )


def test_every_problem_is_printed_and_the_status_is_78(heartwood):
    """File, environment and command line are checked together, one problem a line."""
    done = heartwood(
        "--set", "data.acquire_timeout=soon", "config", "check",
        toml="[data]\npool_size = 1\n[wbe]\n[plugins.ocr]\nenabled = 'yes'\n",
        env={"HEARTWOOD__DATA__DISK_FLOOR": "-1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (78, "")
    wheres = [
        line.removeprefix("plugins.toml:").lstrip("0123456789 ").partition(":")[0] for line in done.stderr.splitlines()
    ]
    assert sorted(wheres) == ["data.acquire_timeout", "data.disk_floor", "data.pool_size", "plugins.ocr.enabled", "wbe"]


def test_plugins_that_cannot_be_loaded_are_problems_too(heartwood, tmp_path):
    """A misspelt plugin, and one whose prefix is taken, are known without an import, and said with the line."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "documents.py").write_text("raise SystemExit('imported')")
    done = heartwood(
        "config", "check",
        toml="[loader]\nplugins_dir = 'mine'\n[plugins.ocrr]\n[plugins.ocr]\n[plugins.documents]\n"
        "[plugins.gone]\nenabled = false\n",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        "plugins.toml:4 plugins.ocr: the prefix 'documents' of plugin 'ocr' belongs to plugin 'documents'\n"
        "plugins.toml:3 plugins.ocrr: no plugin 'ocrr' is installed; installed: documents, metrics, ocr; "
        "did you mean 'ocr'?\n"
    )


def test_show_prints_values_with_origins_and_no_secret(heartwood):
    """Every setting is shown with where it comes from; secrets, and the values of plugins' settings, are not."""
    done = heartwood(
        "config", "show",
        toml="[data]\npool_size = 4\n[plugins.ocr]\nrequired = true\n[plugins.ocr.config]\nkey = 'hunter2'\n",
        env={"DATABASE_URL": "postgresql://me:hunter2@localhost/x", "REDIS_URL": "redis://:hunter2@localhost"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "hunter2" not in done.stdout
    lines = done.stdout.splitlines()
    assert "pool_size = 4  # line 2" in lines
    assert 'database_url = "***"  # env DATABASE_URL' in lines
    assert "required = true  # line 4" in lines
    assert "key = …  # line 6" in lines


def test_show_prints_what_can_be_read_beside_the_problems(heartwood):
    """A section that is broken does not hide the others."""
    done = heartwood("config", "show", toml="[data]\npool_size = 1\n[observe]\nlevel = 'debug'\n")
    assert done.returncode == 78
    assert 'level = "debug"  # line 4' in done.stdout.splitlines()
    assert "[data]" not in done.stdout
    assert "data.pool_size" in done.stderr


def test_the_reference_names_every_section(heartwood):
    """The reference is Markdown with a heading for each section, and twice the same."""
    done = heartwood("config", "reference")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("web", "data", "work", "work.children", "loader", "observe"):
        assert f"## `[{name}]`" in done.stdout
    assert done.stdout == heartwood("config", "reference", env={"HEARTWOOD__DATA__POOL_SIZE": "77"}).stdout


def test_the_reference_of_plugins_imports_those_that_are_on(heartwood, tmp_path):
    """The settings of a plugin that somebody wrote are there; one that cannot be imported is said beside them."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "clock.py").write_text(
        "from attrs import frozen\nfrom heartwood.api import Plugin, setting\n\n\n"
        "@frozen\nclass Config:\n    'When it rings.'\n    at: str = setting('noon', help='The hour.')\n\n\n"
        "class Clock(Plugin):\n    config = Config\n"
    )
    (tmp_path / "mine" / "boom.py").write_text("raise SystemExit('imported')")
    toml = "[loader]\nplugins_dir = 'mine'\n[plugins.clock]\n[plugins.boom]\n[plugins.ocr]\nenabled = false\n"
    done = heartwood("config", "reference", "--plugins", toml=toml)
    assert (done.returncode, done.stderr) == (0, "plugin 'boom' is failed(import): SystemExit: imported\n")
    assert "## `[plugins.clock.config]`\n\nWhen it rings.\n" in done.stdout
    assert '| `at` | text | `"noon"` | The hour. |' in done.stdout
    assert "ocr.config" not in done.stdout.partition("## ")[2]


def test_no_plugin_and_no_server_is_imported():
    """Checking the configuration imports neither plugins nor the libraries of the server."""
    code = (
        "import sys; from heartwood.cli.app import root\n"
        "try: root(['config', 'check'], prog_name='heartwood')\n"
        "except SystemExit: pass\n"
        "print([name for name in ('heartwood_ocr', 'heartwood_metrics', 'aiohttp', 'asyncpg', 'sqlalchemy')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
