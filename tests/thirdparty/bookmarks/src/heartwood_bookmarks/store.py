"""All SQL of the bookmarks."""

from __future__ import annotations

from importlib.resources import files

from bookmarks_contracts import Link

from heartwood.api import Actor, Queries

PAGE = (files("heartwood_bookmarks") / "sql" / "page.sql").read_text(encoding="utf-8")
ADD = "insert into bookmarks.link (owner, url, title) values ($1, $2, $3) returning id"
TITLE = "select title from bookmarks.link where id = $1"
LABEL = "update bookmarks.link set labels = $2 where id = $1"


async def page(queries: Queries, actor: Actor, *, before: int | None, limit: int) -> list[Link]:
    """Return the actor's links, newest first, beginning after the link ``before``."""
    return [Link(**row) for row in await queries.fetch(PAGE, actor.owner, before, limit)]


async def add(queries: Queries, actor: Actor, url: str, title: str) -> int:
    """Keep a link; returns its id."""
    return int(await queries.fetchval(ADD, actor.owner, url, title))
