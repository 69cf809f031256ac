"""The whole configuration at once: every section as a value, everything that is wrong, and where it all comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.config.fields import leaves
from heartwood.config.reference import toml_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from heartwood.config.findings import Finding
    from heartwood.config.sources import Layers, Loaded, Origin


@frozen
class Report:
    """What the layers say, for the sections and plugins that were asked for.

    Args:
        sections: the kernel's sections by name.
        plugins: the settings of plugins by name.
        findings: what is wrong with the file, with unknown sections, switches and the kernel's sections.
    """

    sections: dict[str, Loaded[Any]]
    plugins: dict[str, Loaded[Any]]
    findings: list[Finding]

    @property
    def everything_wrong(self) -> list[Finding]:
        """All problems, those of plugins last."""
        return [*self.findings, *(finding for loaded in self.plugins.values() for finding in loaded.findings)]


def read_all(layers: Layers, sections: Mapping[str, type], plugins: Mapping[str, type | None] | None = None) -> Report:
    """Return the report on ``sections``, and on ``plugins`` where their classes are at hand.

    Args:
        layers: what was configured.
        sections: the settings class of each section of the kernel.
        plugins: the settings class (or None) of each plugin that was imported.
    """
    kernel: dict[str, Loaded[Any]] = {name: layers.section(name, cls) for name, cls in sections.items()}
    findings = [
        *layers.findings,
        *layers.unknown(sections),
        *(each for one in kernel.values() for each in one.findings),
    ]
    return Report(kernel, {name: layers.plugin(name, cls) for name, cls in (plugins or {}).items()}, findings)


def shown(name: str, loaded: Loaded[Any]) -> Iterator[str]:
    """Yield a section as TOML, each value with where it comes from; a secret is three stars."""
    yield f"[{name}]"
    for key, _ in leaves(type(loaded.value)):
        value = loaded.value
        for part in key:
            value = getattr(value, part, None)
        dotted = ".".join(key)
        origin = origin_text(loaded.origins, dotted)
        yield f"# {dotted} is not set" if value is None else f"{dotted} = {toml_text(value)}  # {origin}"


def origin_text(origins: Mapping[str, Origin], dotted: str) -> str:
    """Return where a value comes from: its own origin, or that of what is set inside of it."""
    inside = (each for key, each in origins.items() if key == dotted or key.startswith(f"{dotted}."))
    origin = next(inside, None)
    if origin is None:
        return "default"
    return f"line {origin.line}" if origin.source == "file" else origin.source
