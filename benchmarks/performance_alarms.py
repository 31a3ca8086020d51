"""False alarms and delays of the performance detectors: nominal beside observed (STATISTICS 4).

Run: PYTHONPATH=detectors python benchmarks/performance_alarms.py [--windows 20000]

Error .10, 200 labels a window, 28 reference windows, A = 1,000. "certified" is the betting fallback.
"""

from __future__ import annotations

import argparse

import numpy as np

from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.cohort_loss import CohortEstimate
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.performance import Performance

DAY, A = 86_400.0, 1000.0
MONDAY = 4 * DAY
WORLDS = {
    "independent": (0.0, 0.0, 0.10),
    "day effects": (0.02, 0.0, 0.10),
    "weekly": (0.0, 0.025, 0.10),
    "rare errors (.01)": (0.0, 0.0, 0.01),
}


def level(rng, world, day, mean):
    spread, week, _ = WORLDS[world]
    return float(np.clip(mean + spread * rng.standard_normal() + week * np.sin(2 * np.pi * day / 7), 0.001, 0.9))


def begun(rng, world, certified, rows):
    mean = WORLDS[world][2]
    counts = np.array([rng.binomial(rows, level(rng, world, day, mean)) for day in range(28)])
    share = counts.sum() / (28 * rows)
    sd = np.sqrt(share * (1 - share))
    values, sizes, starts = counts / rows, np.full(28, float(rows)), MONDAY + np.arange(28) * DAY
    nothing = np.empty(0)
    reference = LossReference("error", share, 28 * rows, sd, 0.0, sd, 1.0, nothing, nothing, starts, values, sizes)
    if certified:
        return CertifiedPerformance.begin(reference, A, tolerated=0.1 * share)
    return Performance.begin(reference, A, tolerated=0.1 * share, window_seconds=DAY)


def estimate(rng, world, day, rows, mean, base):
    errors = rng.binomial(rows, level(rng, world, day, mean))
    counted = CohortEstimate.of_sum(errors, rows)
    sd = np.sqrt(base * (1 - base) / rows)
    return CohortEstimate(counted.loss, sd, counted.own_sd, counted.counted, rows, rows, 1.0, 1.0)


def false_alarms(rng, world, certified, windows, rows):
    base, alarms, life = WORLDS[world][2], 0, 1000
    for _ in range(windows):
        if life >= 1000:
            watched, life = begun(rng, world, certified, rows), 0
        watched = watched.update(estimate(rng, world, 28 + life, rows, base, base), MONDAY + (28 + life) * DAY)
        life += 1
        if watched.crossed:
            alarms, life = alarms + 1, 1000
    return 1000 * alarms / windows


def delay(rng, world, certified, rows, factor, runs=31):
    base, found = WORLDS[world][2], []
    for _ in range(runs):
        watched = begun(rng, world, certified, rows)
        for day in range(28, 128):
            mean = base * (factor if day >= 48 else 1.0)
            watched = watched.update(estimate(rng, world, day, rows, mean, base), MONDAY + day * DAY)
            if watched.alarmed and day >= 48:
                break
        found.append(day - 47)
    return np.median(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261123)
    chosen = parser.parse_args()
    print(
        f"{chosen.windows} clean windows of {chosen.rows} labels; nominal 1 per 1,000; to reach .3, delay to x 1.5: 6"
    )
    print(f"{'world':20s} {'detector':10s} {'observed':>9s} {'x 1.3':>6s} {'x 1.5':>6s} {'x 2':>6s}")
    for world in WORLDS:
        for certified in (False, True):
            rng = np.random.default_rng(chosen.seed)
            rate = false_alarms(rng, world, certified, chosen.windows, chosen.rows)
            delays = [delay(rng, world, certified, chosen.rows, factor) for factor in (1.3, 1.5, 2.0)]
            name = "certified" if certified else "default"
            print(f"{world:20s} {name:10s} {rate:9.2f} " + " ".join(f"{delay:6.0f}" for delay in delays))


if __name__ == "__main__":
    main()
