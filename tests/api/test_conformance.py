"""The conformance test refuses each bad guest with a sentence that says what is wrong, and where."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from heartwood.api import Plugin, hookimpl
from heartwood.testing import conformance

FOLDER = Path(__file__).parent / "bad_guests"

SENTENCES = {
    "connects_at_import": r"no I/O before its lifespan: socket\.getaddrinfo\(.*\) at import in line 9 of .*import\.py",
    "drifting_tables": "guest: add column: .*forgotten",
    "leaks_a_child": r"guest left behind child processes: process \d+",
    "leaks_a_socket": r"guest left behind sockets: socket:\[\d+\]",
    "leaks_a_task": "guest left behind tasks: the forgotten task",
    "leaks_a_thread": "guest left behind threads: the forgotten thread",
    "misspelt_optional_hook": r"guest: no plugin here specifies analitycs; name the one that does in beside=\[…\]",
    "missing_templates": "guest: there is no folder 'no_templates_here' in the package heartwood; pass None for it",
    "raising_collector": "guest made errors: metrics: OSError: the sensor is unplugged",
    "silent_route": "guest: the route hello says nothing about itself; give its handler a docstring",
    "starts_once": r"guest.* is failed\(start\): ValueError: started already",
    "undeclared_permission": "'guest' is .*'GET /hello' needs the permission 'guest.read', which nobody has declared",
    "undescribed_setting": "guest: the setting upstream.patience has no help; use setting",
    "untyped_answer": "Thing",
    "writes_in_a_hook": r"no I/O before its lifespan: open\(.*heartwood-guest'.*\) in a hook in line 14 of .*hook\.py",
}


@pytest.fixture(name="guest")
def _guest(monkeypatch):
    """Import the class of a bad guest; what it leaves behind is cleared away afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    modules = []

    def find(name):
        modules.append(importlib.import_module(name))
        return modules[0].Guest

    yield find
    forgotten = getattr(modules[0].Guest, "forgotten", None)
    for end in ("close", "set", "communicate"):
        if hasattr(forgotten, end):
            getattr(forgotten, end)()
    for name in [each for each in sys.modules if each.partition(".")[0] in SENTENCES]:
        del sys.modules[name]


def test_every_bad_guest_is_here():
    """The table of this test and the folder have the same names."""
    assert sorted(SENTENCES) == sorted(path.stem for path in FOLDER.iterdir() if path.name != "__pycache__")


@pytest.mark.parametrize("name", SENTENCES)
def test_a_bad_guest_is_refused_with_its_sentence(guest, name):
    """The author reads what is wrong and where."""
    with pytest.raises(AssertionError, match=SENTENCES[name]):
        conformance(guest(name))


class Quiet(Plugin):
    """A plugin that needs another one, as classes inside of a test module."""

    name = "quiet"
    requires = ("other",)


class Other(Plugin):
    """The other one."""

    name = "other"


def test_a_plugin_that_requires_another_conforms_beside_it():
    """Alone it is refused with a sentence, beside the other it passes."""
    with pytest.raises(AssertionError, match="plugin 'quiet' is skipped"):
        conformance(Quiet)

    conformance(Quiet, beside=[Other])


def test_a_plugin_has_a_name():
    """A class without a name is refused at once."""

    class Nameless(Plugin):
        pass

    with pytest.raises(AssertionError, match="Nameless has no name"):
        conformance(Nameless)


def test_settings_are_handed_in():
    """A plugin that cannot do without settings is given them, and a wrong one is an assertion with its sentence."""
    from attrs import frozen

    from heartwood.api import setting

    @frozen
    class Config:
        """What must be set."""

        answer: int = setting(help="The answer.")

    class Asking(Plugin):
        name = "asking"
        config = Config

        @hookimpl
        def permissions(self, ctx):
            assert 42 == ctx.config.answer
            return []

    with pytest.raises(AssertionError, match=r"answer: missing; it must be given"):
        conformance(Asking)

    conformance(Asking, config={"answer": 42})
