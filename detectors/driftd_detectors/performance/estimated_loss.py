"""The loss of a window estimated without labels, from its Profile (STATISTICS 6), and how that is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from driftd_detectors.columns import Columns, Numbers, Outcomes
from driftd_detectors.profile.counting import bins_of
from driftd_detectors.profile.layout import Layout, feature_values, predicted_classes
from driftd_detectors.profile.profile import Profile
from driftd_detectors.serialization import JsonObject

_WIDE = 1.96


@dataclass(frozen=True, slots=True)
class LossEstimate:
    """A window's loss without labels, with the band that holds it in 95 of 100 windows of the reference's kind."""

    loss: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedLoss:
    """The expected loss of a row as a sum over the bins it falls into, so that a window's is a dot product.

    Notes
    -----
    E[loss | row] = level + sum over columns of weights[bin]. The bins of the score (of the prediction, where there is
    none) carry the loss that the reference had in them: calibrated confidence, as in CBPE, or DLE for numbers. What
    that leaves is regressed on the bins of all features by ridge, the penalty chosen by what predicts blocks of time
    that were left out; it is without effect where features tell nothing more. Because the sum is additive, the mean
    over a window needs the counts of its Profile alone: no row is read again, and no model is run.

    What no such estimate sees: a change of what the features *mean* (concept drift) and of how often the classes
    come at the same features (label shift). The band does not cover these; `harm.Harm` compares the estimate with
    what labels say later, and stops believing it.

    References
    ----------
    .. [1] Kivimaki, Bialek, Kuberski, Nurminen, *Performance estimation in binary classification using calibrated
       confidence*, 2025 (CBPE).
    .. [2] Hastie, Tibshirani, *Generalized additive models*, 1986.
    """

    metric: str
    level: float
    mean: float  # of the reference's losses
    rows: int  # that it was learned from
    weights: Numbers  # (layout.bins,)
    spread: float  # sd over rows of the expected loss
    rest_sd: float  # sd over rows of the loss around it, on rows left out
    between_sd: float  # sd over windows of the mean loss around it, beyond what the rows explain
    explained: float  # share of the losses' variance that it explains on rows left out

    def of(self, profile: Profile) -> LossEstimate:
        """The estimate for a window. Raises ValueError for a Profile without rows."""
        if profile.rows == 0:
            raise ValueError("a window without rows has no loss")
        loss = self.level + float(profile.counts @ self.weights) / profile.rows
        half = _WIDE * self.uncertainty(profile.rows)
        return LossEstimate(loss, loss - half, loss + half, profile.rows)

    def uncertainty(self, labels: float) -> float:
        """The sd of a mean loss over so many labels around the estimate, while the world is as the reference was."""
        return float(np.sqrt(self.rest_sd**2 * (1 / max(labels, 1.0) + 1 / self.rows) + self.between_sd**2))

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "weights"}
        return plain | {"weights": self.weights.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ExpectedLoss:
        """Read what `to_dict` wrote."""
        return cls(**{**stored, "weights": np.array(stored["weights"], dtype=np.float64)})


MOST_FEATURES = 30  # the most important ones; the cost of learning grows with their square
MOST_ROWS = 40_000
FEWEST_ROWS = 500
_FOLDS = 5
_PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)  # in rows: a bin of so many rows is believed half
_CALIBRATION_ROWS = 20.0  # of the reference's mean that each bin of the score is mixed with


def learn_expected(
    metric: str,
    loss: Numbers,
    columns: Columns,
    outcomes: Outcomes,
    layout: Layout,
    *,
    starts: Numbers,
    importance: Mapping[str, float],
) -> ExpectedLoss | None:
    """Learn from the rows on which a version was judged; None where fewer than 500 have a loss.

    Parameters
    ----------
    metric, loss
        The metric's name and the loss of each row, NaN where it is not known.
    columns, outcomes, layout
        The reference rows, what the version said of them, and their bins.
    starts
        The start of each row's window, (rows,): the blocks that are left out are blocks of time.
    importance
        Which features come first where there are more than can be used.
    """
    known = np.flatnonzero(np.isfinite(loss))
    if len(known) < FEWEST_ROWS:
        return None
    known = known[np.argsort(starts[known], kind="stable")]
    used = (
        known[np.unique(np.linspace(0, len(known) - 1, MOST_ROWS).astype(np.intp))] if len(known) > MOST_ROWS else known
    )
    bins, first = _bins(columns, outcomes, layout, importance, used)
    value, fold = loss[used], np.arange(len(used)) * _FOLDS // len(used)
    design = _Design(bins, first, layout.bins, fold)
    penalty, around = _choose_penalty(design, value)
    weights, level = design.fit(value, None, penalty)
    expected = level + design.sums(weights)
    kept = _between_variance(around, starts[used])
    variance = float(value.var())
    return ExpectedLoss(
        metric,
        level,
        float(value.mean()),
        len(used),
        weights,
        float(expected.std()),
        max(float(around.std()), 1e-9 + 1e-3 * abs(float(value.mean()))),
        kept,
        1 - float(np.mean(around**2)) / variance if variance > 0 else 0.0,
    )


class _Design:
    """Rows as the flat bins that they fall into, (rows, columns), and the sums of them that ridge needs, by fold."""

    def __init__(self, bins: NDArray[np.intp], first: int, width: int, fold: NDArray[np.intp]) -> None:
        self.bins, self.first, self.width, self.fold = bins, bins[:, first], width, fold
        self.occurring, local = np.unique(bins, return_inverse=True)
        rows, columns = bins.shape
        shape = (rows, len(self.occurring))
        ends = np.arange(0, rows * columns + 1, columns)
        self.rows = csr_matrix((np.ones(rows * columns), local.reshape(-1), ends), shape=shape)
        self.products = [(part.T @ part).toarray() for part in (self.rows[fold == number] for number in range(_FOLDS))]

    def sums(self, weights: Numbers) -> Numbers:
        """The sum of the weights of each row's bins, (rows,)."""
        return np.asarray(weights[self.bins].sum(axis=1))

    def fit(self, value: Numbers, without: int | None, penalty: float) -> tuple[Numbers, float]:
        """Weights and level learned from all folds but one; an infinite penalty leaves the score's bins alone."""
        used = np.flatnonzero(self.fold != without) if without is not None else np.arange(len(value))
        mean, key = float(value[used].mean()), self.first[used]
        counts = np.bincount(key, minlength=self.width)
        sums = np.bincount(key, weights=value[used] - mean, minlength=self.width)
        weights = np.where(counts > 0, sums / (counts + _CALIBRATION_ROWS), 0.0)
        if np.isfinite(penalty):
            rest = value[used] - mean - weights[key]
            gram = np.sum([product for at, product in enumerate(self.products) if at != without], axis=0)
            gram[np.diag_indices_from(gram)] += penalty
            weights[self.occurring] += np.linalg.solve(gram, self.rows[used].T @ rest)
        return weights, mean - float(self.sums(weights)[used].mean())


