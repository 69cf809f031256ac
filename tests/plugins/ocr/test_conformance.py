"""The plugin is a good guest."""

from heartwood.testing import conformance
from heartwood_metrics.plugin import MetricsPlugin
from heartwood_ocr.plugin import OcrPlugin


def test_documents_are_a_good_guest():
    """It imports without I/O, describes its settings, brings its tables, types its routes, leaves nothing behind."""
    conformance(OcrPlugin, beside=[MetricsPlugin])
