"""The command ``heartwood``: a group whose sub-commands are imported when they are typed."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

KERNEL_COMMANDS = {
    "serve": "Answer HTTP, and run jobs unless --no-jobs.",
    "worker": "Run jobs and answer no HTTP.",
    "postgres": "Run the embedded PostgreSQL as a unit of its own.",
    "config": "Check and show the configuration.",
    "plugin": "List, switch, purge and make plugins.",
    "db": "Upgrade and inspect the database.",
    "jobs": "List, retry and cancel jobs.",
    "token": "Create, list and revoke API tokens.",
}


@frozen
class Options:
    """What was given before the sub-command: where the configuration is, and what replaces its values."""

    config: Path | None
    overrides: tuple[str, ...]


class Commands(click.Group):
    """The kernel's commands, and those that plugins name by entry points of the group ``heartwood.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names of all commands; nothing is imported."""
        return [*KERNEL_COMMANDS, *sorted(set(_contributed()) - set(KERNEL_COMMANDS))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002  (as above)
        """Import the command ``name``; a kernel command can not be replaced by a plugin."""
        if name in KERNEL_COMMANDS:
            return _imported(f"heartwood.cli.{name}:{name}")
        point = _contributed().get(name)
        if point is None:
            return None
        try:
            return _imported(point.value)
        except (Exception, SystemExit) as error:
            owner = point.dist.name if point.dist else point.value
            message = f"the command {name!r} of {owner} could not be loaded: {type(error).__name__}: {error}"
            raise click.ClickException(message) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (as above)
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(KERNEL_COMMANDS.items()))
        contributed = {name: point for name, point in _contributed().items() if name not in KERNEL_COMMANDS}
        if contributed:
            with formatter.section("Commands of plugins"):
                rows = [(name, f"from {point.module.partition('.')[0]}") for name, point in contributed.items()]
                formatter.write_dl(sorted(rows))


def _contributed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="heartwood.commands")}


def _imported(reference: str) -> click.Command:
    module, _, attribute = reference.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    if not isinstance(command, click.Command):
        message = f"{reference} is no click command"
        raise TypeError(message)
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="HEARTWOOD_CONFIG",
    help="The configuration file; by default ./plugins.toml, else /etc/heartwood/plugins.toml.",
)
@click.option("--data", metavar="DIR", help="Where data lies; the same as --set data.dir=DIR.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a setting: data.pool_size=3.")
@click.version_option(package_name="heartwood-hub", prog_name="heartwood")
@click.pass_context
def root(ctx: click.Context, config: Path | None, data: str | None, overrides: Sequence[str]) -> None:
    """A hub for documents, services, money and focus, made of plugins."""
    extra = (f"data.dir={_toml_text(data)}",) if data else ()
    ctx.obj = Options(config, (*extra, *overrides))


def _toml_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main() -> None:
    """Run the command; the console script ``heartwood``."""
    from heartwood.contracts.errors import HeartwoodError

    try:
        root(prog_name="heartwood")
    except HeartwoodError as error:
        click.echo(f"heartwood: {error}", err=True)
        sys.exit(1)
