"""Bias of a cohort's loss while its labels are still coming (STATISTICS 5), at the first evaluation age and later.

Run: PYTHONPATH=detectors python benchmarks/late_labels.py [--cohorts 400]

Labels of the positive class come three times later than the others. "naive": the labels so far. "AIPW": ours.
"""

from __future__ import annotations

import argparse

import numpy as np

from driftd_detectors.columns import Outcomes
from driftd_detectors.performance.cohort_loss import estimate_loss
from driftd_detectors.performance.label_delay import FIRST_SHARE, LabelDelay
from driftd_detectors.performance.loss_reference import learn_losses
from driftd_detectors.performance.losses import metric_value

DAY = 86_400.0


def cohort(
    rng: np.random.Generator, rows: int, *, slow: float = 1.0, rise: float = 0.0, never: float = 0.0
) -> tuple[Outcomes, float]:
    score = rng.beta(0.6, 2.4, rows)
    chance = np.clip(score + rise * (score < 0.5) * 1.2, 0, 1)
    label = (rng.random(rows) < chance).astype(float)
    at = np.sort(rng.random(rows)) * DAY
    delay = rng.exponential(np.where(label == 1, 9.0, 3.0) * DAY * slow)
    label_at = np.where(rng.random(rows) < never, np.nan, at + delay)
    label = np.where(np.isnan(label_at), -1.0, label)
    truth = chance
    seen = Outcomes(
        at, (score > 0.5).astype(float), score, label, label_at, np.ones(rows, dtype=np.int64), ("no", "yes")
    )
    return seen, float(np.mean(np.where(score > 0.5, 1 - truth, truth)))


def labels_known_at(seen: Outcomes, now: float) -> Outcomes:
    there = seen.label_at <= now
    label, label_at = np.where(there, seen.label, -1.0), np.where(there, seen.label_at, np.nan)
    return Outcomes(seen.at, seen.prediction, seen.score, label, label_at, seen.version, seen.classes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20261123)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    reference, _ = cohort(rng, 60_000)
    learned = learn_losses("error", reference, np.zeros(reference.rows))
    delay = LabelDelay.learn_outcomes(reference, until=np.inf)
    age = delay.age_of(FIRST_SHARE)
    assert learned is not None
    assert age is not None
    first = age / DAY
    print(f"error {learned.mean:.3f}; first look at {first:.1f} days; {chosen.cohorts} cohorts of {chosen.rows} rows")
    print(f"{'world':34s} {'age, days':>9s} {'naive':>9s} {'AIPW':>9s} {'+- se':>8s} {'to reach':>9s}")
    worlds: tuple[tuple[str, dict[str, float]], ...] = (
        ("no change", {}),
        ("error up by about .015", {"rise": 0.02}),
        ("labels 40 % slower", {"slow": 1.4}),
        ("a fifth of the labels never come", {"never": 0.2}),
    )
    for name, change in worlds:
        for age in (first, 7.0):
            naive, ours = [], []
            for _ in range(chosen.cohorts):
                seen, truth = cohort(rng, chosen.rows, **change)
                so_far = labels_known_at(seen, DAY + age * DAY)
                naive.append(metric_value("error", so_far) - truth)
                ours.append(estimate_loss(so_far, learned, delay, DAY + age * DAY).loss - truth)
            error = np.std(ours) / np.sqrt(len(ours))
            print(f"{name:34s} {age:9.1f} {np.mean(naive):+9.4f} {np.mean(ours):+9.4f} {error:8.4f} {'<= .002':>9s}")


if __name__ == "__main__":
    main()
