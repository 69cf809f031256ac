"""Where routes end up."""

from __future__ import annotations

import pytest

from heartwood.contracts.errors import HeartwoodError
from heartwood.contracts.routes import Route
from heartwood.plugins.records import Record, State


async def _fine(_):
    return {"ok": True}


async def test_a_route_lies_below_its_prefix_or_beside_the_api(make_site):
    """Prefixes lie below ``web.api_root``; a root lies beside it; a route says which of several it means."""
    site = make_site(api_root="/api")
    site.record.prefixes, site.record.roots = ("notes", "memos"), ("board",)
    for prefix in (None, "memos", "board"):
        site.add("GET", "/x", _fine, prefix=prefix, name=f"x-{prefix}")
    await site.start()

    assert 200 == (await site.ask("GET", "/api/notes/x")).status
    assert 200 == (await site.ask("GET", "/api/memos/x")).status
    assert 200 == (await site.ask("GET", "/board/x")).status
    assert 404 == (await site.ask("GET", "/business/notes/x")).status
    assert 404 == (await site.ask("GET", "/api/board/x")).status


async def test_a_plugin_that_was_never_loaded_has_its_gate(site):
    """A prefix known from metadata alone answers for its plugin, with all paths and methods below it."""
    missing = Record("mail", State.FAILED, reason="it could not be imported", prefixes=("mail",), roots=("inbox",))
    site.add("GET", "/x", _fine)
    await site.start(site.record, missing)

    for method, path in (("GET", "/business/mail"), ("POST", "/business/mail/a/b"), ("GET", "/inbox/x")):
        answer = await site.ask(method, path)
        assert (503, "mail") == (answer.status, answer.json["owner"])
    assert 200 == (await site.ask("GET", "/business/notes/x")).status
    assert 404 == (await site.ask("GET", "/business/mailbox")).status


async def test_a_route_made_of_anothers_contribution_is_the_contributors(site, eventually):
    """With an owner, gate, errors and log lines are the owner's."""
    owner = Record("mail", State.RUNNING)

    async def crash(_):
        raise ZeroDivisionError

    site.add("GET", "/x", crash, owner=owner)
    await site.start()

    assert "mail" == (await site.ask("GET", "/business/notes/x")).json["owner"]
    assert (1, 0) == (len(owner.failures), len(site.record.failures))
    owner.state = State.STOPPED
    assert 503 == (await site.ask("GET", "/business/notes/x")).status
    await eventually(lambda: {"mail"} == {line["plugin"] for line in site.requests()})


async def test_the_most_exact_path_wins(site):
    """A fixed path is found before one with a parameter, whatever the order."""

    async def by_id(visit):
        return visit.request.match_info["id"]

    site.add("GET", "/{id}", by_id)
    site.add("GET", "/upload", _fine)
    await site.start()

    assert {"ok": True} == (await site.ask("GET", "/business/notes/upload")).json
    assert "a b" == (await site.ask("GET", "/business/notes/a%20b")).json


async def test_a_path_is_made_from_the_name_of_its_route(site):
    """Names have the plugin in front; parts are quoted."""
    site.add("GET", "/{id}/text", _fine, name="text")
    await site.start()

    assert "/business/notes/a%2Fb%20c/text" == site.mount.url_for("notes:text", id="a/b c")
    with pytest.raises(HeartwoodError, match="no route 'notes:nothing'"):
        site.mount.url_for("notes:nothing")
    with pytest.raises(HeartwoodError, match=r"\{id\}"):
        site.mount.url_for("notes:text")


def test_the_path_of_a_route_can_be_told_without_mounting_it(site):
    """The documentation uses the same full paths."""
    assert "/business/notes/x" == site.mount.path(site.record, Route("GET", "/x", _fine, "notes.read"))
