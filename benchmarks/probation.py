"""How often probation rolls back an equal version, and how often a worse one: nominal beside observed.

Run: PYTHONPATH=daemon:detectors python benchmarks/probation.py
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gate import errors
from scipy.stats import ttest_1samp

from driftd.training.tasks.shadow import TOLERATED, conclude
from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.gate import DAY, judge
from driftd_detectors.comparison.probation import Watch, watch

REPEATS = 300
DAYS = 7
RULES = {"7 days": 7 * DAY, "1 day": DAY}  # `probation.span`: the default, and what it was; 300 labels each


def looks(new: Numbers, old: Numbers, at: Numbers, overdispersion: float, per_day: int) -> list[Watch]:
    """What the watch says at the end of each day."""
    bound, found = float(np.quantile(old, 0.99)), []
    for day in range(1, DAYS + 1):
        rows = slice(0, day * per_day)
        tolerated = TOLERATED * float(old[rows].mean())
        found.append(
            watch(new[rows], old[rows], at[rows], bound=bound, tolerated=tolerated, overdispersion=overdispersion)
        )
    return found


def end_of(seen: Sequence[Watch], span: float) -> tuple[int, bool]:
    """On which day probation ends, and whether by a rollback."""
    for day, look in enumerate(seen, start=1):
        decision, _ = conclude(look, day * DAY, span=span, min_labels=300)
        if decision != "continue":
            return day, decision == "roll_back"
    return DAYS, False


def daily_t(new: Numbers, old: Numbers, per_day: int) -> bool:
    """Whether a t test over days, looked at daily, ever says that the new version is worse."""
    means = (new - old).reshape(DAYS, per_day).mean(axis=1)
    return any(ttest_1samp(means[:day], 0, alternative="greater").pvalue < 0.05 for day in range(3, DAYS + 1))


def main() -> None:
    rng = np.random.default_rng(20261123)
    print(f"{REPEATS} probations each, looked at daily; share rolled back, and median days until probation ends")
    heads = " ".join(f"{name:>8s} {'ends':>5s}" for name in RULES)
    print(f"{'world (sd of days in % of the loss)':44s} {'labels/day':>10s} {'nominal':>8s} {heads} {'daily t':>8s}")
    for name, per_day, harm, day_sd, rho in (
        ("equal, days alike", 100, 0.0, 0.0, 0.0),
        ("equal, day effects 5 %", 100, 0.0, 0.05, 0.0),
        ("equal, day effects 10 %", 100, 0.0, 0.10, 0.0),
        ("equal, AR(.8) days 10 %", 100, 0.0, 0.10, 0.8),
        ("better by 5 %, day effects 5 %", 100, -0.05, 0.05, 0.0),
        ("worse by 5 %, days alike", 100, 0.05, 0.0, 0.0),
        ("worse by 10 %, days alike", 100, 0.10, 0.0, 0.0),
        ("worse by 10 %, days alike", 300, 0.10, 0.0, 0.0),
        ("worse by 20 %, days alike", 100, 0.20, 0.0, 0.0),
        ("worse by 10 %, day effects 5 %", 100, 0.10, 0.05, 0.0),
        ("worse by 20 %, day effects 5 %", 100, 0.20, 0.05, 0.0),
        ("worse by 50 %, day effects 10 %", 100, 0.50, 0.10, 0.0),
    ):
        ended: dict[str, list[tuple[int, bool]]] = {rule: [] for rule in RULES}
        by_t = 0
        for _ in range(REPEATS):
            gate = judge(*errors(rng, 20, gain=0.05, day_sd=day_sd, rho=rho, per_day=per_day))
            new, old, at = errors(rng, DAYS, gain=-harm, day_sd=day_sd, rho=rho, per_day=per_day)
            seen = looks(new, old, at, gate.overdispersion, per_day)
            for rule, span in RULES.items():
                ended[rule].append(end_of(seen, span))
            by_t += daily_t(new, old, per_day)
        nominal = "<= 0.05" if harm <= 0 else "power"
        cells = " ".join(
            f"{np.mean([back for _, back in ends]):8.3f} {np.median([day for day, _ in ends]):5.0f}"
            for ends in ended.values()
        )
        print(f"{name:44s} {per_day:10d} {nominal:>8s} {cells} {by_t / REPEATS:8.3f}", flush=True)


if __name__ == "__main__":
    main()
