"""What a start does with the tables: bring them up to date where it may, and say whose cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heartwood.data.connections import connect_soon
from heartwood.data.migrations import standings, upgrade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heartwood.data.embedded import Dsn
    from heartwood.data.migrations import MigrationSource
    from heartwood.data.settings import DataSettings


async def bring_up_to_date(
    dsn: Dsn, sources: Sequence[MigrationSource], settings: DataSettings, log: Any
) -> dict[str, str]:
    """Apply what is pending where ``data.auto_migrate`` allows it; return what is wrong, by the name of the plugin.

    Raises:
        DatabaseUnavailable: the server refuses us, or did not come within ``data.acquire_timeout`` seconds.
    """
    connection = await connect_soon(dsn.migrate_url, log, within=settings.acquire_timeout)
    try:
        standing = await standings(connection, sources)
    finally:
        await connection.close()
    problems = {name: each.problem for name, each in standing.items() if each.problem}
    behind = [name for name, each in standing.items() if each.pending and not each.problem]
    allowed = dsn.embedded if settings.auto_migrate is None else settings.auto_migrate
    if not behind or not allowed:
        return problems | dict.fromkeys(behind, "its tables are not up to date; type: heartwood db upgrade")
    done = await upgrade(dsn.migrate_url, sources, log, grantee=dsn.grantee)
    return problems | {name: str(each.error) for name, each in done.items() if each.error}
