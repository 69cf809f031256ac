"""A long-running hub process: prepared before the loop, stopped by a signal."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys

import click

from heartwood.cli.common import CONFIG_EXIT, load_layers, run
from heartwood.config.findings import ConfigError
from heartwood.kernel import Kernel, Refused


class Process:
    """One ``serve`` or ``worker`` process. Making it imports the plugins and exits 78 where they cannot be used."""

    def __init__(self, ctx: click.Context, *, role: str, strict: bool) -> None:
        try:
            self.kernel = Kernel(load_layers(ctx), role=role, strict=strict)
        except (ConfigError, Refused) as error:
            click.echo(str(error), err=True)
            sys.exit(CONFIG_EXIT)

    def run(self, *, jobs: bool) -> None:
        """Serve until SIGINT or SIGTERM, then drain and stop; a second signal ends at once."""
        try:
            run(self._serve(jobs=jobs))
        except Refused as error:
            click.echo(str(error), err=True)
            sys.exit(CONFIG_EXIT)

    async def _serve(self, *, jobs: bool) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, stop, number)
        async with self.kernel.running(jobs=jobs):
            self._greet()
            gc.collect()
            gc.freeze()  # what the start has made stays; looking through it again and again would cost each request
            await stop.wait()

    def _stop(self, stop: asyncio.Event, number: signal.Signals) -> None:
        if stop.is_set():
            raise SystemExit(128 + number)
        stop.set()

    def _greet(self) -> None:
        """Say where the hub is and how to ask it something."""
        kernel = self.kernel
        if not kernel.addresses:
            return
        address = kernel.addresses[0]
        click.echo(f"\nheartwood is ready at {address}{kernel.settings.web.api_root}", err=True)
        for record in kernel.records:
            if not record.serving:
                click.echo(f"  plugin {record.name} is {record.label}: {record.reason}", err=True)
        click.echo(
            f'  curl -H "Authorization: Bearer $(cat {kernel.places.local_token})" '
            f"{address}{kernel.settings.web.api_root}/plugins\n",
            err=True,
        )
