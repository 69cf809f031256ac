"""Importing plugins."""

from __future__ import annotations

import sys
import threading
import time

import pytest
import structlog
from structlog.testing import LogCapture

from heartwood.config.sources import PluginSwitch
from heartwood.plugins.discovery import Candidate, discover
from heartwood.plugins.loader import adopt, load
from heartwood.plugins.plugin import Plugin
from heartwood.plugins.records import Phase, Record, State

GOOD = """
from heartwood.api import Plugin

class Hello(Plugin):
    requires = ("ocr",)
    after = ("metrics",)
"""


@pytest.fixture(name="lines")
def _lines():
    return LogCapture()


@pytest.fixture(name="log")
def _log(lines):
    return structlog.wrap_logger(None, processors=[lines])


@pytest.fixture(name="loaded")
def _loaded(tmp_path, log):
    """Write a single-file plugin ``hello`` with this text, find it, load it; returns its record."""

    def load_text(text, *, timeout=5.0):
        (tmp_path / "hello.py").write_text(text)
        (candidate,) = discover({"hello": PluginSwitch()}, folder=tmp_path, installed=())
        load(candidate, log, timeout=timeout)
        return candidate.record

    yield load_text
    sys.modules.pop("heartwood_file_hello", None)


@pytest.fixture(name="imported")
def _imported(tmp_path, monkeypatch, log):
    """Put a module of this text on the path and load ``module:attribute`` under the name ``hello``."""
    monkeypatch.syspath_prepend(tmp_path)
    number = iter(range(9))

    def load_module(text, attribute="Hello"):
        module = f"hello_module_{next(number)}_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(text)
        record = Record("hello")
        load(Candidate(record, f"{module}:{attribute}"), log, timeout=5.0)
        sys.modules.pop(module, None)
        return record

    return load_module


def test_a_single_file_is_loaded(loaded):
    """The instance is made, its name is the file's, and what it requires is known."""
    record = loaded(GOOD)

    assert State.FOUND is record.state, record.reason
    assert "hello" == record.plugin.name
    assert (("ocr",), ("metrics",)) == (record.requires, record.after)
    assert 0 < record.import_seconds < 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def (", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise BaseException('no')", "BaseException: no"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("x = 1", "has 0 subclasses of Plugin; a single-file plugin has one"),
        (GOOD + "\nclass Second(Plugin): pass", "has 2 subclasses of Plugin"),
        (GOOD + "\n    def __init__(self): raise SystemExit(4)", "SystemExit: 4"),
        (GOOD + "\n    name = 'other'", "the file is called hello.py and the class calls itself 'other'"),
        (GOOD.replace('("ocr",)', '("ocr")'), "requires of plugin 'hello' must be a tuple of names"),
    ],
)
def test_whatever_the_code_raises_fails_the_plugin_only(loaded, text, sentence):
    """Errors, exits and wrong classes become ``failed(import)`` with a sentence."""
    record = loaded(text)

    assert "failed(import)" == record.label
    assert sentence in record.reason
    assert record.plugin is None
    assert "import" == record.failures[-1].where


def test_a_sleeping_import_costs_its_limit_only(loaded, lines):
    """A quarter of the limit is warned of, the limit is named, and what the thread finds later changes nothing."""
    woken = threading.Event()
    sys.modules["hello_alarm"] = woken
    try:
        started = time.monotonic()
        record = loaded("import hello_alarm; hello_alarm.wait(10)\n" + GOOD, timeout=0.2)
        took = time.monotonic() - started
        woken.set()
        thread = next((each for each in threading.enumerate() if each.name == "import hello"), None)
        if thread is not None:
            thread.join(5)
    finally:
        del sys.modules["hello_alarm"]

    assert took < 2
    warning = {"event": "plugin.slow_import", "plugin": "hello", "seconds": 0.05, "limit": 0.2, "log_level": "warning"}
    assert [warning] == lines.entries
    assert "failed(import)" == record.label
    assert "the import took longer than 0.2 s (loader.import_timeout)" == record.reason
    assert record.plugin is None


def test_a_sleeping_init_is_under_the_limit_too(loaded):
    """Making the instance belongs to the import."""
    record = loaded("import time\n" + GOOD + "\n    def __init__(self): time.sleep(1)", timeout=0.1)

    assert "the import took longer than 0.1 s (loader.import_timeout)" == record.reason


def test_another_api_number_is_incompatible(loaded):
    """The sentence has both numbers, and no instance is made."""
    record = loaded(GOOD + "\n    api = 7\n    def __init__(self): raise AssertionError")

    assert (State.INCOMPATIBLE, Phase.IMPORT) == (record.state, record.phase)
    assert "plugin 'hello' was written for plugin API 7, this is 1" == record.reason


def test_a_package_is_loaded_by_its_entry_point(imported):
    """The class is found by name; a wrong name, a wrong kind and a wrong attribute are sentences."""
    good = "from heartwood.api import Plugin\nclass Hello(Plugin):\n    name = 'hello'\n"

    assert "hello" == imported(good).plugin.name
    assert "is not a subclass of heartwood.api.Plugin" in imported("Hello = 3").reason
    assert "has no attribute 'Hallo'" in imported(good, "Hallo").reason
    misnamed = imported(good.replace("'hello'", "'hallo'"))
    assert "the entry point is called 'hello' and the class calls itself 'hallo'" == misnamed.reason


def test_a_class_is_adopted_as_it_is():
    """Tests hand classes over; an instance is made for each record, so two hubs share none."""

    class Given(Plugin):
        name = "given"

    one, two = Record("given"), Record("given")
    adopt(one, Given)
    adopt(two, Given)

    assert isinstance(one.plugin, Given)
    assert one.plugin is not two.plugin
