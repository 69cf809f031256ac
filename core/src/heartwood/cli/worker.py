"""``heartwood worker``: run jobs, answer no HTTP."""

from __future__ import annotations

import click

from heartwood.cli.process import Process


@click.command()
@click.option("--strict", is_flag=True, help="Start nothing unless every enabled plugin can run (exit 78).")
@click.pass_context
def worker(ctx: click.Context, *, strict: bool) -> None:
    """Run jobs until Ctrl-C or SIGTERM; as many workers as one likes share one database."""
    Process(ctx, role="worker", strict=strict).run(jobs=True)
