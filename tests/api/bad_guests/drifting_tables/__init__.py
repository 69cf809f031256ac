"""Its tables have a column that its revisions do not make."""

from heartwood.api import Plugin, Tables, hookimpl


class Guest(Plugin):
    name = "guest"

    @hookimpl
    def tables(self):
        return Tables("drifting_tables.described:metadata", "drifting_tables.migrations")
