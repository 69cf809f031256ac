"""From the header to an actor: what is accepted, what is remembered, and for how long."""

from __future__ import annotations

import asyncio
import time

import pytest

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.identity import authenticate as module
from heartwood.identity.tokens import new_text


def bearer(made) -> str:
    return f"Bearer {made.text}"


@pytest.fixture(name="hearing")
async def _hearing(identity, pool):
    """An identity that hears of changes."""
    async with identity.listening(pool):
        yield identity


@pytest.fixture(name="lookups")
def _lookups(identity, monkeypatch):
    """How often PostgreSQL was asked for a token, counted around the real question."""
    asked = []
    look_up = module.store.look_up

    async def counted(*arguments):
        asked.append(arguments)
        return await look_up(*arguments)

    monkeypatch.setattr(module.store, "look_up", counted)
    return asked


async def test_a_token_is_its_person(identity, office):
    """The actor has the person's id and name, and what their role may."""
    actor = await identity.authenticate(bearer(await office.make("mia")))
    assert (2, "mia", {"notes.read", "notes.write"}, "token") == (
        actor.person,
        actor.name,
        actor.permissions,
        actor.via,
    )


async def test_the_scheme_may_be_written_in_any_case(identity, office):
    """As RFC 9110 says."""
    made = await office.make("mia")
    assert await identity.authenticate(f"bearer {made.text}") == await identity.authenticate(f"BEARER {made.text}")


async def test_scopes_narrow_the_actor(identity, office):
    """A token with a scope may just that, also the owner's."""
    assert {"notes.read"} == (await identity.authenticate(bearer(await office.make(scopes=["notes.read"])))).permissions
    assert {"*"} == (await identity.authenticate(bearer(await office.make()))).permissions


async def test_a_scope_is_lost_with_the_role_that_held_it(identity, office):
    """A member who becomes a reader cannot write with an old token."""
    made = await office.make("mia", scopes=["notes.read", "notes.write"])
    await office.core.execute("update core.person set role = 'reader' where name = 'mia'")
    assert {"notes.read"} == (await identity.authenticate(bearer(made))).permissions


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic aHc6aHc=",
        "Bearer hw_short",
        "Bearer \udcff",
        "Bearer hw_" + "ä" * 43,
        "Bearer " + "hw_" * 100_000,
    ],
)
async def test_what_is_no_token_is_refused_without_asking(identity, lookups, header):
    """Only what has a token's shape reaches PostgreSQL."""
    assert await identity.authenticate(header) is None
    assert [] == lookups


async def test_a_token_that_was_never_made_is_nobody(identity, lookups):
    """PostgreSQL does not know it, and the answer is not remembered."""
    header = f"Bearer {new_text()}"
    assert [None, None] == [await identity.authenticate(header) for _ in range(2)]
    assert 2 == len(lookups)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update core.token set revoked_at = now()", "revoked"),
        ("update core.token set expires_at = now() - interval '1 second'", "expired"),
        ("update core.person set disabled_at = now() where name = 'mia'", "disabled"),
    ],
)
async def test_a_known_token_that_is_refused_says_why_in_the_log(identity, office, lines, change, reason):
    """Revoked, expired, or its person disabled: the log has the token's id, and not the token."""
    made = await office.make("mia")
    await office.core.execute(change)
    assert await identity.authenticate(bearer(made)) is None
    line = next(line for line in lines if line["event"] == "identity.refused")
    assert (made.id, "mia", reason) == (line["token"], line["person"], line["reason"])
    assert made.text not in repr(lines)


async def test_a_found_token_is_remembered(hearing, office, lookups):
    """A hundred requests ask PostgreSQL once."""
    header = bearer(await office.make("mia"))
    actors = [await hearing.authenticate(header) for _ in range(100)]
    assert 1 == len(lookups)
    assert 1 == len(set(actors))


async def test_nothing_is_remembered_without_notifications(identity, office, lookups):
    """Who would not hear of a revocation asks each time."""
    header = bearer(await office.make("mia"))
    for _ in range(3):
        assert await identity.authenticate(header)
    assert 3 == len(lookups)


async def test_a_revoked_token_is_forgotten_at_once(hearing, office, eventually):
    """The notification of the revocation drops it long before its five seconds are over."""
    made = await office.make("mia")
    started = time.monotonic()
    assert await hearing.authenticate(bearer(made))
    await office.end(made.id)

    async def refused():
        return await hearing.authenticate(bearer(made)) is None

    await eventually(refused, within=module.KEEP - 1)
    assert time.monotonic() - started < module.KEEP


