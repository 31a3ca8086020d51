"""Every metric of `driftd serve` as data: a process of its own, with its own `/metrics`."""

from __future__ import annotations

from driftd.observe.metric_family import Family

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
VERSION = Family("driftd_serve_version", "gauge", "The version that answers; 0 when there is none.", ("model",))
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
