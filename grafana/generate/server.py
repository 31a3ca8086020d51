"""The part of the daemon's board that is about `driftd serve`, a process of its own."""

from __future__ import annotations

from grafana.generate.boards import INSTANCE, Board
from grafana.generate.panels import series

NO_SERVE = "`driftd serve` is not scraped, or took nothing"
SERVED = 'model=~"$model"'  # the server is another process with an instance of its own
SERVERS = f"max by (instance, job) (driftd_serve_version{{{SERVED}}})"


def serve(made: Board) -> None:
    """Requests, latency, events and what was refused."""
    rate = "[$__rate_interval]"
    made.part(
        "driftd serve",
        (
            8,
            (
                (
                    series(
                        "Requests",
                        "Requests by route and status. 4xx: the sender's fault. 503: the store could not keep them.",
                        {
                            "{{route}} {{status}}": "sum by (route, status) "
                            f'(rate(driftd_serve_requests_total{{model=~"$model|unknown"}}{rate}))'
                        },
                        unit="reqps",
                        none=NO_SERVE,
                    ),
                    8,
                ),
                (
                    series(
                        "Latency, 95 %",
                        "From the whole request to its answer, the disk included; commit is the disk's part.",
                        {
                            "{{route}}": quantile(0.95, "driftd_serve_request_duration_seconds", SERVED, "route"),
                            "commit": quantile(0.95, "driftd_serve_commit_duration_seconds", SERVED),
                        },
                        unit="s",
                        none=NO_SERVE,
                    ),
                    8,
                ),
                (
                    series(
                        "Events",
                        "Events by what became of them: accepted, duplicate, refused.",
                        {"{{outcome}}": f"sum by (outcome) (rate(driftd_serve_events_total{{{SERVED}}}{rate}))"},
                        unit="cps",
                        none=NO_SERVE,
                    ),
                    8,
                ),
            ),
        ),
        (
            7,
            (
                (
                    series(
                        "Refused events by field",
                        "Which field of refused events was wrong. A sudden rise: the sender changed its format.",
                        {
                            "{{model}}: {{field}}": f"sum by (model, field) (increase(driftd_serve_refusals_total{{{SERVED}}}{rate}))"
                        },
                        bars=True,
                        none="No event was refused",
                    ),
                    6,
                ),
                (
                    series(
                        "Not kept",
                        "Requests answered 503 because the store could not keep them, and predictions answered but not logged. "
                        "Above 0: look at the disk; see the runbook, events-not-kept.",
                        {
                            "not kept: {{model}}": f"sum by (model) (increase(driftd_serve_not_kept_total{{{SERVED}}}{rate}))",
                            "not logged: {{model}}": "sum by (model) "
                            f"(increase(driftd_serve_unlogged_predictions_total{{{SERVED}}}{rate}))",
                        },
                        none=NO_SERVE,
                    ),
                    6,
                ),
                (
                    series(
                        "Version that answers",
                        "The version that answers and the one that should. Different for long: the new one cannot be loaded.",
                        {
                            "{{model}} answers": f"min by (model) (driftd_serve_version{{{SERVED}}})",
                            "{{model}} should answer": f"max by (model) (driftd_serve_linked_version{{{SERVED}}})",
                        },
                        unit="none",
                        steplike=True,
                        none=NO_SERVE,
                    ),
                    6,
                ),
                (
                    series(
                        "Not let in",
                        "Requests that daemon and driftd serve turned away: without a token, from a page of another origin, "
                        "or by a name that points here. A lasting rise: a client lost its token, or somebody tries.",
                        {
                            "daemon: {{reason}}": "sum by (reason) "
                            f"(increase(driftd_http_refused_total{{{INSTANCE}}}{rate}))",
                            "serve: {{reason}}": f"sum by (reason) (increase(driftd_serve_http_refused_total{rate}))",
                        },
                        bars=True,
                    ),
                    6,
                ),
            ),
        ),
    )


def quantile(share: float, metric: str, only: str, *by: str) -> str:
    """PromQL: what this share of a histogram's observations stays within."""
    kept = ", ".join(("le", *by))
    return f"histogram_quantile({share}, sum by ({kept}) (rate({metric}_bucket{{{only}}}[$__rate_interval])))"
