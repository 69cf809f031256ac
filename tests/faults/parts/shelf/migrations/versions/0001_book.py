"""Books."""

from alembic import op

revision = "shelf_0001"
down_revision = None


def upgrade():
    op.execute("create table shelf.book (id bigint generated always as identity primary key, title text)")
