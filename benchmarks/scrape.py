"""How long Prometheus waits for a scrape of a hundred models of a hundred features, against the limit of 200 ms.

Run: PYTHONPATH=daemon:detectors python benchmarks/scrape.py [--models 100] [--features 100]

The daemon's own HTTP thread answers a client in another process. *Changed* is the worst case: every model was checked
and decided on since the last scrape. *Busy* is a scrape while the main loop computes without a pause. The client
library's own text of the same series is measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from driftd.config.schema import Http
from driftd.events import Event
from driftd.observe.decision_counts import DecisionCounts, DecisionEvent
from driftd.observe.http import HttpThread, Wiring, application
from driftd.observe.metrics import Metrics
from driftd.observe.model_metrics import CheckContext
from driftd.records import NO_FIGURES, ActionKind, ModelState, Verdict, Window
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Score

LIMIT = 0.2
COMPONENTS = ("location", "spread", "rest")
CLIENT = """
import sys, time, urllib.request
for _ in range(int(sys.argv[2])):
    started = time.perf_counter()
    with urllib.request.urlopen(sys.argv[1]) as answer:
        size = len(answer.read())
    print(time.perf_counter() - started, size)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--features", type=int, default=100)
    options = parser.parse_args()
    metrics = Metrics()
    happen(metrics, options.models, options.features, 0)
    http = HttpThread(application(wiring(metrics)), Http(listen="127.0.0.1:0"))
    http.start()
    url = f"http://{http.address}/metrics"
    scrape(url)  # the first one warms everything up
    unchanged, size = scrape(url, 5)
    changed = []
    for number in range(1, 4):
        happen(metrics, options.models, options.features, number)
        changed.append(scrape(url)[0])
    with busy():
        beside, _ = scrape(url, 5)
    http.stop()
    lines = metrics.expose()[0].count(b"\n")
    print(f"{options.models} models x {options.features} features: {lines} lines, {size / 1e6:.1f} MB")
    for name, seconds in (("unchanged", unchanged), ("changed", statistics.median(changed)), ("busy", beside)):
        print(f"{name:10} {seconds * 1e3:6.0f} ms   {seconds / LIMIT:5.2f} of the limit of {LIMIT * 1e3:.0f} ms")
    library = of_the_library(options.models, options.features)
    print(f"the scores alone by the client library: {library * 1e3:.0f} ms, {library / LIMIT:.2f} of the limit")


def happen(metrics: Metrics, models: int, features: int, number: int) -> None:
    """Every model is checked and decided on once."""
    named = [(f"feature_{at}", component) for at in range(features) for component in COMPONENTS]
    eye = CheckContext(dict.fromkeys(named, 0.03), "roc_auc", None, 600.0)
    values = [Score(EvidenceKind.DATA, *stream, 0.123456789 * (at + number), 0.1) for at, stream in enumerate(named)]
    kinds = tuple(KindAssessment(kind, Verdict.OK, 1.0 + number, 21915.0, "") for kind in EvidenceKind)
    window = Window(number, 3600.0 * number, 3600.0 * (number + 1))
    for at in range(models):
        model = metrics.model(f"model_{at}")
        if number == 0:
            model.begin(DecisionCounts(), window_seconds=3600.0, thresholds=dict.fromkeys(EvidenceKind, 21915.0))
        model.check(
            "window", Assessment(Verdict.OK, "", 500, kinds, tuple(values)), window, eye, seconds=0.1, now=window.end
        )
        model.state(ModelState(f"model_{at}", champion=1 + number), served=1 + number)
        model.count_decision(DecisionEvent(Event.CONFIRMED, window.end, NO_FIGURES, "probation", "steady"))
        for action in ActionKind:
            model.record_action(action, 1.0, ok=True)


def wiring(metrics: Metrics) -> Wiring:
    """A daemon of which only the metrics are there."""
    return Wiring(metrics, lambda: None, lambda: None, dict, lambda _model, _alarm: Path("/nonexistent"))


def scrape(url: str, times: int = 1) -> tuple[float, int]:
    """The median of some scrapes by another process, in seconds, and their size in bytes."""
    output = subprocess.run([sys.executable, "-c", CLIENT, url, str(times)], capture_output=True, text=True, check=True)
    lines = [line.split() for line in output.stdout.splitlines()]
    return statistics.median(float(seconds) for seconds, _ in lines), int(lines[-1][1])


class busy(threading.Thread):  # noqa: N801 - reads as a word of the `with` statement
    """A main loop that computes in Python without a pause."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = False

    def run(self) -> None:
        """Compute."""
        while not self.ended:
            sum(range(10_000))

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.ended = True


def of_the_library(models: int, features: int) -> float:
    """How long the client library takes to write the scores alone."""
    registry = CollectorRegistry()
    family = Gauge("driftd_score", "Scores.", ("model", "feature", "component"), registry=registry)
    for at in range(models):
        for feature in range(features):
            for component in COMPONENTS:
                family.labels(f"model_{at}", f"feature_{feature}", component).set(0.123456789 * feature)
    started = time.perf_counter()
    generate_latest(registry)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
