"""``heartwood postgres``: the embedded server as a unit of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from heartwood.data.settings import DataSettings
    from heartwood.observe.settings import ObserveSettings


@click.command()
@click.pass_context
def postgres(ctx: click.Context) -> None:
    """Run the embedded PostgreSQL until Ctrl-C or SIGTERM, and print its address.

    For where `serve` and `worker` are service units of their own: let them require this one, so that it starts first
    and stops last. Whoever uses the server last stops it; until then it runs on.
    """
    from heartwood.cli.common import load_layers, run
    from heartwood.config.findings import ConfigError
    from heartwood.data.settings import DataSettings
    from heartwood.observe.settings import ObserveSettings

    layers = load_layers(ctx)
    data, observe = layers.section("data", DataSettings), layers.section("observe", ObserveSettings)
    if data.value is None or observe.value is None:
        raise click.ClickException(str(ConfigError([*layers.findings, *data.findings, *observe.findings])))
    run(_serve(data.value, observe.value))


async def _serve(data: DataSettings, observe: ObserveSettings) -> None:
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
            click.echo(dsn.url)
            await stop.wait()
    except HeartwoodError as error:
        raise click.ClickException(str(error)) from error
