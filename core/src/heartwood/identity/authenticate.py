"""Who asks: from the ``Authorization`` header to an actor."""

from __future__ import annotations

import hashlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from heartwood.contracts.errors import DatabaseUnavailable
from heartwood.contracts.people import Actor
from heartwood.contracts.permissions import Role
from heartwood.identity import store
from heartwood.identity.people import LOCAL_OWNER
from heartwood.identity.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from heartwood.contracts.data import Database
    from heartwood.data.pool import Pool
    from heartwood.identity.permissions import PermissionCatalog
    from heartwood.identity.store import Credential

KEEP = 5.0
"""Seconds that a found token is remembered; a revoked one is forgotten by notification, this is the longest without."""

_SCHEME = "bearer "


class Identity:
    """Knows the people of this hub by their tokens, which come in the header and nowhere else.

    Tokens are remembered only inside of :meth:`listening`, while notifications come in.

    Args:
        database: the kernel's way to PostgreSQL.
        catalog: what each role may.
        local_token: the text of the local token, good also while PostgreSQL is away; None where there is none.
        log: told of tokens that are known and refused, by their ids.
    """

    def __init__(self, database: Database, catalog: PermissionCatalog, local_token: str | None, log: Any) -> None:
        self._database = database
        self._catalog = catalog
        self._local = None if local_token is None else hashlib.sha256(local_token.encode()).digest()
        self._log = log
        self._known: dict[bytes, tuple[Actor, float]] = {}
        self._hearing = False
        self._turn = 0

    async def authenticate(self, authorization: str | None) -> Actor | None:
        """Return the actor behind ``Authorization: Bearer <token>``, or None where it is none that is valid.

        Raises:
            DatabaseUnavailable: whether the token is valid cannot be known now.
        """
        if authorization is None or authorization[:7].lower() != _SCHEME:
            return None
        sha256 = hash_of(authorization[7:])
        if sha256 is None:
            return None
        known = self._known.get(sha256)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        return LOCAL_OWNER if sha256 == self._local else await self._ask(sha256)

    @asynccontextmanager
    async def listening(self, pool: Pool) -> AsyncIterator[None]:
        """Remember tokens for as long as the context lasts, and forget them when one is changed anywhere."""
        listener = pool.listener(store.CHANNEL, self._forget, on_connected=self._connected, on_lost=self._lost)
        async with listener:
            try:
                yield
            finally:
                self._lost()

    async def _ask(self, sha256: bytes) -> Actor | None:
        turn, asked = self._turn, time.monotonic()
        found = await store.look_up(self._database, sha256)
        if found is None:
            return None
        if found.refused is not None:
            self._log.info("identity.refused", token=found.token, person=found.name, reason=found.refused)
            return None
        actor = self._actor(found)
        if self._hearing and turn == self._turn:  # else something has changed since the question
            self._known[sha256] = (actor, asked + min(KEEP, KEEP if found.left is None else found.left))
        if found.unmarked:
            await self._mark_used(found.token)
        return actor

    def _actor(self, found: Credential) -> Actor:
        permissions = self._catalog.narrowed(Role(found.role), found.scopes)
        return Actor(found.person, found.name, permissions, "token")

    async def _mark_used(self, token: int) -> None:
        try:
            await store.mark_used(self._database, token)
        except DatabaseUnavailable as error:  # the token is valid all the same; the next use is noted
            self._log.info("identity.use_not_noted", token=token, reason=error.detail)

    def _forget(self, _payload: str = "") -> None:
        self._turn += 1
        self._known.clear()

    def _connected(self) -> None:
        self._hearing = True
        self._forget()

    def _lost(self) -> None:
        self._hearing = False
        self._forget()
