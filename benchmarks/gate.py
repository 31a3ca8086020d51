"""How often the gate promotes an equal challenger, and finds a better one: nominal beside observed.

Run: PYTHONPATH=detectors python benchmarks/gate.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import stdtrit
from scipy.stats import binomtest

from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.gate import DAY, judge

REPEATS = 2000
ROWS_A_DAY = 200
LOOKS = (3, 6, 12, 24, 48)  # days


def losses(
    rng: np.random.Generator,
    days: int,
    *,
    gain: float = 0.0,
    day_sd: float = 0.0,
    error: float = 0.10,
    apart: float = 0.06,
) -> tuple[Numbers, Numbers, Numbers]:
    """0/1 losses of two models that disagree on a share `apart` of the rows; a day tilts who wins those."""
    rows = days * ROWS_A_DAY
    at = np.repeat(np.arange(days, dtype=np.float64), ROWS_A_DAY) * DAY + np.sort(rng.uniform(0, DAY, rows))
    tilt = gain / apart / 2 + np.repeat(rng.normal(0, day_sd, days), ROWS_A_DAY)
    disagree = rng.random(rows) < apart
    challenger_right = rng.random(rows) < np.clip(0.5 + tilt, 0, 1)
    both_wrong = rng.random(rows) < (error - apart / 2) / (1 - apart)
    champion = np.where(disagree, challenger_right, both_wrong).astype(float)
    challenger = np.where(disagree, ~challenger_right, both_wrong).astype(float)
    return challenger, champion, at


def day_effects(rng: np.random.Generator, days: int, rho: float) -> Numbers:
    """One standard normal a day, AR(rho)."""
    effect = np.zeros(days)
    effect[0] = rng.standard_normal()
    for day in range(1, days):
        effect[day] = rho * effect[day - 1] + np.sqrt(1 - rho**2) * rng.standard_normal()
    return effect


def errors(
    rng: np.random.Generator,
    days: int,
    *,
    gain: float = 0.0,
    day_sd: float = 0.0,
    rho: float = 0.0,
    per_day: int = 100,
) -> tuple[Numbers, Numbers, Numbers]:
    """Absolute errors of about .8 of two regressors; `gain` and `day_sd` are shares of the loss."""
    rows = days * per_day
    at = (
        np.repeat(np.arange(days, dtype=np.float64), per_day) * DAY
        + np.sort(rng.uniform(0, DAY, (days, per_day)), axis=1).ravel()
    )
    base = np.abs(rng.standard_normal(rows))
    apart = 0.3 * rng.standard_normal(rows) - 0.8 * (gain + day_sd * np.repeat(day_effects(rng, days, rho), per_day))
    return np.maximum(0, base + apart / 2), np.maximum(0, base - apart / 2), at


def mcnemar(challenger: Numbers, champion: Numbers) -> bool:
    won, lost = int((champion > challenger).sum()), int((challenger > champion).sum())
    return won + lost > 0 and bool(binomtest(won, won + lost, alternative="greater").pvalue < 0.05)


def parts_of_days(challenger: Numbers, champion: Numbers, look: int) -> str:
    """The same t test at the same looks, with the rows cut into ten parts: "promote", "reject" or neither."""
    means = np.array([part.mean() for part in np.array_split(champion - challenger, 10)])
    half = stdtrit(9, 1 - 0.05 / 2**look) * means.std(ddof=1) / np.sqrt(10)
    return "promote" if means.mean() > half else "reject" if means.mean() < -half else "inconclusive"


def first_decision(decide: Callable[[int, int], str]) -> str:
    """What is said at the first look that is conclusive."""
    for look, days in enumerate(LOOKS, start=1):
        decision = decide(days, look)
        if decision != "inconclusive":
            return decision
    return "inconclusive"


def print_single_looks(rng: np.random.Generator) -> None:
    print(f"{REPEATS} gates, each looked at once, {ROWS_A_DAY} rows a day; share promoted")
    print(f"{'world':44s} {'nominal':>8s} {'driftd':>8s} {'McNemar':>8s} {'point':>8s}")
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


def print_all_looks(rng: np.random.Generator) -> None:
    after = ", ".join(map(str, LOOKS))
    print(f"\n{REPEATS} gates, looked at after {after} days of 100 rows; share promoted at any look")
    print(f"{'world (sd of days in % of the loss)':44s} {'nominal':>8s} {'driftd':>8s} {'ten parts':>10s}")
    for name, gain, day_sd, rho in (
        ("equal, days alike", 0.0, 0.0, 0.0),
        ("equal, day effects 5 %", 0.0, 0.05, 0.0),
        ("equal, day effects 10 %", 0.0, 0.10, 0.0),
        ("equal, AR(.5) days 5 %", 0.0, 0.05, 0.5),
        ("equal, AR(.5) days 10 %", 0.0, 0.10, 0.5),
        ("equal, AR(.8) days 5 %", 0.0, 0.05, 0.8),
        ("better by 5 %, day effects 5 %", 0.05, 0.05, 0.0),
        ("better by 5 %, day effects 10 %", 0.05, 0.10, 0.0),
        ("better by 2 %, days alike", 0.02, 0.0, 0.0),
    ):
        got = np.zeros(2)
        for _ in range(REPEATS):
            new, old, at = errors(rng, LOOKS[-1], gain=gain, day_sd=day_sd, rho=rho)

            def ours(days: int, look: int, new: Numbers = new, old: Numbers = old, at: Numbers = at) -> str:
                rows = days * 100
                return judge(new[:rows], old[:rows], at[:rows], look=look).decision

            def parts(days: int, look: int, new: Numbers = new, old: Numbers = old) -> str:
                return parts_of_days(new[: days * 100], old[: days * 100], look)

            got += (first_decision(ours) == "promote", first_decision(parts) == "promote")
        nominal = "power" if gain > 0 else "<= 0.05" if rho == 0 else "<= 0.10" if rho <= 0.5 else "-"
        print(f"{name:44s} {nominal:>8s} {got[0] / REPEATS:8.3f} {got[1] / REPEATS:10.3f}")


def main() -> None:
    rng = np.random.default_rng(20261122)
    print_single_looks(rng)
    print_all_looks(rng)


if __name__ == "__main__":
    main()
