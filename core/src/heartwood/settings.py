"""The sections of the configuration: which class each is made from."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import Attribute, frozen

from heartwood.config.report import read_all
from heartwood.contracts.settings import setting
from heartwood.data.settings import DataSettings
from heartwood.observe.settings import ObserveSettings
from heartwood.plugins.discovery import discover
from heartwood.plugins.settings import LoaderSettings
from heartwood.web.settings import WebSettings
from heartwood.work.settings import WorkSettings

if TYPE_CHECKING:
    from heartwood.config.findings import Finding
    from heartwood.config.sources import Layers
    from heartwood.plugins.discovery import Candidate


def _zone(_: Any, __: Attribute[str], value: str) -> None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        msg = f"expected a time zone such as Europe/Berlin, got {value!r}"
        raise ValueError(msg) from None


@frozen
class HubSettings:
    """What the hub is to its people."""

    name: str = setting("heartwood", help="How the hub calls itself.")
    timezone: str = setting("UTC", help="Time zone in which schedules are read.", validator=_zone)


@frozen
class Settings:
    """All sections of the kernel."""

    hub: HubSettings
    web: WebSettings
    data: DataSettings
    work: WorkSettings
    loader: LoaderSettings
    observe: ObserveSettings


SECTIONS = MappingProxyType(
    {
        "hub": HubSettings,
        "web": WebSettings,
        "data": DataSettings,
        "work": WorkSettings,
        "loader": LoaderSettings,
        "observe": ObserveSettings,
    }
)
"""Every section of ``plugins.toml`` beside ``[plugins]``. Importing this imports no library that a section is about."""


def read_settings(layers: Layers) -> tuple[Settings, list[Finding]]:
    """Return the kernel's sections and everything that is wrong; a section with a fault is as if nobody had set it."""
    report = read_all(layers, SECTIONS)
    values = {name: SECTIONS[name]() if one.value is None else one.value for name, one in report.sections.items()}
    return Settings(**values), [*report.findings, *_missing_folder(layers, values["loader"])]


def _missing_folder(layers: Layers, loader: LoaderSettings) -> list[Finding]:
    folder = loader.folder(layers.file)
    if folder is None or folder.is_dir():
        return []
    return [layers.finding(("loader", "plugins_dir"), f"there is no folder {folder}")]


def find_plugins(layers: Layers, loader: LoaderSettings) -> list[Candidate]:
    """Return every plugin that is installed, lies in the folder of plugins or is configured; none is imported."""
    return discover(layers.plugin_switches(), folder=loader.folder(layers.file))
