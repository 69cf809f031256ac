"""What is measured of documents, and where: at the end of each step, and every quarter of a minute in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from heartwood.api import Database
from heartwood.contracts.analytics import Figure, FigureState
from heartwood_ocr import store
from heartwood_ocr.models import UNREAD, Status

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

_STAGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_RATIO_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)


class DocumentMetrics:
    """The instruments of one hub."""

    def __init__(self) -> None:
        self.documents = Gauge("heartwood_documents", "Documents by state.", ["state"], registry=None)
        self.oldest_pending = Gauge(
            "heartwood_document_oldest_pending_timestamp_seconds",
            "When the oldest waiting document arrived; 0 where none waits.",
            registry=None,
        )
        self.processed = Counter(
            "heartwood_documents_processed",
            "Documents that left the pipeline.",
            ["kind", "outcome"],
            registry=None,
        )
        self.stage = Histogram(
            "heartwood_document_stage_duration_seconds",
            "Time per pipeline stage.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=None,
        )
        self.confidence = Histogram(
            "heartwood_document_ocr_confidence_ratio",
            "Mean word confidence per page.",
            buckets=_RATIO_BUCKETS,
            registry=None,
        )

    def collectors(self) -> list[Collector]:
        """Return all of them."""
        return [self.documents, self.oldest_pending, self.processed, self.stage, self.confidence]

    async def refresh(self, database: Database) -> None:
        """Count the documents where they stand."""
        for status, number in (await store.counts(database)).items():
            self.documents.labels(status).set(number)
        oldest = await store.oldest_unread(database)
        self.oldest_pending.set(oldest.timestamp() if oldest else 0)


def figures(counts: dict[Status, int]) -> list[Figure]:
    """Return the numbers of documents, and the share of those read of which the text could be had."""
    read = counts[Status.READY] + counts[Status.NEEDS_REVIEW]
    ended = read + counts[Status.FAILED]
    success = Figure("ocr_success", read / ended if ended else None, "ratio", _known(ended))
    waiting = sum(counts[status] for status in UNREAD)
    return [
        Figure("documents", sum(counts.values()), "documents"),
        Figure("waiting", waiting, "documents"),
        Figure("needs_review", counts[Status.NEEDS_REVIEW], "documents"),
        Figure("failed", counts[Status.FAILED], "documents"),
        success,
    ]


def _known(number: int) -> FigureState:
    return FigureState.VALUE if number else FigureState.NO_DATA
