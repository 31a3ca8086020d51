"""The losses of the reference under one metric: their level, their spread, by score decile and by window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.metrics import is_mean
from driftd_detectors.performance.losses import loss_of, losses, metric_value
from driftd_detectors.schema import Task
from driftd_detectors.serialization import JsonObject

_DECILES = 10
_BLOCKS = 20
_BOUND_AT = 0.99
_FEWEST_A_WINDOW = 10


@dataclass(frozen=True, slots=True)
class LossReference:
    """What one metric was on the reference, as a loss (lower is better)."""

    metric: str
    mean: float
    rows: int
    row_sd: float  # a window of n rows has the sampling sd row_sd / sqrt(n)
    part_sd: float  # sd of the mean losses of the deciles over rows
    rest_sd: float  # sd of the losses around the mean of their decile
    bound: float  # the 99th percentile of the losses; 1 for 0/1 and Brier losses
    edges: Numbers  # between the deciles of the score (or of the prediction)
    by_part: Numbers  # mean loss of each decile (for a classification without scores, of each predicted class)
    starts: Numbers  # of the reference windows
    values: Numbers  # loss of each reference window
    counts: Numbers  # labelled rows of each

    def expected_loss(self, outcomes: Outcomes) -> Numbers:
        """The mean reference loss of the decile of each row, (rows,)."""
        if len(self.by_part) == 0:
            return np.full(outcomes.rows, self.mean)
        return np.asarray(self.by_part[part_of(outcomes, self.edges, len(self.by_part))])

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        plain = {
            name: getattr(self, name) for name in ("metric", "mean", "rows", "row_sd", "part_sd", "rest_sd", "bound")
        }
        return plain | {name: getattr(self, name).tolist() for name in _ARRAYS}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LossReference:
        """Read what `to_dict` wrote."""
        arrays: dict[str, Any] = {name: np.array(stored[name], dtype=np.float64) for name in _ARRAYS}
        return cls(**({name: value for name, value in stored.items() if name not in _ARRAYS} | arrays))


_ARRAYS = ("edges", "by_part", "starts", "values", "counts")


def learn_losses(metric: str, outcomes: Outcomes, starts: Numbers) -> LossReference | None:
    """Learn from labelled rows; `starts` tells the window of each row. None when the metric is not defined for them."""
    known = outcomes.labelled
    task = Task.CLASSIFICATION if outcomes.classes else Task.REGRESSION
    total = metric_value(metric, outcomes)
    if not np.isfinite(total):
        return None
    mean = loss_of(metric, total)
    windows = list(_windows(outcomes, starts, known))
    values = np.array([loss_of(metric, metric_value(metric, rows)) for _, rows in windows])
    kept = np.isfinite(values)
    seen = {
        "starts": np.array([start for start, _ in windows])[kept],
        "values": values[kept],
        "counts": np.array([float(rows.labelled.sum()) for _, rows in windows])[kept],
    }
    rows = int(known.sum())
    if not is_mean(metric):
        sd = _block_sd(metric, outcomes)
        empty = np.empty(0)
        return LossReference(metric, mean, rows, sd, 0.0, sd, 1.0, empty, empty, **seen)
    loss = losses(metric, task, outcomes)
    usable = np.isfinite(loss)
    edges, parts = parts_of(outcomes)
    part = part_of(outcomes, edges, parts)[usable]
    sizes = np.bincount(part, minlength=parts)
    sums = np.bincount(part, weights=loss[usable], minlength=parts)
    by_part = np.divide(sums, sizes, out=np.full(parts, mean), where=sizes > 0)
    around = loss[usable] - by_part[part]
    bound = 1.0 if metric in {"error", "accuracy", "brier"} else float(np.quantile(loss[usable], _BOUND_AT))
    floor = 1e-9 + 1e-3 * abs(mean)  # a reference without any spread still has some tomorrow
    return LossReference(
        metric,
        mean,
        rows,
        max(float(loss[usable].std()), floor),
        float(by_part[part].std()),
        max(float(around.std()), floor),
        bound if bound > 0 else 1.0,
        edges,
        by_part,
        **seen,
    )


def flat_reference(metric: str, mean: float, *, rows: int, windows: int = 0) -> LossReference:
    """A reference of 0/1 losses that were the same in every window: for a level that is known from elsewhere."""
    sd = float(np.sqrt(mean * (1 - mean)))
    empty = np.empty(0)
    counts = np.full(windows, rows / windows) if windows else empty
    starts = np.arange(windows, dtype=np.float64)
    return LossReference(metric, mean, rows, sd, 0.0, sd, 1.0, empty, empty, starts, np.full(windows, mean), counts)


def parts_of(outcomes: Outcomes) -> tuple[Numbers, int]:
    """Edges of the score's deciles and the number of parts; predicted classes where there are no scores."""
    key = _key(outcomes)
    finite = key[np.isfinite(key)]
    if outcomes.classes and not np.isfinite(outcomes.score).any():
        return np.arange(len(outcomes.classes) - 1, dtype=np.float64) + 0.5, len(outcomes.classes)
    if len(finite) == 0:
        return np.empty(0), 1
    edges: Numbers = np.unique(np.quantile(finite, np.arange(1, _DECILES) / _DECILES))
    return edges, len(edges) + 1


def part_of(outcomes: Outcomes, edges: Numbers, parts: int) -> NDArray[np.intp]:
    """The part of each row; rows without a score fall into the last."""
    return np.minimum(np.searchsorted(edges, _key(outcomes), side="right"), parts - 1)


def _key(outcomes: Outcomes) -> Numbers:
    scored = bool(outcomes.classes) and bool(np.isfinite(outcomes.score).any())
    return outcomes.score if scored else outcomes.prediction


def _windows(outcomes: Outcomes, starts: Numbers, known: NDArray[np.bool_]) -> list[tuple[float, Outcomes]]:
    order = np.argsort(starts, kind="stable")
    order = order[known[order]]
    cuts = np.flatnonzero(np.diff(starts[order])) + 1
    groups = [group for group in np.split(order, cuts) if len(group) >= _FEWEST_A_WINDOW]
    return [(float(starts[group[0]]), take_outcomes(outcomes, group)) for group in groups]


def _block_sd(metric: str, outcomes: Outcomes) -> float:
    """The sd of a metric that is no mean, for one row: from 20 random blocks of the reference, scaled by their size."""
    known = np.flatnonzero(outcomes.labelled)
    order = np.random.default_rng(len(known)).permutation(known)
    blocks = np.array_split(order, max(2, min(_BLOCKS, len(order) // _FEWEST_A_WINDOW)))
    values = np.array([metric_value(metric, take_outcomes(outcomes, block)) for block in blocks])
    values = values[np.isfinite(values)]
    if len(values) < 2 or values.std() == 0:  # noqa: PLR2004 - a spread needs two
        return 1.0
    return float(values.std(ddof=1) * np.sqrt(len(known) / len(blocks)))


def take_outcomes(outcomes: Outcomes, rows: NDArray[np.intp]) -> Outcomes:
    """Some rows of the outcomes."""
    return Outcomes(
        outcomes.at[rows],
        outcomes.prediction[rows],
        outcomes.score[rows],
        outcomes.label[rows],
        outcomes.label_at[rows],
        outcomes.version[rows],
        outcomes.classes,
        own_loss=None if outcomes.own_loss is None else outcomes.own_loss[rows],
    )
