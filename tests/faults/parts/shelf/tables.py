"""The table of the shelf."""

from sqlalchemy import BigInteger, Column, Identity, MetaData, Table, Text

metadata = MetaData(schema="shelf")
book = Table("book", metadata, Column("id", BigInteger, Identity(always=True), primary_key=True), Column("title", Text))
