"""Making, listing and ending API tokens."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from heartwood.contracts.errors import Forbidden, Invalid, NotFound
from heartwood.contracts.people import Actor
from heartwood.identity import store
from heartwood.identity.people import find_person
from heartwood.identity.tokens import hash_of, new_text

MIA = Actor(2, "mia", frozenset({"notes.read", "notes.write"}), "token")


def test_a_token_has_256_random_bits():
    """Its text is the prefix and 43 characters of base64url, and never the same."""
    texts = {new_text() for _ in range(1000)}
    assert 1000 == len(texts)
    assert all(re.fullmatch(r"hw_[A-Za-z0-9_-]{43}", text) for text in texts)


@pytest.mark.parametrize("text", ["", "hw_", "hw_" + "a" * 42, "hw_" + "a" * 44, "xx_" + "a" * 43, "hw_" + "ä" * 43])
def test_what_does_not_look_like_a_token_has_no_hash(text):
    """Neither length nor alphabet nor prefix may differ."""
    assert hash_of(text) is None


async def test_only_the_hash_is_kept(office):
    """The row holds the SHA-256 and nothing in core holds the text; the audit says who made it, not what it is."""
    made = await office.make(scopes=["notes.read"], name="laptop")
    row = await office.core.fetchrow("select * from core.token")
    assert hashlib.sha256(made.text.encode()).digest() == row["sha256"]
    audit = await office.core.fetchrow("select action, subject, actor, detail from core.audit")
    assert ("tokens.create", f"token {made.id}", "command line") == tuple(audit)[:3]
    assert {"name": "laptop", "person": "owner", "scopes": ["notes.read"], "days": 90} == json.loads(audit["detail"])
    assert made.text not in repr((dict(row), dict(audit)))


async def test_a_token_expires_after_90_days(office):
    """Unless another time is asked for."""
    made, short = await office.make(), await office.make(days=1)
    now = datetime.now(UTC)
    assert timedelta(days=90) == round_hours(made.expires - now)
    assert timedelta(days=1) == round_hours(short.expires - now)


def round_hours(span: timedelta) -> timedelta:
    return timedelta(hours=round(span.total_seconds() / 3600))


async def test_a_name_and_an_end_are_needed(office):
    """Both faults are named at once, and nothing is made."""
    with pytest.raises(Invalid) as caught:
        await office.make(name="", days=0)
    assert ["name", "days"] == [fault.where for fault in caught.value.faults]
    assert 0 == await office.core.fetchval("select count(*) from core.token")


@pytest.mark.parametrize(
    ("person", "scopes"), [("mia", ["notes.purge"]), ("rita", ["notes.write"]), ("owner", ["*"]), ("owner", ["x.y"])]
)
async def test_scopes_are_a_subset_of_what_the_person_may(office, person, scopes):
    """A superset is refused, also where the owner asks for it."""
    with pytest.raises(Invalid, match="cannot have these scopes"):
        await office.make(person, scopes=scopes)


async def test_a_token_makes_none_that_grants_more_than_itself(office):
    """Who came with a narrowed token makes narrowed tokens: neither a wider scope nor none at all."""
    narrow = Actor(2, "mia", frozenset({"notes.read"}), "token")
    for scopes in (["notes.write"], ["notes.read", "notes.write"], None):
        with pytest.raises(Forbidden, match=r"grants more than their own: notes\.write"):
            await office.make("mia", maker=narrow, scopes=scopes)
    assert (await office.make("mia", maker=narrow, scopes=["notes.read"])).text.startswith("hw_")


async def test_the_owners_narrowed_token_is_narrowed_too(office):
    """A token of the owner with one scope cannot make one with everything."""
    narrow = Actor(1, "owner", frozenset({"notes.read"}), "token")
    with pytest.raises(Forbidden, match=r"more than their own: \*"):
        await office.make("owner", maker=narrow)


async def test_only_the_owner_makes_tokens_for_others(office):
    """A member may not, whatever the scope."""
    with pytest.raises(Forbidden, match="mia may not make a token for rita"):
        await office.make("rita", maker=MIA, scopes=["notes.read"])


async def test_an_unknown_person_is_answered_with_the_nearest_name(office):
    """And a disabled one gets nothing."""
    with pytest.raises(NotFound, match=r"nobody called 'mai'; did you mean 'mia'\?"):
        await find_person(office.core, "mai")
    with pytest.raises(NotFound, match="dora is disabled"):
        await find_person(office.core, "dora")


async def test_a_person_sees_and_ends_their_own_tokens_only(office):
    """Another's token is not listed and, to them, not there; the owner sees and ends all."""
    mine, other = await office.make("mia"), await office.make("rita")
    assert [mine.id] == [token.id for token in await store.tokens_of(office.core, MIA)]
    with pytest.raises(NotFound, match=f"There is no token {other.id}"):
        await office.end(other.id, maker=MIA)
    owner = Actor(1, "owner", frozenset({"*"}), "local")
    assert [mine.id, other.id] == [token.id for token in await store.tokens_of(office.core, owner)]
    assert "test" == await office.end(other.id, maker=owner)


async def test_ending_twice_changes_nothing(office):
    """The first time stays."""
    made = await office.make()
    await office.end(made.id)
    first = (await store.tokens_of(office.core, Actor(None, "x", frozenset({"*"}), "command")))[0].revoked
    await office.end(made.id)
    assert first == await office.core.fetchval("select revoked_at from core.token")
    assert first is not None
