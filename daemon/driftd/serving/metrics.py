"""The metrics of `driftd serve`; what each means is in `observe.serving_families` and docs/metrics.md."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from driftd.observe import metric_family as families
from driftd.observe.families import REFUSALS_OF_REQUESTS
from driftd.observe.metric_family import OUTCOMES, Family
from driftd.store.events.validation import Receipt, Refusal

ROUTES = ("predict", "predictions", "feedback")


class ServingMetrics:
    """The families of the serving process."""

    def __init__(self, models: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter(families.REQUESTS)
        self.seconds = self._histogram(families.REQUEST_TIME)
        self.commit = self._histogram(families.COMMIT_TIME)
        self.events = self._counter(families.EVENTS)
        self.refusals = self._counter(families.REFUSALS)
        self.not_kept = self._counter(families.NOT_KEPT)
        self.not_let_in = self._counter(families.NOT_LET_IN)
        self.unlogged = self._counter(families.UNLOGGED)
        self.version = self._gauge(families.VERSION)
        self.linked = self._gauge(families.LINKED)
        self._begin(models)

    def _begin(self, models: Sequence[str]) -> None:
        """Begin every series at zero, so that the first event is an increase."""
        self.commits = {model: self.commit.labels(model) for model in models}
        self._routes = {(model, route): self.seconds.labels(model, route) for model in models for route in ROUTES}
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._outcomes = {
            (model, outcome): self.events.labels(model, outcome) for model in models for outcome in OUTCOMES
        }
        for reason in REFUSALS_OF_REQUESTS:
            self.not_let_in.labels(reason)
        for model in models:
            self.not_kept.labels(model)
            self.unlogged.labels(model)

    def count_request(self, model: str, route: str, status: int, seconds: float) -> None:
        """Count a request. The series are kept: looking them up by their labels costs more than counting."""
        known = model if model in self.commits else "unknown"
        key = (known, route, status)
        if (counter := self._requests.get(key)) is None:
            counter = self._requests[key] = self.requests.labels(known, route, str(status))
        counter.inc()
        if (observed := self._routes.get((known, route))) is not None:
            observed.observe(seconds)

    def count_commit(self, model: str, receipt: Receipt, refused: Sequence[Refusal]) -> None:
        """Count what one commit took."""
        self._outcomes[model, "accepted"].inc(receipt.predictions + receipt.feedback)
        self._outcomes[model, "duplicate"].inc(receipt.duplicates)
        self._count_refusals(model, refused)

    def count_predictions(
        self, model: str, rows: int, refused: Sequence[Refusal], *, logged: bool, repeated: int = 0
    ) -> None:
        """Count what one predict request answered, and of it the rows whose `prediction_id` was there already."""
        if logged:
            self._outcomes[model, "accepted"].inc(rows - repeated)
            self._outcomes[model, "duplicate"].inc(repeated)
        else:
            self.unlogged.labels(model).inc(rows)
        self._count_refusals(model, refused)

    def count_refused_request(self, reason: str) -> None:
        """Count a request that was not let in."""
        self.not_let_in.labels(reason).inc()

    def serves(self, model: str, version: int | None, linked: int | None) -> None:
        """What answers now, and what should."""
        self.version.labels(model).set(version or 0)
        self.linked.labels(model).set(linked or 0)

    def _count_refusals(self, model: str, refused: Sequence[Refusal]) -> None:
        if refused:
            self._outcomes[model, "refused"].inc(len(refused))
            for field, count in Tally(_bound_field(refusal.field) for refusal in refused).items():
                self.refusals.labels(model, field).inc(count)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.help, family.labels, registry=self.registry)

    def _gauge(self, family: Family) -> Gauge:
        return Gauge(family.name, family.help, family.labels, registry=self.registry)

    def _histogram(self, family: Family) -> Histogram:
        return Histogram(family.name, family.help, family.labels, registry=self.registry, buckets=family.buckets)


def _bound_field(field: str) -> str:
    """Fields of the event itself by name; features together, so that a stranger's names make no series."""
    return "features" if field.startswith("features") else field or "event"
