"""``heartwood config``: check, show and document the configuration. No plugin is imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from heartwood.cli.common import CONFIG_EXIT, config_file, load_layers

if TYPE_CHECKING:
    from heartwood.data.settings import DataSettings

LATER = "Settings of plugins are checked when these are imported: heartwood serve --check"


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Print everything that is wrong, one problem a line, and exit 78 if there is anything.

    Checked are the file, the environment, --set, the kernel's sections and the switches of plugins.
    """
    from heartwood.config.report import read_all
    from heartwood.settings import SECTIONS

    findings = read_all(load_layers(ctx), SECTIONS).everything_wrong
    for finding in findings:
        click.echo(str(finding), err=True)
    if findings:
        sys.exit(CONFIG_EXIT)
    click.echo(f"The configuration is in order. {LATER}")


@config.command()
@click.pass_context
def show(ctx: click.Context) -> None:
    """Print every setting with its value and where it comes from.

    Which settings of a plugin are secret only the plugin knows, so their values are left out.
    """
    from heartwood.config.report import origin_text, read_all, shown
    from heartwood.settings import SECTIONS

    layers = load_layers(ctx)
    report = read_all(layers, SECTIONS)
    click.echo(f"# lines are those of {config_file(ctx) or 'plugins.toml, which is not there'}")
    _show_places(report.sections["data"].value)
    switches = {f"plugins.{name}": layers.switch(name) for name in layers.plugin_names()}
    for name, loaded in (report.sections | switches).items():
        if loaded.value is not None:
            click.echo("\n".join((*shown(name, loaded), "")))
    for name in layers.plugin_names():
        origins = layers.plugin(name, None).origins
        if origins:
            lines = [f"{key} = …  # {origin_text(origins, key)}" for key in origins]
            click.echo("\n".join((f"[plugins.{name}.config]", *lines, "")))
    for finding in report.everything_wrong:
        click.echo(str(finding), err=True)
    if report.everything_wrong:
        sys.exit(CONFIG_EXIT)


def _show_places(data: DataSettings | None) -> None:
    """Say where data lies on this machine, which follows from more than the settings."""
    from heartwood.data.places import PlaceUnusable, find_places

    if data is None:
        return
    try:
        places = find_places(data, os.environ)
    except PlaceUnusable as error:
        click.echo(f"# {error}\n")
    else:
        click.echo(f"# data lies in {places.data_dir}, sockets in {places.runtime_dir}\n")


@config.command()
def reference() -> None:
    """Print the reference of all settings of the kernel, as Markdown."""
    from heartwood.config.reference import reference as written
    from heartwood.settings import SECTIONS

    click.echo(written(SECTIONS), nl=False)
