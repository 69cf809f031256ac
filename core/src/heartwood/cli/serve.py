"""``heartwood serve``: answer HTTP, and run jobs."""

from __future__ import annotations

import click

from heartwood.cli.process import Process


@click.command()
@click.option("--no-jobs", is_flag=True, help="Leave jobs to `heartwood worker`.")
@click.option("--strict", is_flag=True, help="Start nothing unless every enabled plugin can run (exit 78).")
@click.option("--check", is_flag=True, help="Import and check everything, then exit without serving.")
@click.pass_context
def serve(ctx: click.Context, *, no_jobs: bool, strict: bool, check: bool) -> None:
    """Answer HTTP until Ctrl-C or SIGTERM, and run jobs unless --no-jobs."""
    process = Process(ctx, role="serve", strict=strict or check)
    if check:
        click.echo("Everything that can be checked without starting is in order.")
        return
    process.run(jobs=not no_jobs)
