"""A plugin that extends another one, of which it knows the contracts only."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from attrs import frozen
from bookmarks_contracts import Label, Links, LinkSaved

from heartwood.api import (
    Actor,
    Database,
    JobRun,
    Migration,
    Permission,
    Plugin,
    PluginContext,
    Role,
    Route,
    Subscription,
    Transaction,
    hookimpl,
)

READ = "digest.read"
COUNTS = """
select label, count(*) as links from digest.seen, unnest(labels) as label where owner = $1 group by label order by label
"""


@frozen
class Digest:
    """How many links have which label, and the newest titles."""

    counts: dict[str, int]
    newest: list[str]


class DigestPlugin(Plugin):
    """Counts what was bookmarked."""

    name = "digest"
    after = ("bookmarks",)

    @hookimpl
    def tables(self) -> Iterable[Migration]:
        """Return the steps of the schema, whose SQL lies in the package."""
        sql = (files("heartwood_digest") / "sql" / "0001.sql").read_text(encoding="utf-8")
        return [Migration("0001", sql)]

    @hookimpl(optionalhook=True)
    def link_labels(self, ctx: PluginContext) -> Iterable[Label]:
        """Label what is to be cooked."""
        return [Label("soup", "cooking"), Label("bread", "cooking"), Label("bread", "baking")]

    @hookimpl
    def subscriptions(self) -> Iterable[Subscription]:
        """Ask to be told of every link."""
        return [Subscription(LinkSaved, self.saved)]

    @hookimpl
    def permissions(self) -> Iterable[Permission]:
        """Return who may read the digest."""
        return [Permission(READ, "Read one's own digest.", frozenset({Role.MEMBER, Role.READER}))]

    @hookimpl
    def routes(self) -> Iterable[Route]:
        """Return the one route."""
        return [Route("GET", "", self.digest, READ)]

    async def saved(self, event: LinkSaved, run: JobRun, actor: Actor, tx: Transaction) -> None:
        """Write down what was kept. One may be told twice, and always under the same id."""
        sql = "insert into digest.seen values ($1, $2, $3) on conflict do nothing"
        await tx.execute(sql, run.id, actor.owner, event.labels)

    async def digest(self, actor: Actor, database: Database, links: Links) -> Digest:
        """Return one's counts by label, and the newest titles."""
        counts = await database.fetch(COUNTS, actor.owner)
        newest = await links.newest(actor, limit=3)
        return Digest({row["label"]: row["links"] for row in counts}, [link.title for link in newest])
