"""``heartwood token``: create, list and revoke API tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from heartwood.cli.common import database, load_kernel, print_table, run
from heartwood.contracts.people import EVERYTHING, Actor
from heartwood.identity import store
from heartwood.identity.people import OWNER, find_person
from heartwood.identity.permissions import PermissionCatalog
from heartwood.identity.tokens import DEFAULT_DAYS, LONGEST_DAYS, create_token, revoke_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heartwood.identity.store import TokenInfo
    from heartwood.identity.tokens import NewToken

ACTOR = Actor(None, "command line", frozenset({EVERYTHING}), "command")
HEADER = ("id", "person", "name", "scopes", "created", "expires", "last used", "state")


@click.group()
def token() -> None:
    """Create, list and revoke API tokens."""


@token.command()
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@click.option("--person", default=OWNER, show_default=True, help="Who acts with it.")
@click.option("--scope", "scopes", multiple=True, help="A permission it is good for; without, all the person may.")
@click.option(
    "--expires", "days", default=DEFAULT_DAYS, show_default=True, type=click.IntRange(1, LONGEST_DAYS), metavar="DAYS"
)
@click.pass_context
def create(ctx: click.Context, name: str, person: str, scopes: Sequence[str], days: int) -> None:
    """Make a token and print it. It is shown this once."""
    catalog = _catalog(ctx, scopes)

    async def make() -> NewToken:
        async with database(ctx) as core, core.unit(ACTOR) as tx:
            whom = await find_person(tx, person)
            return await create_token(tx, catalog, whom, name=name, scopes=list(scopes) or None, days=days)

    made = run(make())
    click.echo(made.text)
    click.echo(f"Token {made.id} of {person} expires on {made.expires:%F}; it is not shown again.", err=True)


@token.command("list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """Print all tokens without their text."""

    async def ask() -> list[TokenInfo]:
        async with database(ctx) as core:
            return await store.tokens_of(core, ACTOR)

    print_table(HEADER, [_row(each) for each in run(ask())])


@token.command()
@click.argument("tokens", metavar="ID...", type=int, nargs=-1, required=True)
@click.pass_context
def revoke(ctx: click.Context, tokens: Sequence[int]) -> None:
    """End tokens: they are refused from now on. Either all of them are ended or none."""

    async def end() -> list[str]:
        async with database(ctx) as core, core.unit(ACTOR) as tx:
            return [await revoke_token(tx, each) for each in tokens]

    for number, name in zip(tokens, run(end()), strict=True):
        click.echo(f"{number} ({name}) revoked")


def _catalog(ctx: click.Context, scopes: Sequence[str]) -> PermissionCatalog:
    """Return the permissions there are. Plugins are imported only where a scope has to be checked."""
    if not scopes:
        return PermissionCatalog(())
    return PermissionCatalog(load_kernel(ctx, "command").assembly.parts.permissions)


def _row(each: TokenInfo) -> tuple[object, ...]:
    expired = each.expires is not None and each.expires <= datetime.now(UTC)
    return (
        each.id,
        each.person,
        each.name,
        "all" if each.scopes is None else " ".join(each.scopes),
        f"{each.created:%F}",
        each.expires and f"{each.expires:%F}",
        each.last_used and f"{each.last_used:%F %R}",
        "revoked" if each.revoked else "expired" if expired else "valid",
    )
