"""What a role holds, and how scopes narrow it."""

from __future__ import annotations

import pytest

from heartwood.contracts.errors import Invalid
from heartwood.contracts.permissions import Role
from heartwood.identity.permissions import PermissionCatalog


def test_a_role_holds_what_names_it(catalog):
    """Members and readers hold what their role was given, the owner everything."""
    assert frozenset({"notes.read", "notes.write"}) == catalog.of(Role.MEMBER)
    assert frozenset({"notes.read"}) == catalog.of(Role.READER)
    assert frozenset({"*"}) == catalog.of(Role.OWNER)


def test_nothing_is_held_by_default():
    """Without permissions nobody but the owner may anything."""
    empty = PermissionCatalog([])
    assert frozenset() == empty.of(Role.MEMBER)
    assert frozenset() == empty.of(Role.READER)


@pytest.mark.parametrize(
    ("role", "scopes", "expected"),
    [
        (Role.OWNER, None, {"*"}),
        (Role.OWNER, ["notes.read"], {"notes.read"}),
        (Role.OWNER, ["*"], set()),
        (Role.OWNER, [], set()),
        (Role.MEMBER, None, {"notes.read", "notes.write"}),
        (Role.MEMBER, ["notes.write", "notes.purge", "*"], {"notes.write"}),
        (Role.READER, ["notes.write"], set()),
    ],
)
def test_scopes_narrow_and_never_widen(catalog, role, scopes, expected):
    """Scopes leave what is in both, whatever they say."""
    assert expected == catalog.narrowed(role, scopes)


def test_scopes_that_cannot_be_are_all_named(catalog):
    """An unknown permission and one that the role does not hold are refused together, in words."""
    with pytest.raises(Invalid) as caught:
        catalog.check_scopes(Role.READER, ["notes.read", "notes.write", "*", "note.read"])
    assert [
        "the role reader does not hold 'notes.write'",
        "there is no permission '*'; there are: notes.purge, notes.read, notes.write",
        "there is no permission 'note.read'; there are: notes.purge, notes.read, notes.write",
    ] == [fault.message for fault in caught.value.faults]


def test_the_owner_may_choose_among_all_that_is_declared(catalog):
    """What no role holds by default the owner does."""
    catalog.check_scopes(Role.OWNER, ["notes.purge"])
