"""Records of plugins that a test writes as classes, and packages that are folders of metadata."""

from __future__ import annotations

from importlib.metadata import PathDistribution

import pytest

from heartwood.plugins.calls import Hooks
from heartwood.plugins.loader import adopt
from heartwood.plugins.records import Record


@pytest.fixture(name="record")
def _record():
    """Make the record of a plugin class as the loader does: ``record(cls, prefixes=("a",))``."""

    def make(cls, **known):
        made = Record(cls.name, **({"prefixes": (cls.name,)} | known))
        adopt(made, cls)
        made.context = f"context of {cls.name}"
        return made

    return make


@pytest.fixture(name="registered")
def _registered(record):
    """Register plugin classes; returns the hooks and their records."""

    def register(*classes):
        hooks, records = Hooks(), [record(cls) for cls in classes]
        hooks.register(records)
        return hooks, records

    return register


@pytest.fixture(name="package")
def _package(tmp_path):
    """Make an installed distribution: a ``dist-info`` folder with entry points and requirements, read for real."""

    def make(name, points, *, requires=("heartwood-hub>=0.1",), folder="site"):
        info = tmp_path / folder / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        lines = "".join(f"Requires-Dist: {each}\n" for each in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{lines}")
        text = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in each.items()) for group, each in points.items()]
        (info / "entry_points.txt").write_text("\n".join(text))
        return PathDistribution(info)

    return make
