"""``heartwood read`` and ``heartwood documents``: clients of the HTTP API."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heartwood.client import Hub, hub_options, open_hub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

UNREAD = frozenset({"queued", "reading"})
"""The states of a document that will change by themselves. Every other one, known or not, is an end."""

LOOK_EVERY = 0.3
NOT_READ = 1


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait for the text.")
@hub_options
@click.pass_context
def read(ctx: click.Context, files: Sequence[Path], timeout: float, url: str | None, token: str | None) -> None:
    """Send files in, wait until they have been read, and print their text."""
    ctx.exit(asyncio.run(_read(ctx, files, timeout, url, token)))


async def _read(ctx: click.Context, files: Sequence[Path], patience: float, url: str | None, token: str | None) -> int:
    from rich.console import Console  # noqa: PLC0415  (imported where it is needed: it is heavy)

    progress = Console(stderr=True)
    async with open_hub(ctx, url, token) as hub:
        with progress.status(f"sending {len(files)} file(s)"):
            sent = await _upload(hub, files)
        documents = [await _wait(hub, each, progress, time.monotonic() + patience) for each in sent]
        for document in documents:
            await _print(hub, document, heading=len(documents) > 1)
    return NOT_READ if any(each["status"] in {"failed", *UNREAD} for each in documents) else 0


async def _upload(hub: Hub, files: Sequence[Path]) -> list[dict[str, Any]]:
    import aiohttp  # noqa: PLC0415  (imported where it is needed: it is heavy)

    with ExitStack() as opened:
        form = aiohttp.FormData(quote_fields=False)
        for file in files:
            stream = opened.enter_context(file.open("rb"))
            form.add_field("file", stream, filename=file.name, content_type="application/octet-stream")
        answer = await hub.json("POST", "documents/upload", data=form)
    documents: list[dict[str, Any]] = answer["documents"]
    return documents


async def _wait(hub: Hub, sent: dict[str, Any], progress: Console, deadline: float) -> dict[str, Any]:
    """Look at a document until it has been read, has to wait for something, or the time is up."""
    with progress.status(sent["name"]) as line:
        while True:
            document: dict[str, Any] = await hub.json("GET", f"documents/{sent['id']}")
            if document["status"] not in UNREAD or document["problem"] or time.monotonic() > deadline:
                return document
            line.update(f"{sent['name']}: {document['status']}, {len(document['pages'])} page(s) so far")
            await asyncio.sleep(LOOK_EVERY)


async def _print(hub: Hub, document: dict[str, Any], *, heading: bool) -> None:
    if document["problem"] or document["status"] in UNREAD:
        problem = document["problem"] or f"not read yet; later: heartwood documents show {document['id']}"
        click.echo(f"{document['name']}: {document['status']}: {problem}", err=True)
    if heading:
        click.echo(f"== {document['name']} ==")
    text = await hub.text(f"documents/{document['id']}/text")
    if text:
        click.echo(text)


@click.group()
def documents() -> None:
    """List, show and search documents."""


@documents.command(name="list")
@click.option("--status", help="Only those in this state, such as needs_review.")
@hub_options
@click.pass_context
def list_documents(ctx: click.Context, status: str | None, url: str | None, token: str | None) -> None:
    """List the newest documents."""
    query = {"status": status} if status else {}
    _print_rows(asyncio.run(_list(ctx, query, url, token)), "problem")


@documents.command()
@click.argument("words", nargs=-1, required=True)
@hub_options
@click.pass_context
def search(ctx: click.Context, words: Sequence[str], url: str | None, token: str | None) -> None:
    """Find documents by words in their text or name."""
    _print_rows(asyncio.run(_list(ctx, {"q": " ".join(words)}, url, token)), "snippet")


@documents.command()
@click.argument("document", type=click.UUID)
@hub_options
@click.pass_context
def show(ctx: click.Context, document: object, url: str | None, token: str | None) -> None:
    """Show where a document stands, and its text."""
    asyncio.run(_show(ctx, str(document), url, token))


async def _list(ctx: click.Context, query: dict[str, str], url: str | None, token: str | None) -> list[dict[str, Any]]:
    async with open_hub(ctx, url, token) as hub:
        page = await hub.json("GET", "documents", query=query)
    items: list[dict[str, Any]] = page["items"]
    return items


async def _show(ctx: click.Context, document: str, url: str | None, token: str | None) -> None:
    async with open_hub(ctx, url, token) as hub:
        found = await hub.json("GET", f"documents/{document}")
        for name in ("name", "status", "problem", "media_type", "size", "created"):
            if found[name] is not None:
                click.echo(f"{name:<12}{found[name]}")
        for page in found["pages"]:
            sure = "" if page["confidence"] is None else f", confidence {page['confidence']:.2f}"
            click.echo(f"page {page['number']:<7}{page['source']}{sure}")
        click.echo()
        await _print(hub, found, heading=False)


def _print_rows(rows: Sequence[dict[str, Any]], last: str) -> None:
    for row in rows:
        remark = " ".join((row[last] or "").split())
        click.echo("\t".join((row["id"], row["created"][:16], row["status"], row["name"], remark)).rstrip())
