"""Finding plugins by metadata."""

from __future__ import annotations

import sys

from heartwood.cli.app import KERNEL_COMMANDS
from heartwood.config.sources import PluginSwitch
from heartwood.plugins.discovery import COMMANDS, discover
from heartwood.plugins.records import Phase, State

ON, OFF = PluginSwitch(), PluginSwitch(enabled=False)
NOTES = {"heartwood.plugins": {"notes": "no_such_notes.plugin:Notes"}}


def _found(switches, installed=(), folder=None):
    return {each.record.name: each for each in discover(switches, installed=installed, folder=folder)}


def test_a_package_is_read_without_being_imported(package):
    """Reference, distribution, version, prefixes, roots and commands come from entry points; no module is loaded."""
    points = NOTES | {
        "heartwood.prefixes": {"papers": "no_such_notes.plugin:Notes", "other": "other.plugin:Other"},
        "heartwood.roots": {"board": "no_such_notes.plugin:Notes"},
        "heartwood.commands": {"note": "no_such_notes.cli:note"},
    }

    found = _found({"notes": ON}, [package("acme-notes", points)])["notes"]

    assert State.FOUND is found.record.state
    assert ("acme-notes", "1.2") == (found.record.distribution, found.record.version)
    assert (("papers",), ("board",)) == (found.record.prefixes, found.record.roots)
    assert ("no_such_notes.plugin:Notes", ("note",)) == (found.reference, found.commands)
    assert "no_such_notes" not in sys.modules


def test_the_name_is_the_prefix_where_no_other_is_claimed(package):
    """A plugin without prefixes has its name, one with a root only has none."""
    rooted = {"heartwood.plugins": {"board": "b:B"}, "heartwood.roots": {"dash": "b:B"}}

    found = _found({"notes": ON, "board": ON}, [package("n", NOTES), package("b", rooted)])

    assert ("notes",) == found["notes"].record.prefixes
    assert () == found["board"].record.prefixes


def test_what_is_not_switched_on_is_disabled(package):
    """A plugin that is off, or that the configuration does not name, says which of the two."""
    other = {"heartwood.plugins": {"other": "other:Other"}}

    found = _found({"notes": OFF}, [package("n", NOTES), package("o", other)])

    assert ("disabled", "switched off") == (found["notes"].record.label, found["notes"].record.reason)
    assert ("disabled", "not named in the configuration") == (
        found["other"].record.label,
        found["other"].record.reason,
    )


def test_a_missing_plugin_is_answered_with_the_near_name(package):
    """A misspelt name is missing, and the sentence has what is installed and what was probably meant."""
    record = _found({"notse": PluginSwitch(required=True)}, [package("n", NOTES)])["notse"].record

    assert (State.MISSING, Phase.DISCOVER, True) == (record.state, record.phase, record.required)
    assert "no plugin 'notse' is installed; installed: notes; did you mean 'notes'?" == record.reason


def test_one_missing_plugin_is_not_told_of_another(package):
    """What is installed is what is installed, however many names the configuration gets wrong."""
    found = _found({"gone": ON, "gond": ON}, [package("n", NOTES)])

    assert "no plugin 'gond' is installed; installed: notes" == found["gond"].record.reason


def test_a_missing_plugin_that_is_off_is_disabled():
    """A switch that is off may name what is not installed."""
    assert State.DISABLED is _found({"gone": OFF})["gone"].record.state


def test_a_distribution_says_which_versions_it_works_with(package):
    """A range without this version makes it incompatible; extras and other packages do not count."""
    fits = ("heartwood-hub>=0.1", "other<1", 'heartwood_hub>=9; extra == "later"')
    old = {"heartwood.plugins": {"old": "o:O"}}

    found = _found(
        {"notes": ON, "old": ON},
        [package("n", NOTES, requires=fits), package("old-plugin", old, requires=("Heartwood_Hub<0.1",))],
    )

    assert State.FOUND is found["notes"].record.state
    assert (State.INCOMPATIBLE, Phase.DISCOVER) == (found["old"].record.state, found["old"].record.phase)
    assert "old-plugin 1.2 needs heartwood-hub<0.1, this is 0.1.0" == found["old"].record.reason


def test_a_name_that_cannot_be_a_schema_is_incompatible(package):
    """Names of the kernel's and PostgreSQL's schemas and names with other characters are refused."""
    points = {"heartwood.plugins": {"core": "c:C", "pg_x": "p:P", "No-Good": "n:N"}}

    found = _found({"core": ON, "pg_x": ON, "No-Good": ON}, [package("bad", points)])

    assert {State.INCOMPATIBLE} == {each.record.state for each in found.values()}
    assert "'No-Good' cannot be a plugin's name" in found["No-Good"].record.reason


