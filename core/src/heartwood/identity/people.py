"""Finding people by their names, and who the owner is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from heartwood.config.structure import closest
from heartwood.contracts.errors import NotFound
from heartwood.contracts.people import EVERYTHING, Actor
from heartwood.identity import store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heartwood.contracts.data import Queries
    from heartwood.identity.permissions import PermissionCatalog
    from heartwood.identity.store import Person

OWNER = "owner"
"""The name that the first revision gives to the owner."""

LOCAL_OWNER = Actor(person=1, name=OWNER, permissions=frozenset({EVERYTHING}), via="local")
"""Whoever can read the file of the local token. The first revision makes the owner, whose id therefore is 1."""


async def find_person(queries: Queries, name: str) -> Person:
    """Return the person called ``name``.

    Raises:
        NotFound: there is none, or they are disabled; the sentence says who there is.
    """
    person = await store.person_named(queries, name)
    if person is None:
        msg = f"There is nobody called {name!r}{closest(name, await store.names(queries))}"
        raise NotFound(msg)
    if person.disabled:
        msg = f"{name} is disabled and gets no token"
        raise NotFound(msg)
    return person


def actor_of(queries: Queries, catalog: PermissionCatalog) -> Callable[[int, str], Awaitable[Actor]]:
    """Return what gives the actor for whom a job was enqueued, with what they may do now: nothing once disabled.

    Jobs that start together share one question for the same person; nothing is remembered beyond its answer.
    """
    asked: dict[int, asyncio.Task[Person | None]] = {}

    def ask(person: int) -> asyncio.Task[Person | None]:
        def answered(question: asyncio.Task[Person | None]) -> None:
            del asked[person]
            if not question.cancelled():
                question.exception()  # every job that waited has got it; where all were cancelled, nobody needs it

        question = asked[person] = asyncio.create_task(store.person_of(queries, person))
        question.add_done_callback(answered)
        return question

    async def find(person: int, name: str) -> Actor:
        found = await asyncio.shield(asked.get(person) or ask(person))
        permissions = frozenset() if found is None or found.disabled else catalog.of(found.role)
        return Actor(person, found.name if found else name, permissions, "job")

    return find
