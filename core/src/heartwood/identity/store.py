"""The SQL of people and their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from heartwood.contracts.people import EVERYTHING
from heartwood.contracts.permissions import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heartwood.contracts.data import Queries, Transaction
    from heartwood.contracts.people import Actor

CHANNEL = "heartwood_identity"
"""Every process drops what it remembers of tokens at a notification of this channel."""

_TOLD = f"select pg_notify('{CHANNEL}', '')"


@frozen
class Person:
    """Whoever may ask for something."""

    id: int
    name: str
    role: Role
    disabled: bool


@frozen
class TokenInfo:
    """An API token as it is listed: everything but its text. ``scopes`` None is all that the person may."""

    id: int
    person: str
    name: str
    scopes: list[str] | None
    created: datetime
    expires: datetime | None
    last_used: datetime | None
    revoked: datetime | None


@frozen
class Credential:
    """What a token stands for. ``refused`` says in a word why it is not accepted; ``left`` is seconds to its end."""

    token: int
    scopes: list[str] | None
    person: int
    name: str
    role: str
    refused: str | None
    left: float | None
    unmarked: bool


PERSON = "select id, name, role, disabled_at is not null as disabled from core.person where name = $1"

NAMES = "select name from core.person order by name"

PERSON_BY_ID = "select id, name, role, disabled_at is not null as disabled from core.person where id = $1"
LOOK_UP = """
select token.id as token, token.scopes, person.id as person, person.name, person.role,
    case
        when token.revoked_at is not null then 'revoked'
        when token.expires_at <= now() then 'expired'
        when person.disabled_at is not null then 'disabled'
    end as refused,
    extract(epoch from token.expires_at - now())::float8 as "left",
    coalesce(token.last_used_at < now() - interval '1 minute', true) as unmarked
from core.token join core.person on person.id = token.person
where token.sha256 = $1
"""

MARK_USED = "update core.token set last_used_at = now() where id = $1"

INSERT = """
insert into core.token (person, name, sha256, scopes, expires_at)
values ($1, $2, $3, $4, now() + $5 * interval '1 day')
returning id, expires_at
"""

TOKENS = """
select token.id, person.name as person, token.name, token.scopes, token.created_at as created,
    token.expires_at as expires, token.last_used_at as last_used, token.revoked_at as revoked
from core.token join core.person on person.id = token.person
where $1 or person.id = $2
order by token.id
"""

REVOKE = """
update core.token set revoked_at = coalesce(revoked_at, now())
where id = $1 and ($2 or person = $3)
returning name
"""


async def person_named(queries: Queries, name: str) -> Person | None:
    """Return the person of that name."""
    row = await queries.fetchrow(PERSON, name)
    return None if row is None else Person(row["id"], row["name"], Role(row["role"]), row["disabled"])


async def person_of(queries: Queries, number: int) -> Person | None:
    """Return the person with that id."""
    row = await queries.fetchrow(PERSON_BY_ID, number)
    return None if row is None else Person(row["id"], row["name"], Role(row["role"]), row["disabled"])


async def names(queries: Queries) -> list[str]:
    """Return the names of all people."""
    return [row["name"] for row in await queries.fetch(NAMES)]


async def look_up(queries: Queries, sha256: bytes) -> Credential | None:
    """Return what the token with this hash stands for."""
    row = await queries.fetchrow(LOOK_UP, sha256)
    return None if row is None else Credential(**row)


async def mark_used(queries: Queries, token: int) -> None:
    """Note that a token is in use now."""
    await queries.execute(MARK_USED, token)


async def insert_token(
    tx: Transaction, person: Person, name: str, sha256: bytes, *, scopes: Sequence[str] | None, days: int
) -> tuple[int, datetime]:
    """Add a token; return its id and when it expires."""
    row = await tx.fetchrow(INSERT, person.id, name, sha256, scopes, days)
    assert row is not None, "an insert returns its row"  # noqa: S101  (for the type checker)
    return row["id"], row["expires_at"]


async def tokens_of(queries: Queries, actor: Actor) -> list[TokenInfo]:
    """Return the actor's tokens, or everybody's where the actor may everything."""
    rows = await queries.fetch(TOKENS, actor.may(EVERYTHING), actor.person)
    return [TokenInfo(**row) for row in rows]


async def revoke(tx: Transaction, token: int) -> str | None:
    """End a token of the actor's, or anybody's where the actor may everything; return its name."""
    name: str | None = await tx.fetchval(REVOKE, token, tx.actor.may(EVERYTHING), tx.actor.person)
    await tx.execute(_TOLD)
    return name
