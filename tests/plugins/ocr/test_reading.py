"""From bytes to text, with real children, Tesseract and poppler."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from heartwood.contracts.children import ChildFailed, Limits
from heartwood.contracts.documents import DocumentRead
from heartwood_ocr import reading, store
from heartwood_ocr.config import OcrConfig
from heartwood_ocr.models import Source
from heartwood_ocr.reading import Unreadable, checked, take_picture


async def test_photographed_receipt_is_read_and_found(house, receipt):
    """A turned, shaded photograph becomes text, is found by a word on it, and subscribers are told."""
    document = await house.put(receipt, "photo.jpg")
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    text = await house.documents.text(house.owner, document)
    assert ("ready", None) == (found.status, found.problem)
    assert ["ocr"] == [page.source for page in found.pages]
    assert 0.8 < found.pages[0].confidence <= 1
    assert {"MEADOW", "HARDWARE", "45.54"} <= set(text.split())
    hits = await house.documents.search(house.owner, "hinges")
    assert [document] == [hit.id for hit in hits.items]
    assert ["hinge"] == [hits.items[0].snippet[start:end] for start, end in hits.items[0].matches]
    assert [DocumentRead(document, 1)] == house.desk.published


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "PDF"])
async def test_every_kind_is_read(house, page, kind):
    """The same page is read from all kinds of files that are taken in."""
    document = await house.put(page(kind, "Linseed oil\nTotal 14.90"))
    await house.read(document)
    assert "Linseed oil\nTotal 14.90" == await house.documents.text(house.owner, document)


@pytest.mark.parametrize("kind", ["TIFF", "PDF"])
async def test_every_page_is_read_in_order(house, page, kind):
    """Pages are numbered as in the file, and their texts are separated by form feeds."""
    document = await house.put(page(kind, *[f"This is leaf {number}" for number in range(1, 7)]))
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert list(range(1, 7)) == [each.number for each in found.pages]
    pages = (await house.documents.text(house.owner, document)).split("\f")
    assert [f"leaf {number}" for number in range(1, 7)] == [" ".join(page.split()[-2:]) for page in pages]


async def test_good_text_layer_is_taken_and_only_the_rest_is_recognised(house, text_pdf, no_tesseract):
    """A born-digital PDF needs no Tesseract: its text is there, its source is named, and no confidence is made up."""
    document = await house.put(text_pdf("Invoice 2026 for the oak table", "Second page with more words"))
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert "ready" == found.status
    assert [(1, "text_layer", None), (2, "text_layer", None)] == [
        (page.number, page.source, page.confidence) for page in found.pages
    ]
    assert "Invoice 2026 for the oak table" in await house.documents.text(house.owner, document)


async def test_without_tesseract_a_picture_waits_and_is_read_later(house, receipt, no_tesseract, monkeypatch):
    """A missing Tesseract fails nothing: the document says what it waits for, and is queued when it is there."""
    document = await house.put(receipt)
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert ("queued", "Tesseract is not installed: install tesseract-ocr") == (found.status, found.problem)
    await house.job.resume(house.database, house.desk)
    assert [] == house.desk.enqueued
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    house.job.tesseract._asked = -1e9
    await house.job.resume(house.database, house.desk)
    assert ["read"] == [job for job, _, _ in house.desk.enqueued]
    await house.read(document)
    assert "ready" == (await house.documents.get(house.owner, document)).status


async def test_scanned_pdf_waits_for_poppler(house, page, monkeypatch, tmp_path):
    """Where nothing can draw its pages, a scanned PDF waits and says for what."""
    for name in ("tesseract", "bwrap"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    document = await house.put(page("PDF", "Linseed oil"))
    monkeypatch.setenv("PATH", str(tmp_path))
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert "queued" == found.status
    assert "install poppler-utils" in found.problem
    await house.job.resume(house.database, house.desk)
    assert [] == house.desk.enqueued


async def test_page_that_lies_about_its_size_is_drawn_small(house, text_pdf):
    """A PDF page of kilometres, and one too small to hold a letter, are read without harm."""
    for box in (b"0 0 9999999 8888888", b"0 0 1 1"):
        data = text_pdf("(").replace(b"0 0 595 842", box)
        document = await house.put(data)
        await house.read(document)
        found = await house.documents.get(house.owner, document)
        assert ("needs_review", "No text was found") == (found.status, found.problem)


async def test_attempt_that_was_broken_off_is_gone_on_with(house, page, monkeypatch):
    """Pages that an earlier attempt has stored are not read again."""
    document = await house.put(page("TIFF", "Leaf one", "Leaf two"))
    async with house.database.unit(house.owner) as tx:
        await store.start_reading(tx, house.owner, document)
        await store.put_page(tx, document, reading.PageText(1, Source.OCR, "read before", 0.9))
    await house.read(document)
    assert "read before\fLeaf two" == await house.documents.text(house.owner, document)


async def test_only_so_many_pages_are_read(house, page):
    """A document past the limit is read up to it, and a person is told."""
    house.job.config = OcrConfig(max_pages=2)
    document = await house.put(page("TIFF", "Leaf one", "Leaf two", "Leaf three"))
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert ("needs_review", "Only the first 2 of 3 pages were read") == (found.status, found.problem)


async def test_empty_page_asks_for_a_look(house, page):
    """A page without a word has no confidence, and is not called ready."""
    document = await house.put(page("PNG", ""))
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert ("needs_review", "No text was found") == (found.status, found.problem)
    assert [None] == [page.confidence for page in found.pages]


@pytest.mark.parametrize("angle", [90, 180, 270])
async def test_page_on_its_side_is_turned(house, page, angle):
    """A page that was scanned lying on its side or on its head is read as if it stood upright."""
    lines = "\n".join(["The quick brown fox jumps over the lazy dog"] * 9)
    upright = Image.open(io.BytesIO(page("PNG", lines, size=(1100, 700))))
    data = io.BytesIO()
    upright.rotate(angle, expand=True).save(data, "PNG")
    document = await house.put(data.getvalue())
    await house.read(document)
    assert (await house.documents.text(house.owner, document)).count("lazy dog") == 9


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that announces a size and holds nothing of it."""
    data = io.BytesIO()
    Image.new("1", (8, 8)).save(data, "PNG")
    good = bytearray(data.getvalue())
    good[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    good[29:33] = zlib.crc32(good[12:29]).to_bytes(4, "big")
    return bytes(good)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"%PDF-1.7\nnothing follows", "The PDF is damaged and cannot be opened"),
        (b"\xff\xd8\xff\xe0 not a jpeg", "The picture is damaged and cannot be opened"),
        (b"II*\0\xff\xff\xff\x7f", "The picture is damaged and cannot be opened"),
        (bomb(30_000, 30_000), "The picture is too large: 30000 x 30000 pixels, of at most 100 million"),
        (bomb(20_001, 1), "The picture is too large: 20001 x 1 pixels, of at most 100 million"),
    ],
)
async def test_bad_file_ends_in_a_sentence(house, data, problem):
    """Damaged and oversized files fail with a reason at the first attempt, and the next document is read."""
    document = await house.put(data)
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert ("failed", problem) == (found.status, found.problem)
    assert [] == house.desk.published


