"""``heartwood links``: a client of the HTTP API."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from heartwood.client import hub_options, open_hub


@click.command()
@hub_options
@click.pass_context
def links(ctx: click.Context, url: str | None, token: str | None) -> None:
    """Print the links that were kept, newest first."""

    async def read() -> Any:
        async with open_hub(ctx, url, token) as hub:
            return await hub.json("GET", "links")

    for link in asyncio.run(read())["items"]:
        click.echo(f"{link['title']}\t{link['url']}\t{' '.join(link['labels'])}")
