"""False alarms and delays of the detectors in several worlds, through real Profiles: nominal beside observed.

Run: PYTHONPATH=detectors python benchmarks/false_alarms.py [--windows 1000] [--runs 9] [--jobs 2] [--only AR]

Rows are drawn, counted by `profile_of` and put to `Monitor.check`: 20 features and a prediction that depends on three
of them, at A = 1,000 windows between false alarms of the whole model. "observed" counts alarms of any kind (data,
prediction, quality) per 1,000 windows in which nothing happens but what the world always does; after each alarm, and
every 1,000 windows at the latest, a new reference is drawn. "suspected" is the share of windows with gathering
evidence. "delay" is the median number of windows until one of 20 features that moved by .25 sd is found (a run that
does not find it counts as 60). Month ends, holidays and a change of summer time are run with their calendar and
without, to be compared. Levels of windows are in sds of a window's mean.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import repeat

import numpy as np

from driftd_detectors.assessment import EvidenceKind, Verdict
from driftd_detectors.columns import Coded, Column, Columns, Numbers, Outcomes
from driftd_detectors.evidence.history import Calendar
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.reference import learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task

FEATURES, A = 20, 1000.0
SHIFT = 0.25
DAY, HOUR = 86_400.0, 3_600.0
MONDAY = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
MARCH = datetime(2024, 3, 11, tzinfo=UTC).timestamp()  # a Monday, three weeks before summer time
BEFORE, LONGEST = 20, 60


DAYS_OFF = ((1, 1), (4, 23), (5, 1), (5, 19), (7, 15), (8, 30), (10, 29), (12, 25))  # month and day
YEAR = Calendar(holidays=frozenset(date(year, *day).toordinal() for year in range(2020, 2040) for day in DAYS_OFF))
PLAIN = Calendar(month_ends=False)
BERLIN = Calendar("Europe/Berlin", month_ends=False)


@dataclass(frozen=True)
class World:
    """One kind of clean world: what the level of a window does besides sampling noise, in sds of a window's mean."""

    name: str
    rows: int
    reference: int
    seconds: float | None
    nominal: float  # false alarms per 1,000 windows to stay under (STATISTICS 11)
    slowest: float  # median delay to reach, NaN where none is promised
    season: float = 0.0
    ar: float = 0.0
    wander: float = 0.0
    heavy: float = 0.0
    mixed: bool = False  # columns of twelve kinds instead of twenty normal ones
    special: float = 0.0  # the last two days of a month and eight holidays a year
    summer: bool = False  # features go by the local hours of a zone with summer time
    calendar: Calendar = PLAIN
    begins: float = MONDAY
    life: int = 1000  # windows until a new reference is drawn: short where what is special soon stops being new


WORLDS = (
    World("iid, n = 100", 100, 28, DAY, 0.3, 8),
    World("iid, n = 500", 500, 28, DAY, 0.3, 2),
    World("iid, n = 2,000", 2000, 28, DAY, 0.3, 2),
    World("iid, n = 500, 3 reference windows", 500, 3, None, 1.0, np.nan),
    World("iid, n = 500, 1 reference window", 500, 1, None, 1.0, np.nan),
    World("daily, day of week", 500, 28, DAY, 0.3, 5, season=3.0),
    World("hourly, daily and weekly", 500, 336, HOUR, 0.3, 9, season=3.0),
    World("AR(.6), sd = sampling sd", 500, 28, None, 0.3, np.nan, ar=0.6, wander=1.0),
    World("AR(.9), R = 28", 500, 28, None, 6.0, np.nan, ar=0.9, wander=1.0),
    World("AR(.9), R = 56", 500, 56, None, 1.0, np.nan, ar=0.9, wander=1.0),
    World("AR(.95), R = 56", 500, 56, None, 1.5, np.nan, ar=0.95, wander=1.0),
    World("t4 day effects, twice sampling", 500, 28, DAY, 1.5, np.nan, heavy=2.0),
    World("month ends, holidays; not told", 500, 28, DAY, np.nan, np.nan, season=3.0, special=4.0, life=100),
    World("month ends, holidays; calendar", 500, 28, DAY, 1.0, np.nan, 3.0, special=4.0, calendar=YEAR, life=100),
    World("summer time; not told", 500, 336, HOUR, np.nan, np.nan, season=3.0, summer=True, begins=MARCH, life=250),
    World("summer time; zone", 500, 336, HOUR, 1.0, np.nan, 3.0, summer=True, calendar=BERLIN, begins=MARCH, life=250),
    World("12 column types, n = 100", 100, 28, DAY, 1.0, np.nan, mixed=True),
    World("12 column types, n = 1,000", 1000, 28, DAY, 1.0, np.nan, mixed=True),
)


