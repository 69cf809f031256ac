"""What Prometheus scrapes."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from heartwood.api import HeartwoodError
from heartwood.observe.metrics import Metrics
from heartwood.plugins.records import Record, State
from heartwood_metrics.config import MetricsConfig
from heartwood_metrics.exporter import exporting
from heartwood_metrics.instruments import Instruments


@pytest.fixture(name="metrics")
def _metrics():
    """The kernel's registry with this plugin's instruments, all of which have been used."""
    metrics = Metrics()
    instruments = Instruments()
    metrics.register("metrics", [instruments.seconds, instruments.errors], prefixes=("analytics",))
    instruments.seconds.labels("ocr").observe(0.1)
    instruments.errors.labels("ocr").inc()
    metrics.http_request_duration_seconds.labels("GET", "/business/x", "200").observe(0.01)
    metrics.plugins = [Record("ocr", State.RUNNING)]
    return metrics


async def _scrape(url, **headers):
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
        return answer, await answer.text()


@pytest.mark.parametrize(
    ("accept", "content_type", "ending"),
    [
        ("*/*", "text/plain", "\n"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text", "# EOF\n"),
    ],
)
async def test_the_client_chooses_the_format(metrics, accept, content_type, ending):
    """OpenMetrics where it is accepted, the text format elsewhere."""
    async with exporting(metrics.registry, "127.0.0.1:0") as url:
        answer, text = await _scrape(url, Accept=accept)

    assert answer.headers["Content-Type"].startswith(content_type)
    assert text.endswith(ending)


async def test_a_scrape_is_compressed_where_that_is_accepted(metrics):
    """Prometheus asks for gzip and gets it."""
    async with exporting(metrics.registry, "127.0.0.1:0") as url:
        answer, text = await _scrape(url, **{"Accept-Encoding": "gzip"})

    assert "gzip" == answer.headers["Content-Encoding"]
    assert "heartwood_plugin_up" in text


async def test_a_collector_that_raises_does_not_end_the_scrape(metrics):
    """The others are exported, and the failure is counted."""

    class Broken:
        def describe(self):
            return []

        def collect(self):
            raise ZeroDivisionError

    metrics.register("broken", [Broken()])
    async with exporting(metrics.registry, "127.0.0.1:0") as url:
        _, text = await _scrape(url)

    assert 'heartwood_plugin_up{plugin="ocr"} 1.0' in text
    assert 'heartwood_plugin_errors_total{plugin="broken",where="metrics"}' in text


async def test_an_address_in_use_is_told_in_words(metrics):
    """The sentence names the setting and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HeartwoodError, match=rf"listen: cannot listen on 127\.0\.0\.1:{port}: "):
            async with exporting(metrics.registry, f"127.0.0.1:{port}"):
                pass


async def test_nothing_listens_after_the_end(metrics):
    """The port is given back."""
    async with exporting(metrics.registry, "[::1]:0") as url:
        answer, _ = await _scrape(url)
        assert 200 == answer.status
    with pytest.raises(aiohttp.ClientConnectorError):
        await _scrape(url)


@pytest.mark.parametrize("text", ["9999", ":9999", "::1:9999", "localhost:", "localhost:70000", "unix:/x"])
def test_what_is_no_address_is_refused(text):
    """The settings refuse it before anything starts; empty is off."""
    with pytest.raises(ValueError, match="expected host:port"):
        MetricsConfig(listen=text)
    assert "" == MetricsConfig(listen="").listen
