"""The metrics of `driftd serve`."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from driftd.store.events_records import Receipt, Refusal

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class ServingMetrics:
    """The families of the serving process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "driftd_serve_requests_total",
            "Requests by route and status.",
            ("model", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "driftd_serve_request_duration_seconds",
            "From the request to its answer, the disk included.",
            ("model", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.events = Counter(
            "driftd_serve_events_total",
            "Events by what became of them: accepted, duplicate, refused.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self.refusals = Counter(
            "driftd_serve_refusals_total", "Refused events by field.", ("model", "field"), registry=self.registry
        )
        self.not_kept = Counter(
            "driftd_serve_not_kept_total",
            "Requests answered 503 because the store could not keep them.",
            ("model",),
            registry=self.registry,
        )
        self.unlogged = Counter(
            "driftd_serve_unlogged_predictions_total",
            "Predictions that were answered but not logged.",
            ("model",),
            registry=self.registry,
        )
        self.version = Gauge("driftd_serve_version", "The version that answers.", ("model",), registry=self.registry)

    def kept(self, model: str, receipt: Receipt, refused: list[Refusal]) -> None:
        """Count what one commit took."""
        self.events.labels(model, "accepted").inc(receipt.predictions + receipt.feedback)
        self.events.labels(model, "duplicate").inc(receipt.duplicates)
        if refused:
            self.events.labels(model, "refused").inc(len(refused))
            for field, count in Tally(_bounded(one.field) for one in refused).items():
                self.refusals.labels(model, field).inc(count)

    def predicted(self, model: str, answers: list[dict[str, Any]]) -> None:
        """Count what one predict request answered."""
        logged = sum(answer["logged"] for answer in answers)
        self.events.labels(model, "accepted").inc(logged)
        self.unlogged.labels(model).inc(len(answers) - logged)


def _bounded(field: str) -> str:
    """Fields of the event itself by name; features together, so that a stranger's names make no series."""
    return "features" if field.startswith("features") else field or "event"
