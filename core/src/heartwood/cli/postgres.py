"""``heartwood postgres``: the embedded server as a unit of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heartwood.data.embedded import Dsn
    from heartwood.data.settings import DataSettings
    from heartwood.observe.settings import ObserveSettings


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def postgres(ctx: click.Context, command: Sequence[str]) -> None:
    """Run the embedded PostgreSQL until Ctrl-C or SIGTERM, and print its address.

    For where `serve` and `worker` are service units of their own: let them require this one, so that it starts first
    and stops last. Whoever uses the server last stops it; until then it runs on.

    With COMMAND, such as `psql` or `pg_dump --format=custom --file=hub.dump`, run that instead: PostgreSQL's own
    programs of the right version come first on its PATH, and it connects as the owner of the tables.
    """
    from heartwood.cli.common import load_layers, run
    from heartwood.config.findings import ConfigError
    from heartwood.data.settings import DataSettings
    from heartwood.observe.settings import ObserveSettings

    layers = load_layers(ctx)
    data, observe = layers.section("data", DataSettings), layers.section("observe", ObserveSettings)
    if data.value is None or observe.value is None:
        raise click.ClickException(str(ConfigError([*layers.findings, *data.findings, *observe.findings])))
    sys.exit(run(_serve(data.value, observe.value, command)))


async def _serve(data: DataSettings, observe: ObserveSettings, command: Sequence[str]) -> int:
    """Return the exit status: that of ``command``, where there is one."""
    from heartwood.contracts.errors import HeartwoodError
    from heartwood.data.embedded import running_postgres
    from heartwood.data.places import find_places
    from heartwood.observe.logs import Logs

    if data.external_url():
        message = "data.database_url (or POSTGRES_…) names another server: there is no embedded one to run"
        raise click.ClickException(message)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with running_postgres(data, find_places(data, os.environ), Logs(observe).logger()) as dsn:
            if command:
                return await _run_tool(dsn, command)
            click.echo(dsn.url)
            await stop.wait()
    except HeartwoodError as error:
        raise click.ClickException(str(error)) from error
    return 0


async def _run_tool(dsn: Dsn, command: Sequence[str]) -> int:
    """Run ``command`` in the foreground with what libpq needs to find the server, and return its exit status."""
    address = urlsplit(dsn.migrate_url)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
        "PATH": f"{dsn.bin_dir}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PGHOST": parse_qs(address.query)["host"][0],
        "PGUSER": address.username or "",
        "PGDATABASE": address.path.removeprefix("/"),
    }
    try:
        return await (await asyncio.create_subprocess_exec(*command, env=environment)).wait()
    except OSError as error:
        message = f"{command[0]} cannot be run: {error.strerror}"
        raise click.ClickException(message) from error
