"""What the sub-commands share: the configuration, the database, a table on the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence

    from heartwood.cli.app import Options
    from heartwood.config.sources import Layers
    from heartwood.contracts.data import Database
    from heartwood.data.embedded import Dsn
    from heartwood.data.migrations import MigrationSource
    from heartwood.kernel import Kernel
    from heartwood.plugins.discovery import Candidate
    from heartwood.settings import Settings

T = TypeVar("T")

CONFIG_EXIT = 78
"""The exit status of a hub that will not start with this configuration (EX_CONFIG of sysexits.h)."""

DEFAULT_FILES = (Path("plugins.toml"), Path("/etc/heartwood/plugins.toml"))


def config_file(ctx: click.Context) -> Path | None:
    """Return the configuration file that was named, else the first default that exists, else None."""
    options: Options = ctx.obj
    return options.config or next((path for path in DEFAULT_FILES if path.is_file()), None)


def load_layers(ctx: click.Context) -> Layers:
    """Return the file, the environment and the command line, read once."""
    from heartwood.config.sources import read_layers

    return read_layers(config_file(ctx), os.environ, ctx.obj.overrides)


def load_settings(ctx: click.Context) -> Settings:
    """Return the kernel's settings; exits 78 with every problem where there is one."""
    from heartwood.settings import read_settings

    settings, findings = read_settings(load_layers(ctx))
    exit_with(findings)
    return settings


def exit_with(problems: Sequence[object]) -> None:
    """Print ``problems``, one a line, and exit 78; goes on where there are none."""
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        sys.exit(CONFIG_EXIT)


def load_kernel(ctx: click.Context, role: str, *, strict: bool = False) -> Kernel:
    """Import the plugins and return the kernel; exits 78 with every problem where it cannot be had."""
    from heartwood.kernel import Kernel, Refused

    try:
        return Kernel(load_layers(ctx), role=role, strict=strict)
    except Refused as error:
        exit_with([error])
        raise


def plugin_candidates(ctx: click.Context) -> dict[str, Candidate]:
    """Return every plugin that is installed or named in the configuration, by name; none is imported."""
    from heartwood.settings import find_plugins

    found = find_plugins(load_layers(ctx), load_settings(ctx).loader)
    return {each.record.name: each for each in found}


def installed_plugins(ctx: click.Context) -> dict[str, Candidate]:
    """Return those whose code is there, also where they are switched off or cannot be imported."""
    return {name: each for name, each in plugin_candidates(ctx).items() if each.reference or each.file}


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on a uvloop loop and return its result."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def database_url(ctx: click.Context) -> AsyncIterator[Dsn]:
    """Attach to the database, or start the embedded one, for as long as the context lasts."""
    from heartwood.data.embedded import running_postgres
    from heartwood.data.places import find_places
    from heartwood.observe.logs import Logs

    settings = load_settings(ctx)
    places = find_places(settings.data, os.environ)
    async with running_postgres(settings.data, places, Logs(settings.observe).logger()) as dsn:
        yield dsn


@asynccontextmanager
async def database(ctx: click.Context, plugin: str = "core") -> AsyncIterator[Database]:
    """Give a connection pool under the name ``plugin``, for as long as the context lasts."""
    import asyncpg

    from heartwood.contracts.errors import HeartwoodError
    from heartwood.data.pool import Pool
    from heartwood.observe.logs import Logs
    from heartwood.observe.metrics import Metrics

    settings = load_settings(ctx)
    async with database_url(ctx) as dsn:
        pool = Pool(dsn, settings.data, Logs(settings.observe).logger(), Metrics())
        await pool.open()
        try:
            yield pool.database(plugin)
        except asyncpg.UndefinedTableError as error:
            message = "the hub's tables are not there yet; start the hub once, or type: heartwood db upgrade"
            raise HeartwoodError(message) from error
        finally:
            await pool.close()


def migration_sources(ctx: click.Context) -> tuple[list[MigrationSource], list[str]]:
    """Return the migrations of the kernel and of every enabled plugin that can be asked, in order.

    Those that cannot be asked are said on standard error; their sentences are the second value.
    """
    from heartwood.assembly import DEAD

    kernel = load_kernel(ctx, "command")
    left_out = [
        f"{each.name}: left out, for it is {each.label}: {each.reason}" for each in kernel.records if each.state in DEAD
    ]
    for sentence in left_out:
        click.echo(sentence, err=True)
    return kernel.migration_sources(), left_out


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table on a terminal, and as tab-separated lines elsewhere."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for row in rows:
            click.echo("\t".join("" if cell is None else str(cell) for cell in row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")  # a narrow terminal breaks a cell in two and hides nothing
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)