async def test_truncated_picture_fails(house, receipt):
    """Half a photograph is not taken for a whole one."""
    document = await house.put(receipt[: len(receipt) // 2])
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert "failed" == found.status
    assert "The picture is damaged" == found.problem


@pytest.mark.parametrize("cut", [False, True])
async def test_damaged_page_of_a_tiff_costs_no_other(house, page, cut):
    """A page whose pixels or whose place in the file is broken is named; those before and behind it are read."""
    data = bytearray(page("TIFF", "First leaf of oak", "Second leaf of elm", "Third leaf of ash"))
    with Image.open(io.BytesIO(data)) as picture:
        picture.seek(1)
        start, length = picture.tag_v2[273][0], sum(picture.tag_v2[279])
        picture.seek(2)
        third = picture.tag_v2[273][0]
    if cut:
        data = data[: third + 100]
    else:
        data[start : start + length] = b"\xff" * length
    document = await house.put(bytes(data))
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    missing = 3 if cut else 2
    assert ("needs_review", f"Page {missing} could not be drawn") == (found.status, found.problem)
    assert [number for number in (1, 2, 3) if number != missing] == [each.number for each in found.pages]


async def test_page_that_kills_its_child_costs_no_other(house, page, monkeypatch):
    """Where drawing several pages at once dies, they are drawn one by one, and only the culprit is missing."""
    draw = reading.Reader.render

    async def render(reader, pages):
        if any(each.number == 2 for each in pages):
            message = "it ran longer than its time"
            raise ChildFailed(message, limit="wall")
        await draw(reader, pages)

    monkeypatch.setattr(reading.Reader, "render", render)
    document = await house.put(page("PDF", "First leaf", "Second leaf", "Third leaf"))
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert ("needs_review", "Page 2 could not be drawn") == (found.status, found.problem)
    assert [1, 3] == [each.number for each in found.pages]


async def test_protected_pdf_says_so(house):
    """A PDF with a password is named as such."""
    document = await house.put(ENCRYPTED)
    await house.read(document)
    problem = (await house.documents.get(house.owner, document)).problem
    assert "The PDF is protected by a password; send it in without one" == problem


ENCRYPTED = (
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\n"
    b"endobj\n3 0 obj\n<< /Filter /Standard /V 1 /R 2 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> /P -4 >>\n"
    b"endobj\ntrailer\n<< /Size 4 /Root 1 0 R /Encrypt 3 0 R /ID [<41> <41>] >>\n%%EOF\n"
)


async def test_limit_hit_is_a_result(house, receipt, monkeypatch):
    """A page on which Tesseract runs out of time is named; the document is not tried for ever."""
    monkeypatch.setattr(reading, "RECOGNISING", Limits(wall=0.05))
    document = await house.put(receipt)
    await house.read(document)
    found = await house.documents.get(house.owner, document)
    assert "failed" == found.status
    assert found.problem.startswith("Page 1 could not be read: ")


async def test_dead_child_is_tried_again_until_the_last_attempt(house, receipt, monkeypatch):
    """A child that dies raises, so that the queue tries again; on the last attempt it becomes the reason."""
    monkeypatch.setattr(reading, "RECOGNISING", Limits(files=1))
    document = await house.put(receipt)
    with pytest.raises(ChildFailed):
        await house.read(document)
    assert "reading" == (await house.documents.get(house.owner, document)).status
    await house.read(document, last=True)
    assert "failed" == (await house.documents.get(house.owner, document)).status


async def test_deleted_document_is_not_finished(house, receipt):
    """What is in the trash is not read, and nobody is told of it."""
    document = await house.put(receipt)
    async with house.database.unit(house.owner) as tx:
        await store.delete(tx, house.owner, document)
    await house.read(document)
    assert {} == await store.pages_read(house.database, document)
    assert [] == house.desk.published


async def test_deep_and_transparent_pictures_are_read(house, page):
    """16-bit grey and transparency become the page that a person sees."""
    grey = Image.open(io.BytesIO(page("PNG", "Sixteen bits of oak")))
    deep = Image.frombytes("I;16", grey.size, b"".join(bytes((value, value)) for value in grey.tobytes()))
    clear = Image.new("RGBA", grey.size, (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), mask=Image.eval(grey, lambda value: 255 - value))
    for picture in (deep, clear):
        data = io.BytesIO()
        picture.save(data, "PNG")
        document = await house.put(data.getvalue())
        await house.read(document)
        assert "Sixteen bits of oak" == await house.documents.text(house.owner, document)


@pytest.mark.parametrize(
    "answer",
    [{}, [], None, {"total": 1, "pages": []}, {"total": 0, "pages": [{"width": 1, "height": 1, "text": ""}]},
     {"total": 1, "pages": [{"width": "x", "height": 1, "text": ""}]}, {"total": 1e400, "pages": [1]}],
)  # fmt: skip
def test_answer_of_the_sandbox_is_not_believed(answer):
    """A probe that makes no sense is a damaged file, whatever wrote it."""
    with pytest.raises(Unreadable):
        checked(answer, 10)


@pytest.mark.parametrize("trick", ["link", "folder", "fifo", "text", "huge", "nothing"])
def test_picture_from_the_sandbox_is_not_believed(tmp_path, trick, page):
    """Only a regular file with a PNG of a sane size is taken; a link to somewhere else is not followed."""
    path = tmp_path / "1.png"
    (tmp_path / "secret.png").write_bytes(page("PNG", "secret"))
    {
        "link": lambda: path.symlink_to(tmp_path / "secret.png"),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "text": lambda: path.write_text("hello"),
        "huge": lambda: path.write_bytes(bomb(30_000, 30_000)),
        "nothing": lambda: None,
    }[trick]()
    with pytest.raises(Unreadable, match="Page 1 could not be drawn"):
        take_picture(path, 1)


def test_no_library_for_hostile_bytes_is_in_the_server():
    """Importing the plugin brings no decoder into the hub's process."""
    code = "import sys, json, heartwood_ocr.plugin; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set() == {"PIL", "cv2", "numpy", "pypdfium2", "pdf2image", "pytesseract"} & set(json.loads(done.stdout))
