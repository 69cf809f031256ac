"""API tokens: 256 random bits that are shown once and kept as their SHA-256.

So many bits need no slow hash (OWASP ASVS 5.0, 6.5.2): nobody finds them by trying.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from attrs import frozen

from heartwood.contracts.errors import Fault, Forbidden, Invalid, NotFound
from heartwood.contracts.people import EVERYTHING
from heartwood.identity import store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from heartwood.contracts.data import Transaction
    from heartwood.identity.permissions import PermissionCatalog
    from heartwood.identity.store import Person

PREFIX = "hw_"
_BYTES = 32
_SHAPE = re.compile(r"hw_[A-Za-z0-9_-]{43}")
DEFAULT_DAYS = 90
LONGEST_DAYS = 3650
LONGEST_NAME = 100


@frozen
class NewToken:
    """A token that was just made; ``text`` is known to nobody after this."""

    id: int
    text: str
    expires: datetime


def new_text() -> str:
    """Return the text of a new token."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def hash_of(text: str) -> bytes | None:
    """Return the SHA-256 of a token's text, or None where it does not look like a token at all."""
    return hashlib.sha256(text.encode()).digest() if _SHAPE.fullmatch(text) else None


async def create_token(
    tx: Transaction,
    catalog: PermissionCatalog,
    person: Person,
    *,
    name: str,
    scopes: Sequence[str] | None = None,
    days: int = DEFAULT_DAYS,
) -> NewToken:
    """Make a token for ``person``. It never grants what the person, or whoever makes it, does not hold.

    Args:
        tx: the transaction of whoever makes it.
        catalog: the permissions there are.
        person: for whom.
        name: what it is for, in the person's own words.
        scopes: the permissions it is good for; None is all that the person may, now and later.
        days: until it expires.

    Raises:
        Invalid: the name, the days or a scope cannot be; every fault is listed.
        Forbidden: the maker may less than the token would, or makes it for somebody else without being the owner.
    """
    _check(name, days)
    if scopes is not None:
        catalog.check_scopes(person.role, scopes)
    _check_maker(tx, person, catalog.narrowed(person.role, scopes))
    text = new_text()
    sha256 = hashlib.sha256(text.encode()).digest()
    number, expires = await store.insert_token(tx, person, name, sha256, scopes=scopes, days=days)
    await tx.audit("tokens.create", f"token {number}", name=name, person=person.name, scopes=scopes, days=days)
    return NewToken(number, text, expires)


async def revoke_token(tx: Transaction, token: int) -> str:
    """End a token at once and return its name; ending it twice changes nothing.

    Raises:
        NotFound: there is no such token, or it is somebody else's.
    """
    name = await store.revoke(tx, token)
    if name is None:
        msg = f"There is no token {token}"
        raise NotFound(msg)
    await tx.audit("tokens.revoke", f"token {token}", name=name)
    return name


def _check(name: str, days: int) -> None:
    faults = []
    if not 0 < len(name) <= LONGEST_NAME:
        faults.append(Fault("name", f"expected 1 to {LONGEST_NAME} characters, got {len(name)}"))
    if not 0 < days <= LONGEST_DAYS:
        faults.append(Fault("days", f"expected 1 to {LONGEST_DAYS}, got {days}"))
    if faults:
        msg = f"The token cannot be made: {'; '.join(f'{fault.where}: {fault.message}' for fault in faults)}"
        raise Invalid(msg, faults=faults)


def _check_maker(tx: Transaction, person: Person, granted: frozenset[str]) -> None:
    maker = tx.actor
    if maker.may(EVERYTHING):
        return
    if maker.person != person.id:
        msg = f"{maker.name} may not make a token for {person.name}: only the owner makes tokens for others"
        raise Forbidden(msg)
    missing = sorted(granted - maker.permissions)
    if missing:
        msg = f"{maker.name} may not make a token that grants more than their own: {', '.join(missing)}"
        raise Forbidden(msg)
