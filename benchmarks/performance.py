"""False alarms and delays of performance with labels, by the product's own detector: nominal beside observed.

Run: PYTHONPATH=detectors python benchmarks/performance.py [--lives 40] [--seed 20261130] [--only "AR(.9)"]

The table of STATISTICS 12.2: false alarms a year (nominal .4: a life ends with its first alarm), a version that is bad
from its first day, and a change after 40 days. Windows are days of 200 labels unless the world says otherwise. A rate
has its standard error: 16 lives tell .4 a year from .8 only by luck. `--only` is for a close look at some worlds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from driftd_detectors.performance.cohort_loss import estimate_loss
from driftd_detectors.performance.label_delay import FIRST_SHARE, LabelDelay
from driftd_detectors.performance.loss_reference import learn_losses
from driftd_detectors.performance.performance import Performance, begin_performance
from loss_worlds import BETWEEN_ALARMS, DAY, WORLDS, LossWorld, first_alarm
from worlds import Rows, day_of, known_by, together

REFERENCES = (3, 7, 14, 28)
WEEK, HOUR = 7 * DAY, 3600.0


def rate(ended: list[int | None], days: int) -> float:
    """False alarms a year of 365.25 windows."""
    return sum(item is not None for item in ended) / years(ended, days)


def rate_error(ended: list[int | None], days: int) -> float:
    """The standard error of that rate, as if there had been one alarm at least."""
    return float(max(1, sum(item is not None for item in ended)) ** 0.5 / years(ended, days))


def years(ended: list[int | None], days: int) -> float:
    """How long all lives were, in years of 365.25 windows: a life ends with its first alarm."""
    return sum(item or days for item in ended) / 365.25


def summary(ended: list[int | None], begin: int = 0) -> str:
    """The share found and the median window, counted from `begin`; earlier alarms are false and not counted."""
    true = [item for item in ended if item is None or item > begin]
    if not true:
        return "-"
    middle = np.median([np.inf if item is None else item - begin for item in true])
    return f"{sum(item is not None for item in true) / len(true):4.0%} / {middle:3.0f}"


def chosen_worlds(only: str, *names: str) -> dict[str, LossWorld]:
    """The worlds of these names, or all, whose name holds `only`."""
    return {name: world for name, world in WORLDS.items() if only in name and (not names or name in names)}


def false_alarms(seed: int, lives: int, only: str) -> None:
    print(f"\nfalse alarms a year +- standard error, {lives} lives of 365 days a figure; nominal .4, to reach .55")
    print(f"{'world':<20}" + "".join(f"  R = {item:<8d}" for item in REFERENCES))
    for name, world in chosen_worlds(only).items():
        output = []
        for reference in REFERENCES:
            rng = np.random.default_rng([seed, reference])
            ended = [first_alarm(rng, world, reference, 365) for _ in range(lives)]
            output.append(f"{rate(ended, 365):.2f} +- {rate_error(ended, 365):.2f}")
        print(f"{name:<20}" + "".join(f"  {item:>12}" for item in output), flush=True)


def bad_from_the_first_day(seed: int, lives: int, only: str) -> None:
    worlds = chosen_worlds(only, "day effects .10", "AR(.8) .10", "weekdays .15", "uneven counts")
    if not worlds:
        return
    print("\nbad from the first live day: found within 60 days / median day")
    print(f"{'world':<20} {'rise':>5}" + "".join(f"  R = {item:<8d}" for item in REFERENCES))
    for name, world in worlds.items():
        for rise in (1.3, 1.5, 2.0):
            output = []
            for reference in REFERENCES:
                rng = np.random.default_rng([seed, reference, 1])
                ended = [first_alarm(rng, world, reference, 60, rise=rise) for _ in range(lives)]
                output.append(summary(ended) + f" (max {max((item or 99) for item in ended)})")
            print(f"{name:<20} {rise:5.1f}" + "".join(f"  {item:>12}" for item in output), flush=True)


def change_after_40_days(seed: int, lives: int, only: str) -> None:
    names = ("day effects .10", "AR(.8) .10", "AR(.8) .20", "weekdays .15", "uneven, AR(.8) .10")
    worlds = chosen_worlds(only, *names)
    if not worlds:
        return
    print("\nchange after 40 days, R = 28: found within 60 days of it / median day; the share found within 20 days")
    for name, world in worlds.items():
        output = []
        for rise in (1.3, 1.5, 2.0):
            rng = np.random.default_rng([seed, 40])
            ended = [first_alarm(rng, world, 28, 100, rise=rise, after=40) for _ in range(lives)]
            quick = np.mean([item is not None and item <= 60 for item in ended if item is None or item > 40])
            output.append(f"x{rise}: {summary(ended, 40)}, {quick:4.0%}")
        print(f"{name:<20} " + "   ".join(output), flush=True)


def other_windows(seed: int, lives: int) -> None:
    print("\nwindows of a week and of an hour: false alarms a year (nominal .4), and days until x1.5 is found")
    weekly, hourly = 365.25 / 7, 24 * 365.25
    for name, world in (("weeks, AR(.5) .10", LossWorld(sd=0.1, rho=0.5)), ("weeks, day effects", LossWorld(sd=0.1))):
        for reference in (3, 10):
            rng = np.random.default_rng([seed, 52])
            ended = [first_alarm(rng, world, reference, 156, window_seconds=WEEK, a=weekly / 0.4) for _ in range(lives)]
            found = [
                first_alarm(rng, world, reference, 30, rise=1.5, window_seconds=WEEK, a=weekly / 0.4)
                for _ in range(lives)
            ]
            per_year = rate(ended, 156) * weekly / 365.25
            print(
                f"{name:<20} R = {reference:<3d} {per_year:8.2f}   x1.5 in weeks: {summary(found)}",
                flush=True,
            )
    world = LossWorld(sd=0.10, rho=0.95)
    for reference in (48, 336):
        rng = np.random.default_rng([seed, 24])
        few = max(4, lives // 8)
        ended = [first_alarm(rng, world, reference, 24 * 60, window_seconds=HOUR, a=hourly / 0.4) for _ in range(few)]
        found = [
            first_alarm(rng, world, reference, 24 * 14, rise=1.5, window_seconds=HOUR, a=hourly / 0.4)
            for _ in range(few)
        ]
        per_year = rate(ended, 24 * 60) * 24
        print(
            f"{'hours, AR(.95) .10':<20} R = {reference:<3d} {per_year:8.2f}   x1.5 in hours: {summary(found)}",
            flush=True,
        )


def late_and_uneven(seed: int, lives: int) -> None:
    """Rows of a real classifier: cohorts read when 45 % of their labels are there, and windows of uneven counts."""
    print("\ncohorts of rows: sd of (loss - reference) over its stated sampling sd; false alarms a year;")
    print("a quarter of labels turned round from day 1, R = 7: found within 40 days / median day")
    few = max(4, lives // 4)
    for metric in ("brier", "error", "log_loss", "roc_auc", "f1"):
        for delay, name in ((0.0, "mature"), (2.0, "late, AIPW")):
            for even in (True, False):
                rng = np.random.default_rng([seed, int(delay), even])
                clean = [RowLife(rng, metric, 14, delay, even=even).run(120) for _ in range(few)]
                worse = [RowLife(rng, metric, 7, delay, even=even).run(40, wrong=0.25)[0] for _ in range(few)]
                spread = np.std(np.concatenate([standard for _, standard in clean]))
                per_year = rate([item for item, _ in clean], 120)
                counts = "even" if even else "uneven"
                print(
                    f"{metric:<9} {name:<11} {counts:<7} {spread:5.2f} {per_year:6.2f}   {summary(worse)}",
                    flush=True,
                )


class RowLife:
    """A version's life on rows: its reference, then cohorts as they are evaluated."""

    def __init__(self, rng: np.random.Generator, metric: str, reference: int, delay: float, *, even: bool) -> None:
        self.rng, self.delay, self.even, self.first = rng, delay, even, reference
        _, outcomes = together([self.day(number) for number in range(reference)])
        learned = learn_losses(metric, outcomes, np.floor(outcomes.at / DAY) * DAY)
        assert learned is not None
        self.reference = learned
        self.curve = LabelDelay.learn_outcomes(outcomes) if delay else None
        watched = begin_performance(self.reference, BETWEEN_ALARMS, tolerated=None, window_seconds=DAY)
        assert isinstance(watched, Performance), "a few hundred rows a day are enough for averages"
        self.watched = watched

    def day(self, number: int, wrong: float = 0.0) -> Rows:
        rows = 400 if self.even else int(np.clip(self.rng.lognormal(np.log(300), 0.7), 40, 3000))
        return day_of(self.rng, number, rows, delay=self.delay, wrong=wrong)

    def run(self, days: int, wrong: float = 0.0) -> tuple[int | None, list[float]]:
        """The day of the first alarm, and how far each cohort was off, in its own sampling sds."""
        age = self.curve.age_of(FIRST_SHARE) if self.curve else 0.0
        assert age is not None
        standard = []
        for number in range(self.first, self.first + days):
            _, outcomes = self.day(number, wrong)
            known = (number + 1) * DAY + age
            estimate = estimate_loss(known_by(outcomes, known), self.reference, self.curve, known)
            standard.append((estimate.loss - self.watched.evidence.promise.mean) / estimate.sampling_sd)
            self.watched = self.watched.update(estimate, number * DAY)
            if self.watched.crossed:
                return number - self.first + 1, standard
        return None, standard


def cost() -> None:
    rng = np.random.default_rng(1)
    begin = time.perf_counter()
    first_alarm(rng, LossWorld(), 28, 400)
    spent = (time.perf_counter() - begin) / 400
    print(f"\n{spent * 1e3:.2f} ms a window; A = {BETWEEN_ALARMS:,.0f} windows")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lives", type=int, default=16)
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--only", default="", help="worlds whose name holds this; other windows and rows are left out")
    chosen = parser.parse_args()
    false_alarms(chosen.seed, chosen.lives, chosen.only)
    bad_from_the_first_day(chosen.seed, chosen.lives, chosen.only)
    change_after_40_days(chosen.seed, chosen.lives, chosen.only)
    if chosen.only:
        return
    other_windows(chosen.seed, chosen.lives)
    late_and_uneven(chosen.seed, chosen.lives)
    cost()


if __name__ == "__main__":
    main()
