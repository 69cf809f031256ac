"""The second step of its tables cannot be applied."""

from heartwood.api import Migration, Plugin, hookimpl


class Broken(Plugin):
    @hookimpl
    def tables(self):
        return [
            Migration("0001", "create table {schema}.thing (id int primary key)"),
            Migration("0002", "insert into {schema}.thing values (1 / 0)"),
        ]
