"""Make the table of links."""

from __future__ import annotations

from alembic import op

revision = "bookmarks_0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        create table bookmarks.link (
            id bigint generated always as identity primary key,
            owner bigint not null,
            url text not null,
            title text not null,
            labels text[] not null default '{}'
        )
        """
    )
    op.execute("create index link_of_owner on bookmarks.link (owner, id)")
