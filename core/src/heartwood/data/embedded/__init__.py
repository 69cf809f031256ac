"""The PostgreSQL that the hub runs itself, and the address of whichever is used."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from heartwood.data.embedded.binaries import Binaries, PostgresUnusable, find_postgres
from heartwood.data.embedded.cluster import DATABASE, OWNER_ROLE, WORK_ROLE
from heartwood.data.embedded.dsn import Dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from heartwood.data.embedded.server import Server
    from heartwood.data.places import Places
    from heartwood.data.settings import DataSettings

__all__ = ["Binaries", "Dsn", "PostgresUnusable", "find_postgres", "running_postgres"]

LOOK_EVERY = 0.2
"""Seconds between two looks at the server's process."""


@asynccontextmanager
async def running_postgres(
    settings: DataSettings, places: Places, log: Any, *, binaries: Binaries | None = None
) -> AsyncIterator[Dsn]:
    """Give the address of the database: the external server's, or that of the embedded one, which runs meanwhile.

    The embedded server is found running or started, and started again when it dies. The last process that leaves
    stops it.

    Args:
        settings: an address in it means an external server, and nothing is started.
        places: where the cluster and its socket are.
        log: a structlog logger.
        binaries: PostgreSQL's programs; those that :func:`find_postgres` finds by default.

    Raises:
        PostgresUnusable: there are no programs, or it does not start.
    """
    if url := settings.external_url():
        migrate = settings.migrate_url.reveal() if settings.migrate_url is not None else ""
        yield Dsn(url, migrate or url)
        return
    from heartwood.data.embedded.server import Server  # noqa: PLC0415  (an external server needs nothing of it)

    places.make()
    server = Server(places, binaries)
    if not server.folder.exists():
        log.info("postgres.making", folder=str(server.folder))
    try:
        await _to_its_end(server.join)
        watch = asyncio.create_task(_keep_alive(server, log), name="postgres watch")
        try:
            yield _dsn(server)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    finally:
        await _to_its_end(server.leave)


async def _to_its_end(call: Callable[[], object]) -> None:
    """Run ``call`` in a thread and wait for its end, even where we are cancelled: it cannot be stopped half-way."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _dsn(server: Server) -> Dsn:
    where = f"@/{DATABASE}?host={quote(str(server.socket_dir))}"
    return Dsn(
        url=f"postgresql://{WORK_ROLE}{where}",
        migrate_url=f"postgresql://{OWNER_ROLE}{where}",
        embedded=True,
        bin_dir=server.cluster.binaries.bin_dir,
    )


async def _keep_alive(server: Server, log: Any) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY)
        if server.alive():
            continue
        try:
            if await asyncio.to_thread(server.revive):
                log.warning("postgres.restarted", reason="the embedded PostgreSQL had ended", folder=str(server.folder))
        except (PostgresUnusable, OSError) as error:
            log.warning("postgres.unusable", reason=str(error))
