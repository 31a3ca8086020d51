"""False alarms and delays of the e-detector in several worlds: nominal beside observed.

Run: PYTHONPATH=detectors python benchmarks/false_alarms.py [--windows 4000]

A stream model of 20 features (location, spread, rest) and one global stream, in units of the reference, at A = 1,000
windows between false alarms. "observed" counts alarms per 1,000 windows in which nothing happens but what the world
always does; after each alarm, and every 1,000 windows, a new reference is drawn. "delay" is the median number of
windows until one of 20 features that moved by .25 sd is found (a run that does not find it counts as 60).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from driftd_detectors.evidence.evidence import Evidence, StreamWeights

FEATURES, A = 20, 1000.0
SHIFT = 0.25
DAY, HOUR = 86_400.0, 3_600.0
MONDAY = 4 * DAY


@dataclass(frozen=True)
class World:
    """One kind of clean world: what the level of a window does besides sampling noise, in sampling sds."""

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


WORLDS = (
    World("iid, n = 100", 100, 28, DAY, 0.3, 8),
    World("iid, n = 500", 500, 28, DAY, 0.3, 2),
    World("iid, n = 2,000", 2000, 28, DAY, 0.3, 2),
    World("iid, n = 500, 3 reference windows", 500, 3, None, 1.0, np.nan),
    World("iid, n = 500, no reference windows", 500, 0, None, 1.0, np.nan),
    World("daily, day of week", 500, 28, DAY, 0.3, 5, season=3.0),
    World("hourly, daily and weekly", 500, 336, HOUR, 0.3, 9, season=3.0),
    World("AR(.6), sd = sampling sd", 500, 28, None, 0.3, np.nan, ar=0.6, wander=1.0),
    World("AR(.9), R = 28", 500, 28, None, 6.0, np.nan, ar=0.9, wander=1.0),
    World("AR(.9), R = 56", 500, 56, None, 1.0, np.nan, ar=0.9, wander=1.0),
    World("AR(.95), R = 56", 500, 56, None, 1.5, np.nan, ar=0.95, wander=1.0),
    World("t4 day effects, twice sampling", 500, 28, DAY, 1.5, np.nan, heavy=2.0),
)


class Run:
    """One life of one world: a fresh reference, then windows one after another."""

    def __init__(self, world: World, rng: np.random.Generator):
        self.world, self.rng = world, rng
        self.streams = 3 * FEATURES + 1
        self.sd = np.concatenate([np.full(2 * FEATURES, world.rows**-0.5), np.ones(FEATURES + 1)])
        delta = 0.03
        rest = world.rows * delta**2 / np.sqrt(2 * 17)
        self.tolerance = np.concatenate([np.full(2 * FEATURES, delta), np.full(FEATURES + 1, rest)])
        weights = np.concatenate(
            [np.full(FEATURES, 0.45), np.full(FEATURES, 0.225), np.full(FEATURES, 0.225), [0.1 * FEATURES]]
        )
        two_sided = np.arange(self.streams) < 2 * FEATURES
        self.lanes = StreamWeights.of(weights, two_sided)
        self.pattern = rng.normal(0, world.season, (168, self.streams))
        self.level = rng.normal(0, world.wander, self.streams)
        self.at, self.mean = 0, np.zeros(self.streams)
        reference = np.array([self.draw() for _ in range(world.reference)]).reshape(-1, self.streams)
        if len(reference):
            self.mean = reference.mean(axis=0)  # windows are scored against the reference as a whole
            reference = reference - self.mean
        starts = MONDAY + (world.seconds or 1.0) * np.arange(world.reference)
        self.evidence = Evidence.begin(
            self.lanes, A, starts, reference, np.tile(self.sd, (world.reference, 1)), world.seconds
        )

    def draw(self, shift: float = 0.0) -> np.ndarray:
        world, rng = self.world, self.rng
        cell = self.at % 168 if world.seconds == HOUR else self.at % 7
        effect = self.pattern[cell].copy()
        if world.wander:
            self.level = world.ar * self.level + world.wander * rng.normal(0, np.sqrt(1 - world.ar**2), self.streams)
            effect += self.level
        if world.heavy:
            effect += world.heavy * rng.standard_t(4, self.streams) / np.sqrt(2)
        effect[2 * FEATURES :] *= 0.3  # the rest and the global stream hardly have seasons
        self.at += 1
        value = self.sd * (effect + rng.standard_normal(self.streams)) - self.mean
        value[0] += shift
        return value

    def step(self, shift: float = 0.0) -> bool:
        start = MONDAY + (self.world.seconds or 1.0) * self.at
        self.evidence = self.evidence.update(self.draw(shift), self.sd, self.tolerance, start)
        return self.evidence.crossed


def false_alarms(world: World, windows: int, seed: int) -> tuple[int, float]:
    """Alarms in so many clean windows, and the share of windows that were suspected."""
    rng = np.random.default_rng(seed)
    run, alarms, suspected, life = Run(world, rng), 0, 0, 0
    for _ in range(windows):
        life += 1
        if run.step():
            alarms += 1
        suspected += run.evidence.since > 0
        if run.evidence.alarmed or life >= 1000:
            run, life = Run(world, rng), 0
    return alarms, suspected / windows


def delays(world: World, runs: int, seed: int) -> float:
    """Median windows from a .25 sd shift of one feature to its alarm."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(runs):
        run = Run(world, rng)
        for _ in range(20):
            run.step()
        waited = next((t for t in range(1, 61) if run.step(SHIFT) or run.evidence.alarmed), 60)
        found.append(waited)
    return float(np.median(found))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=20261123)
    chosen = parser.parse_args()
    print(f"{chosen.windows} clean windows a world; nominal 1 per 1,000 (A = {A:g})")
    print(f"{'world':38s} {'to reach':>9s} {'observed':>9s} {'suspected':>10s} {'delay':>6s} {'to reach':>9s}")
    for number, world in enumerate(WORLDS):
        alarms, suspected = false_alarms(world, chosen.windows, chosen.seed + number)
        delay = delays(world, chosen.runs, chosen.seed + 100 + number)
        print(
            f"{world.name:38s} {world.nominal:9.2f} {1000 * alarms / chosen.windows:9.2f} {suspected:10.1%} "
            f"{delay:6.0f} {world.slowest:9.0f}"
        )


if __name__ == "__main__":
    main()
