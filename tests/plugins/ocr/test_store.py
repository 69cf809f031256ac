"""Rows: whose they are, how they are found, and that the tables are those that the revisions make."""

from __future__ import annotations

import pytest
from attrs import evolve
from prometheus_client import generate_latest

from heartwood.contracts.data import Tables
from heartwood.contracts.errors import Invalid, NotFound
from heartwood.data.migrations import MigrationSource, check
from heartwood.observe.metrics import Metrics
from heartwood_ocr import store
from heartwood_ocr.metrics import DocumentMetrics
from heartwood_ocr.models import NewDocument, PageText, Source, Status


@pytest.fixture(name="add")
def _add(house):
    """Write a document that has been read: ``add("name", "text of page 1", …)`` returns its id."""

    async def add(name: str, *texts: str, actor=house.owner):
        sha256 = f"{hash((name, texts)) % 2**64:064x}"
        async with house.database.unit(actor) as tx:
            document = await store.add(tx, actor, NewDocument(name, sha256, 1, "image/png"))
            for number, text in enumerate(texts, start=1):
                await store.put_page(tx, document, PageText(number, Source.OCR, text, 0.9))
            await store.settle(tx, actor, document, Status.READY, None)
        return document

    return add


async def found(house, query, **more):
    page = await house.documents.list(house.owner, query, more.get("status"), more.get("cursor"))
    return [item.name for item in page.items]


@pytest.mark.pg15
async def test_tables_are_what_the_revisions_make(house):
    """The SQLAlchemy tables and the migrated schema do not drift apart."""
    source = MigrationSource("ocr", Tables("heartwood_ocr.tables:metadata", "heartwood_ocr.migrations"))
    assert {"ocr": []} == await check(house.dsn, [source])


@pytest.mark.pg15
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("invoices", ["english"]),
        ("Rechnung", ["german"]),
        ("häuser", ["german"]),
        ("running", ["english"]),
        ("004417", ["number"]),
        ("ocean.png", []),
        ("holiday", ["holiday_photo-2024.png"]),
        ("invoice tax", ["english"]),
        ("invoice -tax", []),
        ('"for the table"', ["english"]),
        ("nothing", []),
        ("the", ["english"]),
        ("'; drop table ocr.page; --", []),
        ("& | ! <-> :*", []),
        ("\0", []),
    ],
)
async def test_words_are_found_in_both_languages(house, add, query, expected):
    """German and English forms, numbers and names are found; what looks like syntax is only text."""
    await add("english", "An invoice for the table, with tax. She runs.")
    await add("german", "Die Rechnungen für das Haus")
    await add("number", "Receipt no. 004417")
    await add("holiday_photo-2024.png", "sea")
    assert expected == await found(house, query)


@pytest.mark.pg15
async def test_best_match_is_first_and_shown_with_its_words_marked(house, add):
    """Documents are ranked, and the snippet is plain text with the place of each match, markup being text."""
    await add("once", "oak " + "and other words " * 40)
    await add("often", "<script>alert(1)</script> oak oak oak oak &amp; oak")
    page = await house.documents.list(house.owner, "oak", None, None)
    assert ["often", "once"] == [item.name for item in page.items]
    first = page.items[0]
    assert first.rank > page.items[1].rank
    assert {"oak"} == {first.snippet[start:end] for start, end in first.matches}


async def test_a_name_alone_is_found_without_snippet(house, add):
    """A hit in the name only has an empty snippet."""
    await add("oak.pdf", "nothing of it")
    page = await house.documents.list(house.owner, "oak", None, None)
    assert [("", [])] == [(item.snippet, item.matches) for item in page.items]


@pytest.mark.pg15
@pytest.mark.parametrize("query", ["", "oak"])
async def test_pages_of_a_list_join_without_gap(house, add, query, monkeypatch):
    """Following the cursor shows every document once, in one order, for lists and searches, equal ranks included."""
    monkeypatch.setattr("heartwood_ocr.service.PAGE_SIZE", 3)
    names = [f"n{number}" for number in range(8)]
    for name in names:
        await add(name, "oak", "oak")
    seen, cursor = [], None
    while True:
        page = await house.documents.list(house.owner, query, None, cursor)
        seen += [item.name for item in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert names == sorted(seen)
    if not query:
        assert names[::-1] == seen


async def test_cursor_of_another_list_is_refused(house, add):
    """A cursor is good for the list that made it only."""
    for name in ("a", "b"):
        await add(name, "oak")
    page = await house.documents.search(house.owner, "oak", limit=1)
    with pytest.raises(Invalid):
        await house.documents.list(house.owner, "", None, page.next)
    with pytest.raises(Invalid):
        await house.documents.list(house.owner, "", None, "garbage")


async def test_status_narrows_a_list(house, add):
    """A list and a search can be narrowed to one state; an unknown one matches nothing."""
    document = await add("a", "oak")
    await house.database.execute("update ocr.document set status = 'failed' where id = $1", document)
    await add("b", "oak")
    for query in ("", "oak"):
        assert ["a"] == await found(house, query, status="failed")
        assert ["b"] == await found(house, query, status="ready")
        assert [] == await found(house, query, status="no such")


async def test_documents_are_for_their_owner_only(house, add):
    """Another person sees, finds and deletes nothing, and may send in the same bytes as their own document."""
    other = evolve(house.owner, person=2, name="other")
    mine = await add("same", "canary")
    theirs = await add("same", "canary", actor=other)
    assert mine != theirs
    assert [mine] == [hit.id for hit in (await house.documents.search(house.owner, "canary")).items]
    assert [theirs] == [item.id for item in (await house.documents.list(other, "", None, None)).items]
    assert {mine} == await house.documents.visible(house.owner, [mine, theirs])
    for ask in (house.documents.get, house.documents.text):
        with pytest.raises(NotFound):
            await ask(other, mine)
    async with house.database.unit(other) as tx:
        assert await store.delete(tx, other, mine) is None


@pytest.mark.pg15
async def test_huge_and_odd_pages_are_stored(house, add):
    """A page with a hundred thousand different words, or one endless word, is kept whole and partly searchable."""
    words = " ".join(f"w{number:x}q" for number in range(150_000))
    await add("words", words)
    await add("endless", "x" * 1_000_000)
    assert ["words"] == await found(house, "w10q")
    assert ["endless"] == await found(house, "endless")


async def test_counts_tell_where_documents_stand(house, add):
    """Counts are zero where nothing stands; the oldest unread document sets the time, and none means none."""
    assert await store.oldest_unread(house.database) is None
    await add("read", "oak")
    await house.put(b"\xff\xd8\xff waiting")
    counts = await store.counts(house.database, house.owner)
    assert (1, 1, 0) == (counts[Status.QUEUED], counts[Status.READY], counts[Status.FAILED])
    assert await store.oldest_unread(house.database) is not None
    await house.metrics.refresh(house.database)
    samples = {
        sample.labels["state"]: sample.value for each in house.metrics.documents.collect() for sample in each.samples
    }
    assert (1, 1, 0) == (samples["queued"], samples["ready"], samples["failed"])


def test_metrics_are_accepted_by_the_kernel():
    """Names, help texts and types pass the kernel's check."""
    metrics = Metrics()
    metrics.register("ocr", DocumentMetrics().collectors(), prefixes=["documents"])
    assert "heartwood_document_oldest_pending_timestamp_seconds" in generate_latest(metrics.registry).decode()
