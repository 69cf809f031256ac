"""The digest beside the bookmarks, and without them."""

from __future__ import annotations

from heartwood_bookmarks.plugin import BookmarksPlugin
from heartwood_digest import DigestPlugin

from heartwood.testing import conformance


def test_conforms() -> None:
    """It is a good guest beside the plugin that it extends."""
    conformance(DigestPlugin, beside=[BookmarksPlugin])


async def test_links_are_labelled_and_counted(hub_factory) -> None:
    """Its labels reach the links, the event reaches it, and the service gives it the titles."""
    hub = await hub_factory(plugins=[DigestPlugin, BookmarksPlugin])

    for title in ("Onion soup", "Rye bread"):
        async with hub.client.post("/business/links", json={"url": "https://example.org", "title": title}) as answer:
            assert answer.status == 201, await answer.text()
    await hub.jobs.drain()
    async with hub.client.get("/business/digest") as answer:
        assert await answer.json() == {"counts": {"baking": 1, "cooking": 2}, "newest": ["Rye bread", "Onion soup"]}


async def test_without_bookmarks_it_says_who_is_missing(hub_factory) -> None:
    """The plugin runs, and what needs the other's service is unavailable with a sentence."""
    hub = await hub_factory(plugins=[DigestPlugin])

    async with hub.client.get("/business/digest") as answer:
        assert answer.status == 503
        assert "Links is provided by no installed plugin" in (await answer.json())["detail"]
