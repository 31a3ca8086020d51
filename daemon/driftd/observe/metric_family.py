"""What a metric family is: name, type, labels, help; and the families of `driftd serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OWNERS = (("model",), ("receiver",))


@dataclass(frozen=True, slots=True, eq=False)  # a key of many dictionaries: hashing the texts would cost the most
class Family:
    """One metric family. `owner`: `model` or `receiver`, where series come and go with what it names; else empty."""

    name: str
    type: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    lasting: bool = False  # a counter that goes on over restarts, because the store knows it
    owner: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "owner", self.labels[0] if self.labels[:1] in OWNERS else "")


@dataclass(frozen=True, slots=True)
class MetricCatalogue:
    """Families in the order in which they are named; each gets driftd's prefix and the suffix of its type."""

    families: list[Family] = field(default_factory=list)

    def gauge(self, name: str, text: str, *labels: str) -> Family:
        """A value that goes up and down."""
        return self._list(Family(f"driftd_{name}", "gauge", text, labels))

    def counter(self, name: str, text: str, *labels: str, lasting: bool = False) -> Family:
        """A count that only rises."""
        return self._list(Family(f"driftd_{name}_total", "counter", text, labels, lasting=lasting))

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family:
        """Durations, counted by upper bounds in seconds."""
        return self._list(Family(f"driftd_{name}_duration_seconds", "histogram", text, labels, buckets))

    def _list(self, family: Family) -> Family:
        self.families.append(family)
        return family


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
OUTCOMES = ("accepted", "duplicate", "refused")


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(f"driftd_serve_{name}_total", "counter", text, ("model", *labels))


def _histogram(name: str, text: str, *labels: str) -> Family:
    return Family(f"driftd_serve_{name}_duration_seconds", "histogram", text, ("model", *labels), SECONDS)


REQUESTS = _counter("requests", "Requests by route and status; model `unknown` where there is none.", "route", "status")
REQUEST_TIME = _histogram("request", "From the whole request to its answer, the disk included.", "route")
COMMIT_TIME = _histogram("commit", "From handing events to the group commit to their being synced.")
EVENTS = _counter("events", f"Events by what became of them: {', '.join(OUTCOMES)}.", "outcome")
REFUSALS = _counter("refusals", "Refused events by field; all features together.", "field")
NOT_KEPT = _counter("not_kept", "Requests answered 503 because the store could not keep them.")
UNLOGGED = _counter("unlogged_predictions", "Predictions answered but not logged.")
VERSION = Family("driftd_serve_version", "gauge", "The version that answers; 0 while none is loaded.", ("model",))
LINKED = Family(
    "driftd_serve_linked_version",
    "gauge",
    "The version that should answer. Another one than driftd_serve_version cannot be loaded.",
    ("model",),
)
NOT_LET_IN = Family(
    "driftd_serve_http_refused_total",
    "counter",
    "Requests that were not let in: without a token, from a page of another origin, or by a name that points here.",
    ("reason",),
)
SERVED = (REQUESTS, REQUEST_TIME, COMMIT_TIME, EVENTS, REFUSALS, NOT_KEPT, NOT_LET_IN, UNLOGGED, VERSION, LINKED)
