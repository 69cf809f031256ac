"""The plugin is a good guest."""

from heartwood.testing import conformance
from heartwood_metrics.plugin import MetricsPlugin


def test_metrics_are_a_good_guest():
    """It imports without I/O, describes its settings, has typed routes, and leaves nothing behind."""
    conformance(MetricsPlugin, config={"listen": "127.0.0.1:0"})
