"""Which plugin a source file belongs to."""

from __future__ import annotations

import importlib
import sys

import pytest

from heartwood.assembly import owner_of
from heartwood.config.sources import PluginSwitch
from heartwood.plugins.discovery import Candidate, discover
from heartwood.plugins.loader import load
from heartwood.plugins.records import Record

TEXT = "from heartwood.api import Plugin\nclass P(Plugin):\n    name = {name!r}\n"


@pytest.fixture(name="owner")
def _owner(tmp_path, monkeypatch):
    """Import plugins of all shapes from one folder; returns what tells the owner of a file below it."""
    monkeypatch.syspath_prepend(tmp_path)
    shapes = {
        "hw_bell": "hw_bell/plugin.py",
        "hw_bell_tools": "hw_bell_tools/plugin.py",
        "hw_inner": "hw_bell/inner/plugin.py",
        "hw_one": "hw_one.py",
    }
    records = [Record("missing")]
    for name, path in shapes.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TEXT.format(name=name))
        records.append(Record(name))
        load(Candidate(records[-1], f"{path[:-3].replace('/', '.')}:P"), None, timeout=5.0)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "hw_file.py").write_text(TEXT.format(name="hw_file"))
    (single,) = discover({"hw_file": PluginSwitch()}, folder=tmp_path / "files", installed=())
    load(single, None, timeout=5.0)
    find = owner_of([*records, single.record])
    yield lambda path: find(str(tmp_path / path))
    for module in [each for each in sys.modules if each.startswith(("hw_", "heartwood_file_hw_"))]:
        del sys.modules[module]
    importlib.invalidate_caches()


def test_a_file_belongs_to_the_plugin_whose_package_it_lies_in(owner):
    """A name that only starts alike, a neighbour of a single module and a stranger belong to nobody."""
    asked = {
        "hw_bell/plugin.py": "hw_bell",
        "hw_bell/deep/er/store.py": "hw_bell",
        "hw_bell_tools/service.py": "hw_bell_tools",
        "hw_bell/inner/x.py": "hw_inner",
        "hw_one.py": "hw_one",
        "files/hw_file.py": "hw_file",
        "hw_bells/plugin.py": None,
        "other.py": None,
        "files/other.py": None,
    }

    assert asked == {path: owner(path) for path in asked}
