"""``heartwood db``: upgrade and inspect the schemas of the kernel and of the plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from heartwood.cli.common import (
    database_url,
    installed_plugins,
    load_settings,
    migration_sources,
    print_table,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import asyncpg

    from heartwood.data.migrations import MigrationSource, Standing


@click.group()
def db() -> None:
    """Upgrade and inspect the database."""


@db.command()
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Apply what is pending: core first, then every plugin; exits 1 if one of them failed.

    A plugin that cannot be asked for its tables is named and left out.
    """
    from heartwood.data import migrations
    from heartwood.observe.logs import Logs

    log = Logs(load_settings(ctx).observe).logger()
    sources, _ = migration_sources(ctx)

    async def apply() -> dict[str, migrations.Upgraded]:
        async with database_url(ctx) as dsn:
            return await migrations.upgrade(dsn.migrate_url, sources, log, grantee=dsn.grantee)

    done = run(apply())
    for plugin, result in done.items():
        state = f"failed, nothing of it was applied: {result.error}" if result.error else "up to date"
        click.echo(f"{plugin}: {' '.join([*result.applied, state]) if result.applied else state}")
    _exit_if(any(result.error for result in done.values()))


@db.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show where every plugin's schema stands."""
    sources, _ = migration_sources(ctx)
    found = run(_with_url(ctx, lambda url: _standings(url, sources)))
    print_table(("plugin", "at", "last", "state"), [(s.plugin, s.current, s.head, _state(s)) for s in found])


@db.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Look for pending revisions, drift from the tables, and forbidden foreign keys.

    Exits 1 if there are some, or if an enabled plugin could not be asked.
    """
    from heartwood.data import migrations

    sources, left_out = migration_sources(ctx)
    found = run(_with_url(ctx, lambda url: migrations.check(url, sources)))
    for plugin, faults in found.items():
        for fault in faults or ["as it should be"]:
            click.echo(f"{plugin}: {fault}")
    _exit_if(any(found.values()) or bool(left_out))


@db.command()
@click.argument("plugin")
@click.option("--revision", help="The revision that the tables are at; by default the last one.")
@click.pass_context
def adopt(ctx: click.Context, plugin: str, revision: str | None) -> None:
    """Accept tables of PLUGIN that the hub did not make, once they are what its revision makes."""
    from heartwood.data import migrations

    source = _source(ctx, plugin)
    adopted = run(_with_url(ctx, lambda url: migrations.adopt(url, source, revision)))
    click.echo(f"{plugin}: adopted at {adopted}")


@db.command()
@click.argument("plugin")
@click.option("-m", "--message", required=True, help="What the revision does, in a few words.")
@click.pass_context
def revision(ctx: click.Context, plugin: str, message: str) -> None:
    """Write the next revision of PLUGIN: what its tables have and the database has not."""
    from heartwood.data import migrations

    source = _source(ctx, plugin)
    path = run(_with_url(ctx, lambda url: migrations.write_revision(url, source, message)))
    click.echo(f"{plugin}: wrote {path}; read it before you apply it")


@db.command()
@click.pass_context
def orphans(ctx: click.Context) -> None:
    """List the schemas of plugins that are not installed any more."""
    from heartwood.data import migrations

    installed = installed_plugins(ctx)
    found = run(_with_url(ctx, lambda url: _asking(url, lambda connection: migrations.orphans(connection, installed))))
    for schema in found:
        click.echo(f"{schema}: plugin not installed; to drop its data, type: heartwood plugin purge {schema}")


async def _with_url(ctx: click.Context, ask: Callable[[str], Awaitable[Any]]) -> Any:
    """Ask with the address of a role that owns the tables."""
    async with database_url(ctx) as dsn:
        return await ask(dsn.migrate_url)


async def _asking(url: str, ask: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
    from heartwood.data.connections import connect

    connection = await connect(url)
    try:
        return await ask(connection)
    finally:
        await connection.close()


async def _standings(url: str, sources: Sequence[MigrationSource]) -> list[Standing]:
    from heartwood.data import migrations

    found: dict[str, Standing] = await _asking(url, lambda connection: migrations.standings(connection, sources))
    return list(found.values())


def _source(ctx: click.Context, plugin: str) -> MigrationSource:
    sources = {source.plugin: source for source in migration_sources(ctx)[0]}
    if plugin not in sources:
        message = f"no enabled plugin {plugin!r} has tables; there are: {', '.join(sources)}"
        raise click.UsageError(message)
    return sources[plugin]


def _state(standing: Standing) -> str:
    return standing.problem or (f"pending: {', '.join(standing.pending)}" if standing.pending else "up to date")


def _exit_if(failed: bool) -> None:
    if failed:
        raise SystemExit(1)
