"""The tables of schema ``ocr``, as SQLAlchemy describes them; imported by ``heartwood db`` only."""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

LONGEST_INDEXED = 100_000
"""Characters of a page that are searchable; PostgreSQL keeps at most 1 MiB of words of one row."""

metadata = MetaData(schema="ocr")

# The owner of a document. Its table belongs to the kernel, so only its name is known here.
Table("person", metadata, Column("id", BigInteger, primary_key=True), schema="core")


def _time(name: str, *, filled: bool = False) -> Column[object]:
    if filled:
        return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
    return Column(name, DateTime(timezone=True))


def _words(expression: str) -> Column[object]:
    return Column("words", TSVECTOR, Computed(expression, persisted=True), nullable=False)


document = Table(
    "document",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("owner", BigInteger, ForeignKey("core.person.id", name="document_owner_fkey"), nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("problem", Text),
    _time("created_at", filled=True),
    _time("updated_at", filled=True),
    _time("deleted_at"),
    _words("to_tsvector('simple', regexp_replace(name, '[^[:alnum:]]+', ' ', 'g'))"),
    UniqueConstraint("owner", "sha256", name="document_owner_sha256_key"),
    Index("document_owner_created_at_id_idx", "owner", "created_at", "id"),
    Index("document_status_idx", "status"),
    Index("document_words_idx", "words", postgresql_using="gin"),
)
"""What somebody sent in. ``deleted_at`` is set while it lies in the trash; the same bytes bring it back."""

_TEXT = f"left(text, {LONGEST_INDEXED})"

page = Table(
    "page",
    metadata,
    Column(
        "document", Uuid, ForeignKey(document.c.id, name="page_document_fkey", ondelete="cascade"), primary_key=True
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("confidence", REAL),
    Column("text", Text, nullable=False),
    _words(" || ".join(f"to_tsvector('{language}', {_TEXT})" for language in ("simple", "english", "german"))),
    Index("page_words_idx", "words", postgresql_using="gin"),
)
"""One page that has been read: where its text comes from, how sure it is, and the words it is found by."""
