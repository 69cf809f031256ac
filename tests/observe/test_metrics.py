"""One registry a kernel; what a plugin does wrong costs its own families."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from heartwood.contracts.health import HealthResult, Verdict
from heartwood.observe.metrics import MOST_LABEL_SETS, MetricRefused, Metrics
from heartwood.plugins.records import Record, State


class Raising:
    def __init__(self, error):
        self.error = error

    def collect(self):
        raise self.error


class Yielding:
    """A collector without ``describe``."""

    def __init__(self, *families):
        self.families = families

    def collect(self):
        return self.families


def gauge(name, documentation="Something.", labels=()):
    return Gauge(name, documentation, labels, registry=None)


def family(name="heartwood_ocr_pages", value=1.0, label=None):
    made = GaugeMetricFamily(name, "Pages.", labels=["kind"])
    made.add_metric([label if label is not None else "a"], value)
    return made


def scraped(metrics):
    return generate_latest(metrics.registry).decode()


@pytest.fixture(name="metrics")
def _metrics():
    return Metrics()


def observe_everything(metrics):
    """Give every family of the kernel a value."""
    metrics.plugins = [Record("ocr", State.RUNNING, import_seconds=0.1, start_seconds=0.1)]
    metrics.register("ocr", [gauge("heartwood_ocr_pages")])
    metrics.database_size_bytes.set(1)
    metrics.count_error("ocr", "route")
    metrics.http_request_duration_seconds.labels("GET", "/business/documents/{id}", "200").observe(0.01)
    metrics.http_requests_in_flight.set(1)
    metrics.live_clients.set(1)
    metrics.user_activity_total.labels("ocr", "upload").inc()
    metrics.loop_lag_seconds.set(0.001)
    metrics.loop_blocked_total.labels("ocr").inc()
    metrics.task_runs_total.labels("ocr", "purge").inc()
    metrics.task_failures_total.labels("ocr", "purge").inc()
    metrics.task_last_success_timestamp_seconds.labels("ocr", "purge").set_to_current_time()
    metrics.database_wait_seconds.labels("ocr").observe(0.001)
    metrics.database_query_seconds.labels("ocr").observe(0.001)
    metrics.jobs.labels("ocr", "queued").set(0)
    metrics.job_duration_seconds.labels("ocr", "read").observe(1)
    metrics.metrics_dropped_total.labels("ocr").inc()


def test_promtool_finds_nothing_to_say(metrics):
    """Every family of the kernel passes ``promtool check metrics``, and each is in the scrape."""
    observe_everything(metrics)
    text = generate_latest(metrics.registry)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    families = [line for line in text.decode().splitlines() if line.startswith("# TYPE")]
    without_samples = [
        line.split()[2]
        for line in families
        if not any(s.startswith(line.split()[2]) for s in text.decode().splitlines())
    ]
    assert len(families) == 25
    assert without_samples == []


def test_no_created_series(metrics):
    """Counters and histograms come without the ``_created`` series that would double them."""
    observe_everything(metrics)
    assert "_created" not in scraped(metrics)


def test_two_kernels_share_nothing():
    """What one kernel measures the other does not know."""
    first, second = Metrics(), Metrics()
    first.count_error("ocr", "route")
    first.register("ocr", [gauge("heartwood_ocr_pages")])
    second.register("ai", [gauge("heartwood_ai_models")])
    assert "ocr" not in scraped(second)
    assert "heartwood_ai_models" not in scraped(first)


@pytest.mark.parametrize("error", [OSError("the sensor is gone"), SystemExit(3), KeyboardInterrupt()])
def test_a_raising_collector_is_skipped_and_counted(metrics, error):
    """The scrape goes on without a collector that raises whatever it likes, which is counted and told to the kernel."""
    told = []
    metrics.on_error = lambda plugin, error: told.append((plugin, error))
    metrics.register("broken", [Raising(error), gauge("heartwood_broken_pages")])
    metrics.register("ocr", [gauge("heartwood_ocr_pages")])
    text = scraped(metrics)
    assert told == [("broken", error)]
    for line in (
        "heartwood_ocr_pages 0.0",
        "heartwood_broken_pages 0.0",
        'heartwood_plugin_errors_total{plugin="broken",where="metrics"} 1.0',
        'heartwood_collector_up{collector="broken"} 0.0',
        'heartwood_collector_up{collector="ocr"} 1.0',
        'heartwood_collector_duration_seconds_count{collector="broken"} 1.0',
    ):
        assert line in text
    assert 'heartwood_collector_last_success_timestamp_seconds{collector="ocr"}' in text
    assert 'heartwood_collector_last_success_timestamp_seconds{collector="broken"}' not in text


@pytest.mark.parametrize(
    "odd",
    [
        "not a family",
        family(value=None),
        family(value="many"),
        family(label=7),
        family("somebody_else"),
        family("heartwood_build_info"),
        None,
    ],
)
def test_what_cannot_be_exported_never_breaks_the_scrape(metrics, odd):
    """A family that is none, or has no number, a label that is no text or a foreign name, is skipped and counted."""
    metrics.register("ocr", [Yielding(odd), Yielding(family("heartwood_ocr_good"))])
    text = scraped(metrics)
    assert 'heartwood_ocr_good{kind="a"} 1.0' in text
    assert text.count("# TYPE heartwood_build_info") == 1
    assert 'heartwood_plugin_errors_total{plugin="ocr",where="metrics"} 1.0' in text


def test_a_family_exported_twice_is_left_out_the_second_time(metrics):
    """Two collectors of one plugin cannot write the same family into one scrape."""
    metrics.register("ocr", [Yielding(family()), Yielding(family())])
    assert scraped(metrics).count("# TYPE heartwood_ocr_pages") == 1


@pytest.mark.parametrize(
    ("collector", "sentence"),
    [
        (
            gauge("pages"),
            (
                "plugin 'ocr': metric pages must start with heartwood_ocr_ or heartwood_documents_, "
                "or stand in the shared list"
            ),
        ),
        (
            gauge("heartwood_ocr_Pages"),
            "plugin 'ocr': metric heartwood_ocr_Pages is not lower-case words with underscores",
        ),
        (gauge("heartwood_ocr_pages", ""), "plugin 'ocr': metric heartwood_ocr_pages has no help text"),
        (
            gauge("heartwood_ocr_done_percent"),
            "plugin 'ocr': metric heartwood_ocr_done_percent is in percent; use ratio",
        ),
        (
            gauge("heartwood_ocr_wait_milliseconds"),
            "plugin 'ocr': metric heartwood_ocr_wait_milliseconds is in milliseconds; use seconds",
        ),
        (gauge("heartwood_ocr_size_kb"), "plugin 'ocr': metric heartwood_ocr_size_kb is in kb; use bytes"),
        (
            gauge("heartwood_ocr_pages_total"),
            "plugin 'ocr': metric heartwood_ocr_pages_total ends in _total and is a gauge",
        ),
        (
            gauge("heartwood_ocr_page_counter"),
            "plugin 'ocr': metric heartwood_ocr_page_counter has its type in its name",
        ),
        (gauge("heartwood_ai_models"), "plugin 'ocr': metric heartwood_ai_models belongs to plugin 'ai' already"),
        (gauge("heartwood_build_info"), "plugin 'ocr': metric heartwood_build_info belongs to the kernel already"),
        (
            Counter("heartwood_plugin_errors", "Mine.", registry=None),
            "plugin 'ocr': metric heartwood_plugin_errors_total belongs to the kernel already",
        ),
        (
            gauge("heartwood_http_request_duration_seconds_bucket"),
            "plugin 'ocr': metric heartwood_http_request_duration_seconds_bucket belongs to the kernel already",
        ),
    ],
)
def test_bad_names_are_refused_with_a_sentence(metrics, collector, sentence):
    """A name that is bad or taken is refused, naming the owners, and nothing of the plugin is exported."""
    metrics.register("ai", [gauge("heartwood_ai_models")])
    with pytest.raises(MetricRefused) as refused:
        metrics.register("ocr", [gauge("heartwood_ocr_good"), collector], prefixes=["documents"])
    assert sentence == str(refused.value)
    assert "heartwood_ocr_good" not in scraped(metrics)


def test_the_same_instrument_twice_is_refused(metrics):
    """A plugin that gives one name to two instruments is told so."""
    with pytest.raises(MetricRefused, match="heartwood_ocr_pages is exported twice"):
        metrics.register("ocr", [gauge("heartwood_ocr_pages"), gauge("heartwood_ocr_pages")])


def test_prefix_and_shared_names_are_allowed(metrics):
    """Names may start with the plugin or its prefix, or stand in the shared list."""
    mine = Histogram("heartwood_document_stage_duration_seconds", "Stages.", ["stage"], registry=None)
    metrics.register(
        "ocr", [mine, gauge("heartwood_documents_waiting"), gauge("heartwood_ocr_pages")], prefixes=["documents"]
    )
    mine.labels("probe").observe(1)
    assert 'heartwood_document_stage_duration_seconds_count{stage="probe"} 1.0' in scraped(metrics)


def test_unregistered_names_are_free_again(metrics):
    """After a plugin is gone its families are out of the scrape and its names can be taken."""
    metrics.register("ocr", [gauge("heartwood_documents")])
    metrics.unregister("ocr")
    metrics.unregister("never there")
    assert "heartwood_documents" not in scraped(metrics)
    metrics.register("scan", [gauge("heartwood_documents")])
    assert "heartwood_documents 0.0" in scraped(metrics)


def test_a_label_without_bound_is_cut_and_counted(metrics):
    """Past 200 label sets of a family new ones are left out of the scrape, and their number is counted."""
    pages = gauge("heartwood_ocr_pages", labels=["document"])
    metrics.register("ocr", [pages])
    for number in range(MOST_LABEL_SETS + 7):
        pages.labels(str(number)).set(1)
    text = scraped(metrics)
    assert text.count("heartwood_ocr_pages{") == MOST_LABEL_SETS
    assert 'heartwood_metrics_dropped_total{plugin="ocr"} 7.0' in text


def test_the_kernels_own_families_are_whole(metrics):
    """However many routes and queues there are, each is in the scrape."""
    for number in range(MOST_LABEL_SETS + 50):
        metrics.http_request_duration_seconds.labels("GET", f"/business/thing{number}", "200").observe(0.01)
        metrics.jobs.labels(f"thing{number}", "queued").set(1)
    text = scraped(metrics)
    assert text.count("heartwood_http_request_duration_seconds_count{") == MOST_LABEL_SETS + 50
    assert text.count("heartwood_jobs{") == MOST_LABEL_SETS + 50
    assert "heartwood_metrics_dropped_total{" not in text


def test_the_state_of_a_plugin_is_that_of_the_scrape(metrics):
    """It is in one state, the one that its record has now, and up while it serves and its health checks pass."""
    record = Record("ocr", State.RETRYING)
    metrics.plugins = [record]

    def seen():
        names = ("heartwood_plugin_state{", "heartwood_plugin_up{", "heartwood_plugin_start_seconds{")
        return [line for line in scraped(metrics).splitlines() if line.startswith(names)]

    down, retrying = (
        'heartwood_plugin_up{plugin="ocr"} 0.0',
        'heartwood_plugin_state{plugin="ocr",state="retrying"} 1.0',
    )
    assert [down, retrying] == seen()
    record.state, record.start_seconds = State.RUNNING, 0.5
    up, running = 'heartwood_plugin_up{plugin="ocr"} 1.0', 'heartwood_plugin_state{plugin="ocr",state="running"} 1.0'
    started = 'heartwood_plugin_start_seconds{plugin="ocr"} 0.5'
    assert [up, running, started] == seen()
    record.health = [HealthResult("ocr", "tesseract", Verdict.DEGRADED, "it is gone", 0.1, critical=False)]
    assert [down, running, started] == seen()
