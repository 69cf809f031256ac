"""The sections of the configuration: which class each is made from."""

from __future__ import annotations

from types import MappingProxyType

from heartwood.data.settings import DataSettings
from heartwood.observe.settings import ObserveSettings
from heartwood.plugins.settings import LoaderSettings
from heartwood.web.settings import WebSettings
from heartwood.work.settings import WorkSettings

SECTIONS = MappingProxyType(
    {
        "web": WebSettings,
        "data": DataSettings,
        "work": WorkSettings,
        "loader": LoaderSettings,
        "observe": ObserveSettings,
    }
)
"""Every section of ``plugins.toml`` beside ``[plugins]``. Importing this imports no library that a section is about."""
