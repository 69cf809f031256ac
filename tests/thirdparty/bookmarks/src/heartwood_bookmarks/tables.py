"""The tables; only ``heartwood db`` imports this."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

metadata = sa.MetaData(schema="bookmarks")

link = sa.Table(
    "link",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("owner", sa.BigInteger, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("labels", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Index("link_of_owner", "owner", "id"),
)
