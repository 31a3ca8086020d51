"""The sample that a trainer gets where there are more rows than its memory and time allow: stratified and weighted."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd.training.training_rows import TrainingRows
from driftd_detectors.columns import Numbers
from driftd_detectors.performance.label_delay import worth_weighing
from driftd_detectors.schema import Task

MOST_VALUES = 25_000_000  # of features: 500,000 rows of 50, which the default trainer learns in minutes
_BYTES_OF_VALUE = 60  # that a build takes: the frame, the trainer's copies of it, its bins
_MEMORY_SHARE = 0.5  # of limits.memory: libraries and the trainer have the rest
_FEWEST_ROWS = 1_000  # of very wide rows
_FEWEST_OF_STRATUM = 100  # a rare class is not lost
_STRATA = 10  # of the values of a regression


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What the lineage says of a sample: enough to draw it again."""

    most: int
    seen: int
    kept: int
    seed: int
    weighted: bool  # newer rows more often, as the recipe weighs them
    strata: Mapping[str, tuple[int, int]]  # rows seen and kept, by class or by the span of the target

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DrawnRows:
    """The rows that a trainer gets, with the weights that they still have; `record` is None where they are all."""

    rows: TrainingRows
    weight: Numbers | None
    record: SampleRecord | None = None

    @property
    def described(self) -> dict[str, object]:
        """What the lineage says; nothing where the rows are all."""
        return {} if self.record is None else {"sample": self.record.to_dict()}


def most_rows(features: int) -> int:
    """How many rows of so many features a build trains on unless the config says it."""
    memory = resource.getrlimit(resource.RLIMIT_AS)[0]
    bytes_free = np.inf if memory == resource.RLIM_INFINITY else _MEMORY_SHARE * memory
    return max(_FEWEST_ROWS, int(min(MOST_VALUES, bytes_free / _BYTES_OF_VALUE) / max(1, features)))


def draw_rows(rows: TrainingRows, weight: Numbers | None, most: int, seed: int) -> DrawnRows:
    """At most so many rows, each as likely as it weighs; the same for the same rows and seed.

    Parameters
    ----------
    rows, weight
        The rows that there are, oldest first, and what each counts, (rows,); None: all alike.
        One that counts nothing is not drawn.
    most
        How many are wanted.
    seed
        Of the drawing.

    Notes
    -----
    Each stratum (a class, or a tenth of the numbers) gets its share of the weight, a small one at least 100 rows.
    Within it a row is drawn with the probability p = min(1, c w), by sequential Poisson sampling (Ohlsson 1998): the
    least values of u/p, u uniform. A drawn row keeps the weight w/p, so that the sample stands for all rows as the
    weights mean it: where no p reaches 1 these are alike, and the trainer gets none.
    """
    if len(rows) <= most:
        return DrawnRows(rows, weight)
    draw = np.random.default_rng(seed).random(len(rows))
    mass = np.ones(len(rows)) if weight is None else weight
    codes, names = _strata_of(rows)
    seen, there = (np.bincount(some, minlength=len(names)) for some in (codes, codes[mass > 0]))
    wanted = _rows_wanted(np.bincount(codes, mass, len(names)).astype(np.float64), there, most)
    chance = np.zeros(len(rows))
    kept: list[NDArray[np.intp]] = []
    for stratum, count in enumerate(wanted):
        inside = np.flatnonzero(codes == stratum)
        if count:
            chance[inside] = _shares(mass[inside], np.ones(len(inside)), float(count))
            keys = draw[inside] / np.maximum(chance[inside], np.finfo(float).tiny)
            keys[chance[inside] >= 1.0] = 0.0
            kept.append(inside[np.argpartition(keys, count - 1)[:count]])
    places = np.sort(np.concatenate(kept))
    left = mass[places] / chance[places]
    strata = {name: (int(count), int(taken)) for name, count, taken in zip(names, seen, wanted, strict=True) if count}
    record = SampleRecord(most, len(rows), len(places), seed, weight is not None, strata)
    left = left / left.mean()
    return DrawnRows(rows.take(places), worth_weighing(left), record)


def _strata_of(rows: TrainingRows) -> tuple[NDArray[np.intp], list[str]]:
    """The stratum of each row, and what each is called."""
    values: NDArray[Any] = rows.label_delay_values
    if rows.schema.task is not Task.REGRESSION:
        return (values.astype(np.intp) + 1), ["none of the classes", *rows.schema.classes]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _STRATA + 1)[1:-1]))
    ends = [f"{edge:.6g}" for edge in edges]
    names = [f"below {ends[0]}", *(f"{low} to {high}" for low, high in pairwise(ends))]
    return np.searchsorted(edges, values, side="right"), [*names, f"from {ends[-1]}"]


def _rows_wanted(mass: Numbers, seen: NDArray[np.intp], most: int) -> list[int]:
    """How many rows of each stratum are drawn: whole numbers, `most` together where small strata do not need more."""
    fewest = np.minimum(seen, min(_FEWEST_OF_STRATUM, most // len(seen)))
    shares = np.maximum(_shares(mass, seen.astype(np.float64), float(most)), fewest)
    while (over := shares.sum() - most) > 1e-6 * most:  # what small strata got more, the others lack
        free = shares - fewest
        shares = fewest + free * max(0.0, 1 - over / free.sum())
    wanted = np.floor(shares + 1e-9).astype(np.intp)
    for stratum in np.argsort(wanted - shares, kind="stable")[: most - int(wanted.sum())]:
        wanted[stratum] += wanted[stratum] < seen[stratum]
    return [int(count) for count in wanted]


def _shares(mass: Numbers, caps: Numbers, total: float) -> Numbers:
    """`total` divided in proportion to the mass, where none gets more than its cap: min(cap, c mass)."""
    shares = np.zeros(len(mass))
    full = mass <= 0
    left = total
    while not full.all() and left > 0:
        shares[~full] = left * mass[~full] / mass[~full].sum()
        over = ~full & (shares >= caps)
        if not over.any():
            break
        shares[over] = caps[over]
        full |= over
        left = total - shares[full].sum()
        if left <= 0:
            shares[~full] = 0.0
    return shares