async def test_what_is_remembered_is_asked_again_after_five_seconds(hearing, office, lookups, monkeypatch):
    """Also without a notification nothing older is used."""
    header = bearer(await office.make("mia"))
    now = time.monotonic()
    for later, expected in ((0.0, 1), (4.9, 1), (5.2, 2)):
        monkeypatch.setattr(module.time, "monotonic", lambda later=later: now + later)
        await hearing.authenticate(header)
        assert expected == len(lookups)


async def test_a_token_is_not_remembered_beyond_its_end(hearing, office, eventually):
    """One that expires in half a second is refused after it."""
    made = await office.make("mia")
    await office.core.execute("update core.token set expires_at = now() + interval '0.5 seconds'")
    started = time.monotonic()
    assert await hearing.authenticate(bearer(made))

    async def refused():
        return await hearing.authenticate(bearer(made)) is None

    await eventually(refused, within=3)
    assert time.monotonic() - started < 3


async def test_an_answer_from_before_a_change_is_not_remembered(hearing, office, lookups, monkeypatch):
    """A token that is revoked while PostgreSQL answers for it is asked for again."""
    header = bearer(await office.make("mia"))
    look_up = module.store.look_up

    async def overtaken(*arguments):
        found = await look_up(*arguments)
        hearing._forget()
        return found

    monkeypatch.setattr(module.store, "look_up", overtaken)
    await hearing.authenticate(header)
    await hearing.authenticate(header)
    assert 2 == len(lookups)


async def test_a_lost_line_forgets_everything(hearing, office, pool, lookups, eventually):
    """Notifications may have been missed, so PostgreSQL is asked again; once the line is back it is remembered."""
    header = bearer(await office.make("mia"))
    await hearing.authenticate(header)
    line = pool._line._connection
    await office.core.execute("select pg_terminate_backend($1)", line.get_server_pid())
    await eventually(lambda: pool._line._connection is not line and hearing._hearing, within=10)
    await hearing.authenticate(header)
    assert 2 == len(lookups)
    await hearing.authenticate(header)
    assert 2 == len(lookups)


async def test_nothing_is_remembered_after_the_context(identity, office, pool, lookups):
    """Where nobody listens any more, the memory is empty and stays so."""
    header = bearer(await office.make("mia"))
    async with identity.listening(pool):
        await identity.authenticate(header)
    await identity.authenticate(header)
    await identity.authenticate(header)
    assert 3 == len(lookups)


async def test_the_local_token_is_the_owner(identity, local, lookups):
    """It needs no row, and says by its ``via`` how they came."""
    actor = await identity.authenticate(f"Bearer {local}")
    assert (1, "owner", {"*"}, "local") == (actor.person, actor.name, actor.permissions, actor.via)
    assert [] == lookups


async def test_the_owner_has_the_id_of_the_local_token(office):
    """The first revision makes the owner, and so the row that the local token stands for."""
    assert (1, "owner") == tuple(await office.core.fetchrow("select id, role from core.person where name = 'owner'"))


async def test_the_local_token_works_while_postgresql_is_away(identity, local, pool):
    """Others are not known then, which is 503 and not 401."""
    await pool.close()
    pool._line.down_since = time.monotonic()
    assert await identity.authenticate(f"Bearer {local}")
    with pytest.raises(DatabaseUnavailable):
        await identity.authenticate(f"Bearer {new_text()}")


async def test_use_is_noted_once_a_minute(identity, office):
    """The first use is, the next is not, and one after more than a minute is again."""
    made = await office.make("mia")
    seen = []
    for age in (None, "0 seconds", "61 seconds"):
        if age:
            await office.core.execute(f"update core.token set last_used_at = last_used_at - interval '{age}'")
        before = await office.core.fetchval("select last_used_at from core.token")
        await identity.authenticate(bearer(made))
        seen.append(before != await office.core.fetchval("select last_used_at from core.token"))
    assert [True, False, True] == seen


async def test_many_tokens_at_once_are_kept_apart(hearing, office):
    """Each request has its own actor, whoever else asks at the time."""
    headers = {name: bearer(await office.make(name)) for name in ("owner", "mia", "rita")}
    names = list(headers) * 50
    actors = await asyncio.gather(*(hearing.authenticate(headers[name]) for name in names))
    assert names == [actor.name for actor in actors]
