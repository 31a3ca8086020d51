"""The metrics of `driftd serve`. docs/serving.md lists them; a test compares."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from driftd.store.events_records import Receipt, Refusal

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
ROUTES = ("predict", "predictions", "feedback")
NOT_LET_IN = ("token", "origin", "host")
OUTCOMES = ("accepted", "duplicate", "refused")


class ServingMetrics:
    """The families of the serving process."""

    def __init__(self, models: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Requests by route and status; model `unknown` where there is none.", "model", "route", "status"
        )
        self.seconds = self._histogram(
            "request", "From the whole request to its answer, the disk included.", "model", "route"
        )
        self.commit = self._histogram(
            "commit", "From handing events to the group commit to their being synced.", "model"
        )
        self.events = self._counter(
            "events", "Events by what became of them: accepted, duplicate, refused.", "model", "outcome"
        )
        self.refusals = self._counter("refusals", "Refused events by field; all features together.", "model", "field")
        self.not_kept = self._counter(
            "not_kept", "Requests answered 503 because the store could not keep them.", "model"
        )
        self.not_let_in = self._counter(
            "http_refused", "Requests that were not let in: token, origin, host (docs/security.md).", "reason"
        )
        self.unlogged = self._counter("unlogged_predictions", "Predictions answered but not logged.", "model")
        self.version = Gauge(
            "driftd_serve_version",
            "The version that answers; 0 when there is none.",
            ("model",),
            registry=self.registry,
        )
        self.linked = Gauge(
            "driftd_serve_linked_version",
            "The version that should answer. Another one than driftd_serve_version cannot be loaded.",
            ("model",),
            registry=self.registry,
        )
        self._begin(models)

    def _begin(self, models: Sequence[str]) -> None:
        """Begin every series at zero, so that the first event is an increase."""
        self.commits = {model: self.commit.labels(model) for model in models}
        self._routes = {(model, route): self.seconds.labels(model, route) for model in models for route in ROUTES}
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._outcomes = {(model, one): self.events.labels(model, one) for model in models for one in OUTCOMES}
        for reason in NOT_LET_IN:
            self.not_let_in.labels(reason)
        for model in models:
            self.not_kept.labels(model)
            self.unlogged.labels(model)

    def answered(self, model: str, route: str, status: int, seconds: float) -> None:
        """Count a request. The series are kept: looking them up by their labels costs more than counting."""
        known = model if model in self.commits else "unknown"
        key = (known, route, status)
        if (counter := self._requests.get(key)) is None:
            counter = self._requests[key] = self.requests.labels(known, route, str(status))
        counter.inc()
        if (observed := self._routes.get((known, route))) is not None:
            observed.observe(seconds)

    def kept(self, model: str, receipt: Receipt, refused: Sequence[Refusal]) -> None:
        """Count what one commit took."""
        self._outcomes[model, "accepted"].inc(receipt.predictions + receipt.feedback)
        self._outcomes[model, "duplicate"].inc(receipt.duplicates)
        self._refused(model, refused)

    def predicted(self, model: str, rows: int, refused: Sequence[Refusal], *, logged: bool) -> None:
        """Count what one predict request answered."""
        if logged:
            self._outcomes[model, "accepted"].inc(rows)
        else:
            self.unlogged.labels(model).inc(rows)
        self._refused(model, refused)

    def refused_request(self, reason: str) -> None:
        """Count a request that was not let in."""
        self.not_let_in.labels(reason).inc()

    def serves(self, model: str, version: int | None, linked: int | None) -> None:
        """What answers now, and what should."""
        self.version.labels(model).set(version or 0)
        self.linked.labels(model).set(linked or 0)

    def _refused(self, model: str, refused: Sequence[Refusal]) -> None:
        if refused:
            self._outcomes[model, "refused"].inc(len(refused))
            for field, count in Tally(_bounded(one.field) for one in refused).items():
                self.refusals.labels(model, field).inc(count)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"driftd_serve_{name}_total", told, labels, registry=self.registry)

    def _histogram(self, name: str, told: str, *labels: str) -> Histogram:
        return Histogram(f"driftd_serve_{name}_duration_seconds", told, labels, registry=self.registry, buckets=BUCKETS)


def _bounded(field: str) -> str:
    """Fields of the event itself by name; features together, so that a stranger's names make no series."""
    return "features" if field.startswith("features") else field or "event"
