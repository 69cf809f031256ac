"""``heartwood jobs``: what waits, runs and failed, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from heartwood.contracts.jobs import JobState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from heartwood.contracts.data import Transaction

HEADER = ("id", "job", "state", "attempts", "for", "changed", "reason")


@click.group()
def jobs() -> None:
    """List jobs, show one with its attempts, try dead ones again, cancel."""


@jobs.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice([str(state) for state in JobState]))
@click.option("--plugin", help="Only the jobs of this plugin.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 500))
@click.option("--cursor", help="Go on where the page before ended.")
@click.pass_context
def list_(ctx: click.Context, states: Sequence[str], plugin: str | None, limit: int, cursor: str | None) -> None:
    """Print jobs, newest first."""
    from heartwood.cli.common import database, print_table, run
    from heartwood.work.inspect import list_jobs

    async def ask() -> None:
        async with database(ctx) as core:
            chosen = [JobState(state) for state in states]
            page = await list_jobs(core, states=chosen, plugin=plugin, limit=limit, cursor=cursor)
        rows = [
            (
                job.id,
                job.name,
                job.state,
                job.attempts,
                job.actor and job.actor.name,
                f"{job.updated:%F %T}",
                job.reason,
            )
            for job in page.items
        ]
        print_table(HEADER, rows)
        if page.next is not None:
            click.echo(f"more: --cursor {page.next}", err=True)

    run(ask())


@jobs.command()
@click.argument("job", type=int)
@click.pass_context
def show(ctx: click.Context, job: int) -> None:
    """Print JOB with its attempts."""
    from heartwood.cli.common import database, print_table, run
    from heartwood.work.inspect import show_job

    async def ask() -> None:
        async with database(ctx) as core:
            history = await show_job(core, job)
        info = history.job
        click.echo(f"{info.name} {info.id}: {info.state}{f', {info.reason}' if info.reason else ''}")
        rows = [
            (number, f"{each.started:%F %T}", each.ended and f"{each.ended:%F %T}", each.state, each.reason)
            for number, each in enumerate(history.attempts, 1)
        ]
        print_table(("attempt", "started", "ended", "then", "reason"), rows)

    run(ask())


@jobs.command()
@click.argument("job", type=int, nargs=-1, required=True)
@click.pass_context
def retry(ctx: click.Context, job: Sequence[int]) -> None:
    """Queue dead jobs again."""
    from heartwood.work.inspect import retry_job

    _change(ctx, job, retry_job, "queued")


@jobs.command()
@click.argument("job", type=int, nargs=-1, required=True)
@click.pass_context
def cancel(ctx: click.Context, job: Sequence[int]) -> None:
    """End jobs that wait, run or are dead."""
    from heartwood.work.inspect import cancel_job

    _change(ctx, job, cancel_job, "cancelled")


def _change(
    ctx: click.Context, ids: Sequence[int], change: Callable[[Transaction, int], Awaitable[None]], done: str
) -> None:
    """Change each job in a transaction of its own; exits 1 where one could not be changed."""
    from heartwood.cli.common import database, run
    from heartwood.contracts.errors import Problem
    from heartwood.contracts.people import Actor

    actor = Actor(None, "command line", frozenset({"*"}), "command")
    failed: list[str] = []

    async def work() -> None:
        async with database(ctx) as core:
            for job in ids:
                try:
                    async with core.unit(actor) as tx:
                        await change(tx, job)
                except Problem as error:
                    failed.append(error.detail)
                else:
                    click.echo(f"{job} {done}")

    run(work())
    if failed:
        raise click.ClickException("\n".join(failed))
