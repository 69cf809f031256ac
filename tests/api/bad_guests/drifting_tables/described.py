"""The tables as the plugin describes them."""

import sqlalchemy as sa

metadata = sa.MetaData(schema="guest")

thing = sa.Table("thing", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("forgotten", sa.Text))