def test_prefixes_and_roots_are_parts_of_a_path(package, tmp_path):
    """Others make the plugin incompatible and are left out, so that no gate is made of them, switched off or on."""
    points = {
        "heartwood.plugins": {"mine": "m:M", "{x}": "x:X", "off": "o:O"},
        "heartwood.prefixes": {"{y}": "m:M", "good": "m:M", "a/b": "o:O"},
        "heartwood.roots": {"A B": "m:M"},
    }
    (tmp_path / "{z}.py").write_text("")

    found = _found({"mine": ON, "{x}": ON, "{z}": ON}, [package("bad", points)], tmp_path)

    assert [("good",), (), (), ()] == [found[name].record.prefixes for name in ("mine", "{x}", "{z}", "off")]
    assert ((), State.INCOMPATIBLE) == (found["mine"].record.roots, found["mine"].record.state)
    assert found["mine"].record.reason.startswith("the prefix or root '{y}' cannot be part of a path")


def test_two_packages_with_the_same_plugin_are_both_named(package):
    """Neither is picked in silence; the same package found twice on the path is one."""
    twice = [package("first", NOTES), package("second", NOTES)]
    same = [package("n", NOTES), package("n", NOTES, folder="site2")]

    record = _found({"notes": ON}, twice)["notes"].record

    assert State.INCOMPATIBLE is record.state
    assert "first and second both bring a plugin 'notes'" == record.reason
    assert State.FOUND is _found({"notes": ON}, same)["notes"].record.state


def test_a_single_file_is_a_plugin(tmp_path):
    """Each ``*.py`` of the folder is one, its name is name and prefix; a leading underscore hides it."""
    (tmp_path / "hello.py").write_text("raise SystemExit")
    (tmp_path / "_shared.py").write_text("")

    found = _found({"hello": ON}, folder=tmp_path)

    assert ["hello"] == list(found)
    assert (("hello",), tmp_path / "hello.py") == (found["hello"].record.prefixes, found["hello"].file)


def test_a_clash_of_prefixes_names_both_owners(package):
    """The later by name fails; a plugin that is off claims nothing."""
    one = {"heartwood.plugins": {"alpha": "a:A"}, "heartwood.prefixes": {"papers": "a:A"}}
    two = {"heartwood.plugins": {"beta": "b:B"}, "heartwood.prefixes": {"papers": "b:B"}}
    installed = [package("a", one), package("b", two)]

    both = _found({"alpha": ON, "beta": ON}, installed)
    alone = _found({"alpha": OFF, "beta": ON}, installed)

    assert State.FOUND is both["alpha"].record.state
    assert "failed(discover)" == both["beta"].record.label
    assert "the prefix 'papers' of plugin 'beta' belongs to plugin 'alpha'" == both["beta"].record.reason
    assert State.FOUND is alone["beta"].record.state


def test_a_clash_of_commands_and_roots_names_both_owners(package):
    """Commands and roots are claimed like prefixes."""
    one = NOTES | {"heartwood.commands": {"note": "n:note"}}
    two = {"heartwood.plugins": {"other": "o:O"}, "heartwood.commands": {"note": "o:note"}}
    three = {"heartwood.plugins": {"board": "b:B"}, "heartwood.roots": {"dash": "b:B"}}
    four = {"heartwood.plugins": {"wall": "w:W"}, "heartwood.roots": {"dash": "w:W"}}
    installed = [package("n", one), package("o", two), package("b", three), package("w", four)]

    found = _found({"notes": ON, "other": ON, "board": ON, "wall": ON}, installed)

    assert "the command 'note' of plugin 'other' belongs to plugin 'notes'" == found["other"].record.reason
    assert "the root 'dash' of plugin 'wall' belongs to plugin 'board'" == found["wall"].record.reason


def test_what_the_kernel_has_cannot_be_claimed(package):
    """A reserved prefix and a command of the kernel fail with the kernel as their owner."""
    points = {"heartwood.plugins": {"mine": "m:M"}, "heartwood.prefixes": {"health": "m:M"}}
    serving = {"heartwood.plugins": {"other": "o:O"}, "heartwood.commands": {"serve": "o:serve"}}

    found = _found({"mine": ON, "other": ON}, [package("m", points), package("o", serving)])

    assert "the prefix 'health' of plugin 'mine' belongs to the kernel" == found["mine"].record.reason
    assert "the command 'serve' of plugin 'other' belongs to the kernel" == found["other"].record.reason


def test_the_commands_of_the_kernel_are_all_reserved():
    """What ``heartwood --help`` lists as the kernel's, no plugin may claim."""
    assert COMMANDS == set(KERNEL_COMMANDS)


def test_what_is_installed_here_is_found():
    """Without a list, the packages of this environment are looked at."""
    found = {each.record.name: each for each in discover({"ocr": ON})}

    assert "heartwood_ocr.plugin:OcrPlugin" == found["ocr"].reference
    assert ("documents",) == found["ocr"].record.prefixes
