"""How often probation rolls back an equal version, and how fast a worse one: nominal beside observed.

Run: PYTHONPATH=detectors python benchmarks/probation.py
"""

from __future__ import annotations

import numpy as np
from gate import ROWS_A_DAY, losses
from scipy.stats import ttest_1samp

from driftd_detectors.comparison.gate import judge
from driftd_detectors.comparison.probation import watch

REPEATS = 400
DAYS = 28
TOLERATED = 0.002  # 2 % of an error of .10


def labels_until(new, old, at, overdispersion):
    """After how many labels a daily look first says roll back; 0 for never."""
    for day in range(1, DAYS + 1):
        n = day * ROWS_A_DAY
        if watch(new[:n], old[:n], at[:n], tolerated=TOLERATED, overdispersion=overdispersion).roll_back:
            return n
    return 0


def daily_t(new, old):
    means = (new - old).reshape(DAYS, ROWS_A_DAY).mean(axis=1)
    return any(
        ttest_1samp(means[:day], 0, alternative="greater").pvalue < 0.05
        for day in range(3, DAYS + 1)
        if means[:day].std() > 0
    )


def main():
    rng = np.random.default_rng(20261123)
    print(f"{REPEATS} watches of {DAYS} days x {ROWS_A_DAY} labels, looked at daily")
    print(f"{'world':44s} {'nominal':>10s} {'bet':>7s} {'daily t':>8s} {'median labels to roll back':>27s}")
    for name, harm, day_sd in (
        ("equal, independent rows", 0.0, 0.0),
        ("equal, day effects", 0.0, 0.15),
        ("equal, strong day effects", 0.0, 0.3),
        ("better by one point", -0.01, 0.0),
        ("worse by two points", 0.02, 0.0),
        ("worse by two points, day effects", 0.02, 0.15),
    ):
        stopped, t_stopped = [], 0
        for _ in range(REPEATS):
            judged = judge(*losses(rng, 20, gain=0.01, day_sd=day_sd))
            new, old, at = losses(rng, DAYS, gain=-harm, day_sd=day_sd)
            stopped.append(labels_until(new, old, at, judged.overdispersion))
            t_stopped += daily_t(new, old)
        found = [n for n in stopped if n]
        nominal = "<= 0.05" if harm <= 0 else "800-2000"
        delay = f"{np.median(found):.0f}" if harm > 0 and found else "-"
        share = len(found) / REPEATS
        print(f"{name:44s} {nominal:>10s} {share:7.3f} {t_stopped / REPEATS:8.3f} {delay:>27s}")


if __name__ == "__main__":
    main()