def numbers(rng: np.random.Generator, rows: int, level: Numbers) -> dict[str, Column]:
    """Twenty normal columns, each at the level of this window."""
    values = rng.standard_normal((FEATURES, rows)) + level[:, None]
    return {f"x{place}": values[place] for place in range(FEATURES)}


def mixed(rng: np.random.Generator, rows: int, level: Numbers) -> dict[str, Column]:
    """Columns of twelve kinds: atoms, counts, long tails, levels, gaps, ties, two values, labels, a constant."""
    normal = rng.standard_normal(rows) + level[0]
    sparse = rng.random(rows)
    articles = tuple(f"article {place}" for place in range(5000))
    return {
        "normal": normal,
        "zero inflated": np.where(rng.random(rows) < 0.7, 0.0, rng.exponential(size=rows)),
        "poisson": rng.poisson(2.0, rows).astype(np.float64),
        "pareto": rng.pareto(1.5, rows),
        "four levels": rng.integers(1, 5, rows).astype(np.float64),
        "rarely missing": np.where(sparse < 0.004, np.nan, rng.standard_normal(rows)),
        "often missing": np.where(rng.random(rows) < 0.3, np.nan, rng.standard_normal(rows)),
        "ties": np.round(rng.standard_normal(rows), 1),
        "two values": Coded((rng.random(rows) < 0.02).astype(np.int32), ("no", "yes")),
        "zipf": Coded(np.minimum(rng.zipf(1.3, rows) - 1, 4999).astype(np.int32), articles),
        "constant": np.full(rows, 3.0),
        "identity": Coded(np.arange(rows, dtype=np.int32), tuple(map(str, rng.integers(0, 2**62, rows)))),
    }


