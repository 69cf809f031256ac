"""Make the table, without the column that was added to its description later."""

from alembic import op

revision = "guest_0001"
down_revision = None


def upgrade():
    op.execute("create table guest.thing (id integer primary key)")
