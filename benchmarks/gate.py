"""How often the gate promotes an equal challenger, and finds a better one: nominal beside observed.

Run: PYTHONPATH=detectors python benchmarks/gate.py
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest

from driftd_detectors.comparison.gate import DAY, judge

REPEATS = 2000
ROWS_A_DAY = 200


def losses(rng, days, *, gain=0.0, day_sd=0.0, error=0.10, apart=0.06):
    """0/1 losses of two models that disagree on a share `apart` of the rows; a day tilts who wins those."""
    rows = days * ROWS_A_DAY
    at = np.repeat(np.arange(days), ROWS_A_DAY) * DAY + np.sort(rng.uniform(0, DAY, rows))
    tilt = gain / apart / 2 + np.repeat(rng.normal(0, day_sd, days), ROWS_A_DAY)
    disagree = rng.random(rows) < apart
    challenger_right = rng.random(rows) < np.clip(0.5 + tilt, 0, 1)
    both_wrong = rng.random(rows) < (error - apart / 2) / (1 - apart)
    champion = np.where(disagree, challenger_right, both_wrong).astype(float)
    challenger = np.where(disagree, ~challenger_right, both_wrong).astype(float)
    return challenger, champion, at


def mcnemar(challenger, champion):
    won, lost = int((champion > challenger).sum()), int((challenger > champion).sum())
    return won + lost > 0 and binomtest(won, won + lost, alternative="greater").pvalue < 0.05


def main():
    rng = np.random.default_rng(20261122)
    print(f"{REPEATS} gates each of {ROWS_A_DAY} rows a day; share promoted")
    print(f"{'world':44s} {'nominal':>8s} {'block t':>8s} {'McNemar':>8s} {'point':>8s}")
    for name, days, gain, day_sd in (
        ("equal, independent rows, 4 days", 4, 0.0, 0.0),
        ("equal, independent rows, 20 days", 20, 0.0, 0.0),
        ("equal, day effects, 20 days", 20, 0.0, 0.15),
        ("equal, strong day effects, 20 days", 20, 0.0, 0.3),
        ("equal, day effects, 4 days", 4, 0.0, 0.15),
        ("worse by one point, 20 days", 20, -0.01, 0.0),
        ("better by one point, 20 days", 20, 0.01, 0.0),
        ("better by one point, day effects, 20 days", 20, 0.01, 0.15),
        ("better by two points, 4 days", 4, 0.02, 0.0),
    ):
        got = np.zeros(3)
        for _ in range(REPEATS):
            new, old, at = losses(rng, days, gain=gain, day_sd=day_sd)
            got += (judge(new, old, at).decision == "promote", mcnemar(new, old), new.mean() < old.mean())
        nominal = "<= 0.05" if gain <= 0 else "power"
        print(f"{name:44s} {nominal:>8s} " + " ".join(f"{repeat:8.3f}" for repeat in got / REPEATS))
    wrong = 0
    for _ in range(REPEATS):
        new, old, at = losses(rng, 60, day_sd=0.15)
        looks = [judge(new[:n], old[:n], at[:n], look=k) for k, n in enumerate((2000, 4000, 8000, 12000), start=1)]
        wrong += any(look.decision == "promote" for look in looks)
    print(f"{'equal, day effects, judged four times':44s} {'<= 0.05':>8s} {wrong / REPEATS:8.3f}")


if __name__ == "__main__":
    main()
