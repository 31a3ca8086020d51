"""Recipes of a refresh: which labelled rows each trains on, and with what weight (STATISTICS 12.1).

`all`, the newest part (`recent`), exponential weights (`half_life`), and after an alarm the rows since the change.
Where labels come later than the cadence, the first and the third are also built from rows whose labels are still
coming, weighted by arrival (`all_weighted`, `half_life_weighted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftd.training.training_rows import FEWEST_ROWS, TrainingRows, label_weights, learn_label_delay
from driftd_detectors.columns import Numbers
from driftd_detectors.performance.label_delay import LabelDelay, worth_weighing

ALL, RECENT, HALF_LIFE, SINCE_CHANGE = "all", "recent", "half_life", "since_change"
WEIGHTED = "_weighted"  # the ending of a recipe that takes rows whose labels are still coming
RECENT_SHARE, FEWEST_RECENT = 0.2, 200
HALF_LIFE_WINDOWS = 28.0
CHANGE_KEPT = 56.0  # windows after a change in which the rows since it are a recipe of their own


@dataclass(frozen=True, slots=True)
class Cadence:
    """How a model's rows are cut in time: the length of a window, and how many windows a refresh waits at least."""

    every: float | None  # seconds; None: windows of so many rows
    rows: int | None
    windows: int

    def ages(self, at: Numbers, until: float) -> Numbers:
        """How many windows old each row is, (rows,)."""
        if self.every is not None:
            return np.maximum(0.0, (until - at) / self.every)
        return np.arange(len(at) - 1, -1, -1) / float(self.rows or 1)

    def seconds(self, at: Numbers) -> float:
        """How long a window takes, in seconds."""
        if self.every is not None:
            return self.every
        return float(at[-1] - at[0]) / max(1, len(at) - 1) * (self.rows or 1) if len(at) else 0.0


@dataclass(frozen=True, slots=True)
class KnownRows:
    """The labelled rows that a refresh knows at `until`, oldest first, and which of them are mature.

    `mature` is how many of the first rows are of windows with nearly all their labels.
    """

    rows: TrainingRows
    until: float  # epoch seconds
    delay: LabelDelay
    mature: int
    mature_until: float
    is_late: bool  # labels come later than the cadence


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """What one recipe trains on: the rows from `start` to `end`, weighted or all alike (None)."""

    start: int
    end: int
    weight: Numbers | None

    @property
    def effective(self) -> float:
        """How many rows of equal weight say as much: (sum w)^2 / sum w^2."""
        if self.weight is None:
            return float(self.end - self.start)
        return float(self.weight.sum() ** 2 / (self.weight**2).sum())


def rows_known(rows: TrainingRows, until: float, cadence: Cadence) -> KnownRows:
    """What is known of some rows at `until`; labels that came later are not."""
    known = ~(rows.label_at > until) & (rows.at < until)
    rows = rows if known.all() else rows.take(known)
    delay = learn_label_delay(rows, until)
    mature_until = delay.mature_until(until, cadence.every)
    mature = int(np.searchsorted(rows.at, mature_until, side="left"))
    is_late = delay.is_known and (delay.mature_age or 0.0) > cadence.windows * cadence.seconds(rows.at)
    return KnownRows(rows, until, delay, mature, mature_until, is_late)


def recipes_of(configured: Sequence[str], known: KnownRows, cadence: Cadence, change_at: float | None) -> list[str]:
    """The recipes that a refresh builds, in order: those of the config, their twins, and the rows since the change."""
    names = list(configured)
    if known.is_late:
        twins = [f"{name}{WEIGHTED}" for name in names if name in (ALL, HALF_LIFE)]
        names = [name for name in names if name != HALF_LIFE] + twins
    if change_at is not None and known.until - change_at <= CHANGE_KEPT * cadence.seconds(known.rows.at):
        names.append(SINCE_CHANGE)
    return names


def training_part(recipe: str, known: KnownRows, cadence: Cadence, change_at: float | None) -> TrainingPart | None:
    """The rows of a recipe; None where these are too few to train on.

    Raises ValueError for a recipe that this driftd does not know.
    """
    rows, mature = known.rows, known.mature
    start, end, weight = 0, mature, None
    match recipe.removesuffix(WEIGHTED):
        case "all":
            pass
        case "recent":
            start = max(0, mature - max(FEWEST_RECENT, int(RECENT_SHARE * mature)))
        case "half_life":
            end = len(rows) if recipe.endswith(WEIGHTED) else mature
            weight = 0.5 ** (cadence.ages(rows.at[:end], known.until) / HALF_LIFE_WINDOWS)
        case "since_change":
            start = mature if change_at is None else min(mature, int(np.searchsorted(rows.at, change_at, side="left")))
        case _:
            raise ValueError(f"there is no recipe {recipe!r}")
    if recipe.endswith(WEIGHTED):
        arrival = label_weights(rows, known.delay, known.until)
        end = int((arrival > 0).sum())  # the older ones: the labels of the others are still coming
        weight = arrival[:end] if weight is None else weight[:end] * arrival[:end]
    if end - start < FEWEST_ROWS:
        return None
    weight = None if weight is None else worth_weighing(weight)
    return TrainingPart(start, end, None if weight is None else weight / weight.mean())