def _choose_penalty(design: _Design, value: Numbers) -> tuple[float, Numbers]:
    """The penalty that predicts the folds left out best, and what it leaves of their losses."""
    best: tuple[float, float, Numbers] | None = None
    for penalty in (float("inf"), *reversed(_PENALTIES)):
        around = np.empty(len(value))
        for number in range(_FOLDS):
            out = design.fold == number
            weights, level = design.fit(value, number, penalty)
            around[out] = (value - level - design.sums(weights))[out]
        error = float(np.mean(around**2))
        if best is None or error < best[0]:
            best = error, penalty, around
    assert best is not None
    return best[1], best[2]


def _bins(
    columns: Columns, outcomes: Outcomes, layout: Layout, importance: Mapping[str, float], rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], int]:
    """The flat bins of some rows, (rows, columns), and which column is the score's (else the prediction's)."""
    ranked = sorted(range(len(layout.features)), key=lambda at: -importance.get(layout.features[at].name, 0.0))
    chosen = sorted(ranked[:MOST_FEATURES])
    flat: list[NDArray[np.intp]] = []
    for at in chosen:
        values = feature_values(columns, outcomes, layout.features[at])
        if values is not None:
            flat.append(layout.starts[at] + bins_of(values, layout.features[at])[rows])
    scored = -1
    for at, column in enumerate(layout.predictions, start=len(layout.features)):
        if column.name == "score":
            said = bins_of(outcomes.score, column)
            scored = len(flat)
        else:
            said = bins_of(outcomes.prediction if column.numeric else predicted_classes(outcomes), column)
        flat.append(layout.starts[at] + said[rows])
    return np.stack(flat, axis=1), scored if scored >= 0 else len(flat) - 1


def _between_variance(around: Numbers, starts: Numbers) -> float:
    """What windows differ by beyond their rows (DerSimonian, Laird 1986): 0 where rows explain it all."""
    _, window, sizes = np.unique(starts, return_inverse=True, return_counts=True)
    large = sizes >= 30  # noqa: PLR2004 - means of fewer rows say next to nothing
    if large.sum() < 5:  # noqa: PLR2004 - and so do fewer windows of their spread
        return 0.0
    means = (np.bincount(window, weights=around) / sizes)[large]
    weight = sizes[large] / float(around.var() + 1e-300)
    centre = float(weight @ means / weight.sum())
    heterogeneity = float(weight @ (means - centre) ** 2) - (len(means) - 1)
    scale = float(weight.sum() - (weight @ weight) / weight.sum())
    return float(np.sqrt(max(0.0, heterogeneity / scale)))
