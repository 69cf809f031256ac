"""The bookmarks in hubs of their own."""

from __future__ import annotations

from heartwood_bookmarks.plugin import BookmarksPlugin

from heartwood.testing import conformance


def test_conforms() -> None:
    """It is a good guest."""
    conformance(BookmarksPlugin)


async def test_a_link_is_kept(hub_factory) -> None:
    """What is posted is listed, under the prefix of the entry point."""
    hub = await hub_factory(plugins=[BookmarksPlugin])

    async with hub.client.post("/business/links", json={"url": "https://example.org", "title": "An example"}) as answer:
        assert answer.status == 201, await answer.text()
    async with hub.client.get("/business/links") as answer:
        assert [each["title"] for each in (await answer.json())["items"]] == ["An example"]


async def test_a_long_address_is_refused(hub_factory) -> None:
    """The limit is a setting."""
    hub = await hub_factory(plugins=[BookmarksPlugin], config={"plugins": {"bookmarks": {"config": {"longest": 5}}}})

    async with hub.client.post("/business/links", json={"url": "https://example.org", "title": "Long"}) as answer:
        assert answer.status == 422
        assert "at most 5" in await answer.text()
