"""A long-running hub process: prepared before the loop, stopped by a signal."""

from __future__ import annotations

import asyncio
import gc
import signal

import click

from heartwood.cli.common import exit_with, load_kernel, run
from heartwood.kernel import Refused


class Process:
    """One ``serve`` or ``worker`` process. Making it imports the plugins and exits 78 where they cannot be used."""

    def __init__(self, ctx: click.Context, *, role: str, strict: bool) -> None:
        self.kernel = load_kernel(ctx, role, strict=strict)
        self._told = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None

    def run(self, *, jobs: bool) -> None:
        """Serve until SIGINT or SIGTERM, then drain and stop; a second signal ends at once."""
        try:
            run(self._serve(jobs=jobs))
        except Refused as error:
            exit_with([error])

    async def _serve(self, *, jobs: bool) -> None:
        self._starting = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, number)
        try:
            async with self.kernel.running(jobs=jobs):
                self._starting = None
                self._greet()
                gc.collect()
                gc.freeze()  # what the start has made stays; looking through it again and again would cost each request
                await self._told.wait()
        except asyncio.CancelledError:  # told while it started
            if not self._told.is_set():
                raise

    def _stop(self, number: signal.Signals) -> None:
        if self._told.is_set():
            raise SystemExit(128 + number)
        self._told.set()
        if self._starting is not None:
            self._starting.cancel()

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
