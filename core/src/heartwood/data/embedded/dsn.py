"""The address of a database, and what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from pathlib import Path


@frozen
class Dsn:
    """Where the database is.

    Args:
        url: the address for requests and jobs: a role that may not change the schema, where there is one.
        migrate_url: the address for migrations, back-ups and everything else that owns the tables.
        embedded: whether it is the server that the hub runs itself.
        bin_dir: the folder of ``pg_dump`` and the like, of the server's major version; None: whatever is on PATH.
    """

    url: str
    migrate_url: str
    embedded: bool = False
    bin_dir: Path | None = None

    @property
    def grantee(self) -> str:
        """The address of the role that an upgrade lets read and write; empty: it owns the tables, or may by default."""
        return "" if self.embedded or self.url == self.migrate_url else self.url
