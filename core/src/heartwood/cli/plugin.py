"""``heartwood plugin``: list, switch, purge and make plugins. No plugin is imported here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heartwood.cli.common import (
    config_file,
    database_url,
    installed_plugins,
    load_layers,
    load_settings,
    plugin_candidates,
    print_table,
    run,
)

if TYPE_CHECKING:
    from heartwood.plugins.discovery import Candidate

HEADER = ("name", "state", "version", "package", "prefixes", "why")


@click.group()
def plugin() -> None:
    """List, switch, purge and make plugins."""


@plugin.command("list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """Print all plugins that are installed or configured, as their metadata has them."""
    print_table(HEADER, [_row(each) for each in plugin_candidates(ctx).values()])


@plugin.command()
@click.argument("name")
@click.pass_context
def show(ctx: click.Context, name: str) -> None:
    """Print what the metadata and the configuration say of the plugin NAME."""
    found = _installed(ctx, name)
    record = found.record
    lines = {
        "name": record.name,
        "state": _state(found),
        "why": record.reason,
        "package": record.distribution,
        "version": record.version,
        "code": found.reference or found.file,
        "prefixes": ", ".join(f"/business/{prefix}" for prefix in record.prefixes),
        "roots": ", ".join(f"/{root}" for root in record.roots),
        "commands": ", ".join(f"heartwood {command}" for command in found.commands),
        "required": "yes" if record.required else "no",
    }
    for key, value in lines.items():
        if value:
            click.echo(f"{key}: {value}")


@plugin.command()
@click.argument("name")
@click.pass_context
def enable(ctx: click.Context, name: str) -> None:
    """Switch the plugin NAME on, from the next start of the hub."""
    _installed(ctx, name)
    _switch(ctx, name, enabled=True)


@plugin.command()
@click.argument("name")
@click.pass_context
def disable(ctx: click.Context, name: str) -> None:
    """Switch the plugin NAME off, from the next start of the hub. Its data stays."""
    if name not in load_layers(ctx).plugin_names():
        _installed(ctx, name)
    _switch(ctx, name, enabled=False)


@plugin.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def purge(ctx: click.Context, name: str, yes: bool) -> None:
    """Drop what the plugin NAME has stored: its tables, jobs, subscriptions and the files of its own folder."""
    import shutil

    from heartwood.data import migrations
    from heartwood.data.places import find_places

    _check_name(name)  # it becomes the name of a folder that is removed, and of a schema that is dropped
    switch = load_layers(ctx).plugin_switches().get(name)
    if switch is not None and switch.enabled:
        message = f"plugin {name!r} is switched on; type: heartwood plugin disable {name}, and stop the hub"
        raise click.UsageError(message)
    if not yes:
        click.confirm(f"Drop all data of plugin {name!r}?", abort=True)

    async def drop() -> bool:
        async with database_url(ctx) as dsn:
            return await migrations.purge(dsn.migrate_url, name)

    had_schema = run(drop())
    folder = find_places(load_settings(ctx).data, os.environ).data_dir / "plugins" / name
    had_folder = folder.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    click.echo(f"{name}: {'its data is gone' if had_schema or had_folder else 'it had no data'}")


@plugin.command()
@click.argument("name")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="Where to write it; by default ./heartwood-NAME."
)
def new(name: str, folder: Path | None) -> None:
    """Write a package with the plugin NAME: a table, two routes, a job, a metric, settings and tests."""
    _check_name(name)
    words = _words(name)
    target = folder or Path(words["distribution"])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        message = f"{target} is there already and not empty; name another place with --dir"
        raise click.UsageError(message)
    for path, text in _rendered(words).items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {target}. Next: cd {target}, install it with `pip install -e . --group dev`, and run `pytest`.")


def _check_name(name: str) -> None:
    from heartwood.plugins.discovery import fault_of_name

    if fault := fault_of_name(name):
        raise click.UsageError(fault)


def _installed(ctx: click.Context, name: str) -> Candidate:
    """Return the plugin ``name``, or end with the names that there are."""
    from heartwood.plugins.discovery import missing

    found = installed_plugins(ctx)
    if name not in found:
        raise click.ClickException(missing(name, found))
    return found[name]


def _switch(ctx: click.Context, name: str, *, enabled: bool) -> None:
    from heartwood.config.edit import set_enabled

    file = config_file(ctx) or Path("plugins.toml")
    set_enabled(file, name, enabled)
    word = "on" if enabled else "off"
    switch = load_layers(ctx).plugin_switches().get(name)
    if switch is not None and switch.enabled is not enabled:
        click.echo(f"{name} is switched {word} in {file}, but the environment or --set says otherwise", err=True)
    else:
        click.echo(f"{name} is switched {word} in {file}; the hub does so at its next start")


def _row(found: Candidate) -> tuple[object, ...]:
    record = found.record
    return (
        record.name,
        _state(found),
        record.version,
        record.distribution,
        " ".join(record.prefixes),
        record.reason,
    )


def _state(found: Candidate) -> str:
    from heartwood.plugins.records import State

    return "enabled" if found.record.state is State.FOUND else found.record.label


def _words(name: str) -> dict[str, str]:
    """Return what the template's placeholders stand for."""
    from importlib.metadata import version

    major, minor = (int(part) for part in version("heartwood-hub").split(".")[:2])
    until = f"{major + 1}" if major else f"0.{minor + 1}"
    stem = "".join(part.title() for part in name.split("_"))
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "stem": stem,
        "class_name": f"{stem}Plugin",
        "package": f"heartwood_{name}",
        "distribution": f"heartwood-{name.replace('_', '-')}",
        "range": f">={major}.{minor},<{until}",
    }


def _rendered(words: dict[str, str]) -> dict[str, str]:
    """Return the files of the template by their path in the package."""
    from importlib.resources import as_file, files
    from string import Template

    with as_file(files("heartwood") / "template") as folder:
        return {
            str(file.relative_to(folder).with_suffix("")).replace("PACKAGE", words["package"]): Template(
                file.read_text(encoding="utf-8")
            ).substitute(words)
            for file in sorted(folder.rglob("*.tmpl"))
        }
