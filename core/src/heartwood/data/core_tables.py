"""The tables of schema ``core``, as SQLAlchemy describes them; imported by ``heartwood db`` only."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    schema="core",
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    },
)
"""Constraints are named as PostgreSQL itself names them, so revisions may be written in SQL."""


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _time(name: str, *, filled: bool = False) -> Column[object]:
    if filled:
        return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
    return Column(name, DateTime(timezone=True))


person = Table(
    "person",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, CheckConstraint("role in ('owner', 'member', 'reader')", name="role"), nullable=False),
    _time("created_at", filled=True),
    _time("disabled_at"),
)
"""Whoever may sign in. The first row is the owner, made by the first revision."""

token = Table(
    "token",
    metadata,
    _id(),
    Column("person", BigInteger, ForeignKey(person.c.id, ondelete="cascade"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text)),
    _time("created_at", filled=True),
    _time("expires_at"),
    _time("last_used_at"),
    _time("revoked_at"),
)
"""API tokens, as the SHA-256 of their text; ``scopes`` null means everything that the person may."""

audit = Table(
    "audit",
    metadata,
    _id(),
    _time("at", filled=True),
    Column("person", BigInteger),
    Column("actor", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("request_id", Text),
    Index(None, "at"),
)
"""Who did what to what. ``person`` is no foreign key: the record outlives the person."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("person", BigInteger, primary_key=True, autoincrement=False),
    Column("route", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_sha256", LargeBinary, nullable=False),
    Column("status", Integer),
    Column("headers", JSONB),
    Column("answer", LargeBinary),
    _time("created_at", filled=True),
    Index(None, "created_at"),
)
"""Answers kept for 24 hours, so that a repeated request is answered and not done again; person 0 is nobody.

``route`` is the plugin's name; the route of a request is part of ``key``.
"""

subscription = Table(
    "subscription",
    metadata,
    Column("event", Text, primary_key=True),
    Column("plugin", Text, primary_key=True),
    Column("handler", Text, primary_key=True),
    _time("seen_at", filled=True),
)
"""Who wants to be told of which durable event; kept current by every process that starts."""
