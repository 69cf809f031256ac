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
    """What the layers say, for the sections that were asked for.

    Args:
        sections: the sections by name.
        findings: what is wrong with the file, with unknown sections, switches and the sections.
    """

    sections: dict[str, Loaded[Any]]
    findings: list[Finding]


def read_all(layers: Layers, sections: Mapping[str, type]) -> Report:
    """Return the report on ``sections``, each with its settings class."""
    kernel: dict[str, Loaded[Any]] = {name: layers.section(name, cls) for name, cls in sections.items()}
    findings = [
        *layers.findings,
        *layers.unknown(sections),
        *(each for one in kernel.values() for each in one.findings),
    ]
    return Report(kernel, findings)


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
