"""Whether anything grows for ever: three years of hourly windows with 100 features through the real state store.

Run: PYTHONPATH=daemon:detectors python benchmarks/three_years.py [--years 3] [--features 100]
Prints, at each half year, the size of state.db, how long it takes to record a check, to answer the page's questions and
to read at a start what a daemon reads. After `retention.checks` (800 days) each must be as it was, which is said at the
end. The last line says what a window takes for each feature, and a year of hourly windows: of the growth before
anything is forgotten, without what a model takes once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np

from driftd.config.schema import Config
from driftd.loop.maintenance import prune_checks
from driftd.observe.metrics import Metrics
from driftd.records import ModelState, Phase, Window
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.writer import StateStore
from driftd.views.scores import score_view
from driftd.views.status import model_status
from driftd.views.window_range import Asked
from year_of_history import COMPONENTS, assess_loss, assess_scores

DAY_WINDOWS, YEAR_WINDOWS = 24, 8766
HOUR = 3600.0
BEGIN = 1_700_000_000 // 3600
PROFILE_BYTES, MONITOR_BYTES = 16_000, 250_000  # of 100 features, as evidence_cost.py and check_speed.py find them
MODEL = "demand"


@dataclass(frozen=True, slots=True)
class Figures:
    """What is seen after so many windows. Times are in seconds: of one check, of the page, of a start."""

    windows: int
    megabytes: float
    check: float
    page: float
    start: float


def drive(path: Path, *, windows: int, features: int, keep_days: float, every: int) -> Iterator[Figures]:
    """Record so many hourly windows, forget the old ones daily as the daemon does, and look every so many windows."""
    rng = np.random.default_rng(7)
    content = {
        "retention": {"checks": f"{keep_days:g}d", "share": 1},
        "models": {MODEL: {"task": "regression", "target": "y"}},
    }
    config, metrics, state = Config.model_validate(content), Metrics(), ModelState(MODEL, Phase.STEADY, champion=1)
    profile, monitor = rng.bytes(PROFILE_BYTES * features // 100), rng.bytes(MONITOR_BYTES * features // 100)
    with StateStore.open(path, durable=False) as store:
        store.save_state(state, BEGIN * HOUR)
        taken: list[float] = []
        for number in range(1, windows + 1):
            window = Window(BEGIN + number, (BEGIN + number) * HOUR, (BEGIN + number + 1) * HOUR)
            values = rng.normal(0, 0.1, (features, len(COMPONENTS)))
            began = time.perf_counter()
            with store.transaction():
                store.save_check(MODEL, "window", window, assess_scores(values), at=window.end + 60, version=1)
                store.save_check(MODEL, "labels", window, assess_loss(0.4), at=window.end + 60, version=1)
                store.save_profile(MODEL, window, version=1, rows=500, profile=profile)
                store.save_monitor(MODEL, 1, {}, monitor)
            taken.append(time.perf_counter() - began)
            if number % DAY_WINDOWS == 0:
                prune_checks(store, config, metrics, window.end + 60)
            if number % every == 0:
                check = float(np.median(taken[-every:]))
                yield Figures(number, _megabytes(path), check, _seconds_of_page(path, state), _seconds_of_start(path))


def _megabytes(path: Path) -> float:
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*")) / 1e6


def _seconds_of_page(path: Path, state: ModelState) -> float:
    began = time.perf_counter()
    reader = SeriesReader.read_only(path)
    with reader.at_one_moment():
        model_status(reader, state)
        score_view(reader, MODEL, Asked())
    reader.close()
    return time.perf_counter() - began


def _seconds_of_start(path: Path) -> float:
    began = time.perf_counter()
    with StateStore.open(path, durable=False) as store:
        (state,) = store.models()
        model_status(store, state)
        store.history(MODEL, limit=-1)
        store.scores(MODEL, since_index=(store.cursor(MODEL, "window") or 0) - 1)
        assert store.monitor(MODEL) is not None
    return time.perf_counter() - began


def print_figures(seen: Figures) -> None:
    """One line."""
    print(
        f"{seen.windows / YEAR_WINDOWS:.1f} years: {seen.megabytes:8,.0f} MB, check {1e3 * seen.check:6.1f} ms, "
        f"page {1e3 * seen.page:6.0f} ms, start {1e3 * seen.start:6.0f} ms",
        flush=True,
    )


def bytes_of(first: Figures, last: Figures) -> float:
    """What a window takes, of the growth between two looks."""
    return 1e6 * (last.megabytes - first.megabytes) / (last.windows - first.windows)


def main() -> None:
    """The years, printed by halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=float, default=3.0)
    parser.add_argument("--features", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        windows, half = int(given.years * YEAR_WINDOWS), YEAR_WINDOWS // 2
        seen = []
        for figures in drive(
            Path(folder) / "state.db", windows=windows, features=given.features, keep_days=800, every=half
        ):
            print_figures(figures)
            seen.append(figures)
        if len(seen) > 1:
            last, before = seen[-1], seen[-2]
            size, page = last.megabytes / before.megabytes, last.page / before.page
            print(f"the last half year: size x{size:.2f}, page x{page:.2f}")
            window = bytes_of(seen[0], seen[1])
            print(
                f"{given.features} features: {window / given.features:,.0f} bytes a window and feature, "
                f"{window * YEAR_WINDOWS / 1e6:,.0f} MB a year of hourly windows"
            )


if __name__ == "__main__":
    main()
