"""Print the settings of the plugins that come with heartwood, as the page for operators has them."""

from __future__ import annotations

from heartwood.config.reference import reference
from heartwood_metrics.config import MetricsConfig
from heartwood_ocr.config import OcrConfig

HEAD = """# Settings of plugins

Written by `python tests/operators/plugin_settings.py`. They stand in `plugins.toml` like all others, and the
environment and the command line replace them in the same way (`HEARTWOOD__PLUGINS__OCR__CONFIG__MAX_SIZE=1000000`,
`--set plugins.ocr.config.max_size=1000000`).
"""
CLASSES = {"plugins.metrics.config": MetricsConfig, "plugins.ocr.config": OcrConfig}


def page() -> str:
    """Return the page."""
    written = reference(CLASSES)
    return f"{HEAD}\n{written[written.index('## ') :]}"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  (a command)
