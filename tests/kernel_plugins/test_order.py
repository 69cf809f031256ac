"""The order in which plugins start."""

from __future__ import annotations

from heartwood.plugins.order import in_order
from heartwood.plugins.records import Phase, Record, State


def _names(*records):
    return [record.name for record in in_order(records)]


def test_ties_are_broken_by_name():
    """Plugins that need nothing of each other start in the order of their names."""
    assert ["a", "b", "c"] == _names(Record("c"), Record("a"), Record("b"))


def test_a_plugin_starts_after_what_it_requires_and_follows():
    """``requires`` and ``after`` both order."""
    assert ["c", "b", "a"] == _names(Record("a", requires=("b",)), Record("b", after=("c",)), Record("c"))


def test_after_does_not_need_the_other():
    """What is only followed may be absent or off."""
    assert ["a"] == _names(Record("a", after=("gone", "b")), Record("b", state=State.DISABLED))


def test_what_needs_an_absent_plugin_is_skipped_with_those_that_need_it():
    """The reason names the plugin and its state, along the whole chain."""
    a, b = Record("a", requires=("gone",)), Record("b", requires=("a",))

    assert [] == in_order([a, b])
    assert "skipped(needs gone, which is not installed)" == a.label
    assert "skipped(needs a, which is skipped(needs gone, which is not installed))" == b.label


def test_what_needs_a_failed_plugin_is_skipped():
    """A failed import of one skips the other, and nothing else."""
    failed, free = Record("a"), Record("c")
    failed.fail(Phase.IMPORT, "no")
    needy = Record("b", requires=("a",))

    assert [free] == in_order([failed, needy, free])
    assert "skipped(needs a, which is failed(import))" == needy.label


def test_a_circle_is_named_and_the_others_start():
    """All in the circle fail with the same sentence, those that need them are skipped, the rest is in order."""
    a, b, c = Record("a", requires=("b",)), Record("b", requires=("c",)), Record("c", after=("a",))
    needy, free = Record("d", requires=("a",)), Record("e")

    assert [free] == in_order([c, b, a, needy, free])
    assert {"these start after each other: a → b → c → a"} == {a.reason, b.reason, c.reason}
    assert "failed(discover)" == a.label
    assert State.SKIPPED is needy.state


def test_two_circles_are_both_named():
    """Every circle is found in one go."""
    a, b = Record("a", requires=("b",)), Record("b", requires=("a",))
    c = Record("c", requires=("c",))

    assert [] == in_order([a, b, c])
    assert "these start after each other: a → b → a" == a.reason
    assert "these start after each other: c → c" == c.reason
