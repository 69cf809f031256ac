"""Switching a plugin changes one value and nothing else in the operator's file."""

from __future__ import annotations

import os
import stat
import tomllib

import pytest

from heartwood.config.edit import set_enabled
from heartwood.config.findings import ConfigError

OPERATORS_FILE = """\
# my hub

[data]   # keep this
pool_size = 10

[plugins.ocr]
required = true   # the reason why we are here
enabled = true    # set by hand

[plugins.ocr.config]
languages = ["deu", "eng"]  # both

[plugins]
ai = { enabled = true, required = false }
"""


@pytest.fixture(name="file")
def _file(tmp_path):
    return tmp_path / "plugins.toml"


def test_only_the_switch_changes(file):
    """Comments, order and blank lines stay; one word is another."""
    file.write_text(OPERATORS_FILE.rpartition("[plugins]")[0])
    set_enabled(file, "ocr", False)
    expected = OPERATORS_FILE.rpartition("[plugins]")[0].replace("enabled = true    # set", "enabled = false    # set")
    assert expected == file.read_text()


def test_a_switch_is_added_where_there_is_none(file):
    """A plugin that the file does not name gets a table of its own below what is there."""
    file.write_text("# mine\n[data]\npool_size = 10\n")
    set_enabled(file, "ocr", True)
    assert file.read_text().startswith("# mine\n[data]\npool_size = 10\n")
    assert tomllib.loads(file.read_text()) == {"data": {"pool_size": 10}, "plugins": {"ocr": {"enabled": True}}}


@pytest.mark.parametrize(
    "text", ["[plugins]\nocr = { required = true }\n", "plugins.ocr.required = true\n", "[plugins.ocr.config]\nx = 1\n"]
)
def test_every_way_to_write_a_table_is_understood(file, text):
    """Inline tables, dotted keys and tables that exist only through a table below are switched as well."""
    file.write_text(text)
    set_enabled(file, "ocr", False)
    before, after = tomllib.loads(text)["plugins"]["ocr"], tomllib.loads(file.read_text())["plugins"]["ocr"]
    assert before | {"enabled": False} == after


def test_a_missing_file_is_made(file):
    """Without a file one is made that holds the switch."""
    set_enabled(file, "ocr", False)
    assert tomllib.loads(file.read_text()) == {"plugins": {"ocr": {"enabled": False}}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_mode_and_links_stay(file, tmp_path):
    """The new file has the old one's mode, and a link still points at it."""
    real = tmp_path / "real.toml"
    real.write_text("[plugins.ocr]\nenabled = true\n")
    real.chmod(0o640)
    file.symlink_to(real)
    set_enabled(file, "ocr", False)
    assert file.is_symlink()
    assert real.read_text() == "[plugins.ocr]\nenabled = false\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[plugins\n", ":1: is not TOML: Expected ']' at the end of a table declaration in column 9"),
        ("plugins = 3\n", " plugins.ocr: expected a table such as [plugins.ocr]"),
        ("[plugins]\nocr = true\n", " plugins.ocr: expected a table such as [plugins.ocr]"),
    ],
)
def test_a_file_that_cannot_be_edited_stays_as_it_is(file, text, sentence):
    """A broken file is refused with a sentence and not touched."""
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        set_enabled(file, "ocr", False)
    assert f"{file}{sentence}" == str(refused.value)
    assert text == file.read_text()


def test_a_crash_leaves_the_old_file(file, monkeypatch):
    """When the disk fails before the rename the old text is there, and nothing else."""

    def broken(_):
        raise OSError(5, "Input/output error")

    file.write_text("[plugins.ocr]\nenabled = true\n")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ConfigError, match="cannot be written: Input/output error"):
        set_enabled(file, "ocr", False)
    assert [path.name for path in file.parent.iterdir()] == ["plugins.toml"]
    assert file.read_text() == "[plugins.ocr]\nenabled = true\n"
