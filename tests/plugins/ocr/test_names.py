"""Names, kinds and snippets: text from outside stays text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartwood_ocr.kinds import JPEG, PDF, PNG, TIFF, kind_of
from heartwood_ocr.names import LONGEST_NAME, MARK_END, MARK_START, attachment, clean_name, clean_text, marked


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("../../etc/passwd.pdf", "passwd.pdf"),
        ("..\\..\\windows\\x.pdf", "x.pdf"),
        ("x\0.pdf", "x.pdf"),
        ("report\u202efdp.exe", "reportfdp.exe"),
        ("a\r\nSet-Cookie: x=1.pdf", "aSet-Cookie: x=1.pdf"),
        ("{{7*7}}.pdf", "{{7*7}}.pdf"),
        ("😀 Rechnung №5.pdf", "😀 Rechnung №5.pdf"),
        ("%2e%2e%2fx.pdf", "%2e%2e%2fx.pdf"),
        ("   .pdf", ".pdf"),
        ("", "document"),
        (None, "document"),
        ("..", "document"),
        ("ä" * 200 + ".pdf", "ä" * 125 + ".pdf"),
    ],
)
def test_name_becomes_one_line_of_text(given_name, kept):
    """A file name loses folders, controls and direction marks, and nothing else."""
    assert kept == clean_name(given_name)


@given(st.text())
def test_every_name_can_be_stored_and_sent(name):
    """Whatever the name, it fits in 255 bytes, is storable, and its header is one line of ASCII."""
    cleaned = clean_name(name)
    header = attachment(cleaned)
    assert 0 < len(cleaned.encode()) <= LONGEST_NAME
    assert header.isascii()
    assert header.isprintable()


def test_attachment_quotes_what_would_end_the_name():
    """Quotes and percent signs cannot leave the plain name; the full name is percent-encoded (RFC 8187)."""
    header = "attachment; filename=\"q_uote;_.pdf\"; filename*=UTF-8''q%22uote%3B%25.pdf"
    assert header == attachment('q"uote;%.pdf')


def test_text_loses_what_cannot_be_stored():
    """NUL, controls, lone surrogates and the marks of a search go; line ends become one kind."""
    assert "a\nb\tcd" == clean_text(f"a\r\nb\tc\0\x1b{MARK_START}\ud800d")


def test_marks_become_positions():
    """A headline is split into plain text and the places of its matches, markup in it being text like any other."""
    headline = f"<b>{MARK_START}total{MARK_END}</b> of the {MARK_START}total{MARK_END}"
    text, matches = marked(headline)
    assert "<b>total</b> of the total" == text
    assert ["total", "total"] == [text[start:end] for start, end in matches]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", JPEG),
        (b"\x89PNG\r\n\x1a\n", PNG),
        (b"II*\0", TIFF),
        (b"MM\0*", TIFF),
        (b"%PDF-1.7", PDF),
        (b"\xef\xbb\xbf%PDF-1.4", PDF),
        (b"x" * 1020 + b"%PDF-1.4", None),
        (b"PK\x03\x04", None),
        (b"<svg>", None),
        (b"MZ", None),
        (b"", None),
    ],
)
def test_kind_is_told_by_content(head, kind):
    """The first bytes decide; a PDF may have some bytes before its header."""
    assert kind == kind_of(head)