class Run:
    """One life of one world: a fresh reference, then windows one after another."""

    def __init__(self, world: World, rng: np.random.Generator):
        self.world, self.rng, self.at = world, rng, 0
        self.draw: Callable[[np.random.Generator, int, Numbers], dict[str, Column]] = mixed if world.mixed else numbers
        self.pattern = rng.normal(0, world.season, (168, FEATURES))
        self.level = rng.normal(0, world.wander, FEATURES)
        self.odd = rng.normal(0, 1, FEATURES)  # what special days do
        drawn = self.draw(rng, 1, np.zeros(FEATURES))
        kinds = {name: Kind.CATEGORY if isinstance(column, Coded) else Kind.NUMBER for name, column in drawn.items()}
        schema = Schema(Task.REGRESSION, "y", tuple(Feature(name, kind) for name, kind in kinds.items()))
        windows = [self.window() for _ in range(world.reference)]
        starts = np.repeat([start for start, _, _ in windows], world.rows)
        columns = Columns(
            len(starts), {name: _joined([own.values[name] for _, own, _ in windows]) for name in kinds}, {}
        )
        outcomes = together([own for *_, own in windows])
        reference = learn_reference(
            columns, outcomes, schema, starts=starts, importance=dict.fromkeys(kinds, 1.0), loss="mae"
        )
        self.monitor = Monitor.begin(reference, settings_of(world))

    def window(self, shift: float = 0.0) -> tuple[float, Columns, Outcomes]:
        """The rows of the next window, and its start."""
        world, rng = self.world, self.rng
        start = world.begins + (world.seconds or 1.0) * self.at
        level = self.effect(start) * world.rows**-0.5
        level[0] += shift
        self.at += 1
        values = self.draw(rng, world.rows, level)
        first = [column for column in values.values() if isinstance(column, np.ndarray)][:3]
        prediction = np.sum([np.nan_to_num(column) for column in first], axis=0) + rng.standard_normal(world.rows)
        unknown, at = np.full(world.rows, np.nan), np.full(world.rows, start)
        ones = np.ones(world.rows, dtype=np.int64)
        return start, Columns(world.rows, values, {}), Outcomes(at, prediction, unknown, unknown, unknown, ones, ())

    def effect(self, start: float) -> Numbers:
        """The level of the window that begins then, in sds of its mean, by feature."""
        world, rng = self.world, self.rng
        effect: Numbers = self.pattern[self.at % 168 if world.seconds == HOUR else self.at % 7].copy()
        day = datetime.fromtimestamp(start, UTC).date()
        if world.special and ((day + timedelta(2)).month != day.month or day.toordinal() in YEAR.holidays):
            effect += world.special * self.odd
        if world.summer:
            effect = self.pattern[int(BERLIN.local(np.array([start]), HOUR)[0] // HOUR) % 168].copy()
        if world.wander:
            self.level = world.ar * self.level + world.wander * rng.normal(0, np.sqrt(1 - world.ar**2), FEATURES)
            effect += self.level
        if world.heavy:
            effect += world.heavy * rng.standard_t(4, FEATURES) / np.sqrt(2)
        return effect

    def step(self, shift: float = 0.0) -> tuple[set[EvidenceKind], bool]:
        """Check a window: the kinds that crossed their thresholds, and whether any evidence is gathering."""
        start, columns, outcomes = self.window(shift)
        profile = profile_of(columns, outcomes, self.monitor.reference.layout)
        self.monitor, assessment = self.monitor.check(profile, start, start)
        crossed = {kind.kind for kind in assessment.kinds if kind.crossed}
        return crossed, assessment.verdict is Verdict.SUSPECTED


def settings_of(world: World) -> MonitorSettings:
    """At A = 1,000 windows between false alarms of the model."""
    return MonitorSettings(windows_per_year=A, window_seconds=world.seconds, calendar=world.calendar)


def together(parts: list[Outcomes]) -> Outcomes:
    """The outcomes of windows that follow each other."""
    at, prediction, score, label, label_at = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("at", "prediction", "score", "label", "label_at")
    )
    version = np.concatenate([part.version for part in parts])
    return Outcomes(at, prediction, score, label, label_at, version, ())


def _joined(parts: list[Column]) -> Column:
    coded = [part for part in parts if isinstance(part, Coded)]
    if not coded:
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    table = {
        label: place for place, label in enumerate(dict.fromkeys(label for part in coded for label in part.labels))
    }
    codes = [np.array([table[label] for label in part.labels], dtype=np.int32)[part.codes] for part in coded]
    return Coded(np.concatenate(codes), tuple(table))


def false_alarms(world: World, windows: int, seed: int) -> tuple[dict[EvidenceKind, int], float]:
    """Alarms in so many clean windows by kind, and the share of windows that were suspected."""
    rng = np.random.default_rng(seed)
    run, alarms, suspected, life = Run(world, rng), dict.fromkeys(EvidenceKind, 0), 0, 0
    for _ in range(windows):
        life += 1
        crossed, gathers = run.step()
        suspected += gathers
        for kind in crossed:
            alarms[kind] += 1
        if crossed or life >= world.life:
            run, life = Run(world, rng), 0
    return alarms, suspected / windows


def delay_of(world: World, runs: int, seed: int) -> float:
    """Median windows from a .25 sd shift of one feature to an alarm of data; NaN where none is promised."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(0 if np.isnan(world.slowest) else runs):
        run = Run(world, rng)
        for _ in range(BEFORE):
            run.step()
        waited = (wait for wait in range(1, LONGEST + 1) if EvidenceKind.DATA in run.step(SHIFT)[0])
        found.append(next(waited, LONGEST))
    return float(np.median(found)) if found else float("nan")


def line_of(world: World, windows: int, runs: int, seed: int) -> str:
    """The world's line of the table."""
    began = time.perf_counter()
    alarms, suspected = false_alarms(world, windows, seed)
    delay = delay_of(world, runs, seed + 100)
    kinds = ", ".join(f"{kind} {count}" for kind, count in alarms.items() if count)
    nominal = "-" if np.isnan(world.nominal) else f"{world.nominal:.2f}"
    waited, slowest = ("-" if np.isnan(value) else f"{value:.0f}" for value in (delay, world.slowest))
    return (
        f"{world.name:38s} {nominal:>9s} {1000 * sum(alarms.values()) / windows:9.2f} {suspected:10.1%} "
        f"{waited:>6s} {slowest:>9s} {time.perf_counter() - began:7.0f} s  {kinds}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=1000, help="clean windows a world")
    parser.add_argument("--runs", type=int, default=9, help="changes a world")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worlds at a time")
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    chosen = parser.parse_args()
    worlds = [world for world in WORLDS if chosen.only in world.name]
    print(f"{chosen.windows} clean windows a world, through real Profiles; nominal 1 per 1,000 (A = {A:g})")
    print(f"{'world':38s} {'to reach':>9s} {'observed':>9s} {'suspected':>10s} {'delay':>6s} {'to reach':>9s}")
    with ProcessPoolExecutor(chosen.jobs) as pool:
        seeds = [chosen.seed + WORLDS.index(world) for world in worlds]
        for line in pool.map(line_of, worlds, repeat(chosen.windows), repeat(chosen.runs), seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
