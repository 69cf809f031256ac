"""``heartwood config``: check, show and document the configuration. Plugins are imported only where asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from heartwood.cli.common import config_file, exit_with, load_kernel, load_layers

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

    Checked are the file, the environment, --set, the kernel's sections, and that every plugin that is switched on is
    installed, fits this version, and claims nothing of another's.
    """
    from heartwood.plugins.records import State
    from heartwood.settings import find_plugins, read_settings

    layers = load_layers(ctx)
    settings, findings = read_settings(layers)
    for each in find_plugins(layers, settings.loader):
        if each.record.state not in (State.FOUND, State.DISABLED):
            findings.append(layers.finding(("plugins", each.record.name), each.record.reason))
    exit_with(findings)
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
    exit_with(report.findings)


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
@click.option("--plugins", is_flag=True, help="Of the plugins that are switched on, which are imported for it.")
@click.pass_context
def reference(ctx: click.Context, plugins: bool) -> None:
    """Print the reference of all settings of the kernel, or of those of plugins, as Markdown."""
    from heartwood.config.reference import PLUGINS_HEAD
    from heartwood.config.reference import reference as written
    from heartwood.settings import SECTIONS

    if plugins:
        click.echo(written(_classes(ctx), PLUGINS_HEAD), nl=False)
    else:
        click.echo(written(SECTIONS), nl=False)


def _classes(ctx: click.Context) -> dict[str, type]:
    """Return the settings class of each plugin that is switched on and has one; says which could not be imported."""
    from heartwood.plugins.records import State

    classes: dict[str, type] = {}
    for record in sorted(load_kernel(ctx, "command").records, key=lambda record: record.name):
        if record.plugin is None and record.reason and record.state is not State.DISABLED:
            click.echo(f"plugin {record.name!r} is {record.label}: {record.reason}", err=True)
        elif record.plugin is not None and record.plugin.config is not None:
            classes[f"plugins.{record.name}.config"] = record.plugin.config
    return classes
