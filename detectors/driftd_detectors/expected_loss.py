"""What a window's loss should be, estimated without labels from its Profile (STATISTICS 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.profile import Profile

_WIDE = 1.96


@dataclass(frozen=True, slots=True)
class Estimated:
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

    def of(self, profile: Profile) -> Estimated:
        """The estimate for a window. Raises ValueError for a Profile without rows."""
        if profile.rows == 0:
            raise ValueError("a window without rows has no loss")
        loss = self.level + float(profile.counts @ self.weights) / profile.rows
        half = _WIDE * self.uncertainty(profile.rows)
        return Estimated(loss, loss - half, loss + half, profile.rows)

    def uncertainty(self, labels: float) -> float:
        """The sd of a mean loss over so many labels around the estimate, while the world is as the reference was."""
        return float(np.sqrt(self.rest_sd**2 * (1 / max(labels, 1.0) + 1 / self.rows) + self.between_sd**2))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form that `from_dict` reads back."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "weights"}
        return plain | {"weights": self.weights.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ExpectedLoss:
        """Read what `to_dict` wrote."""
        return cls(**{**stored, "weights": np.array(stored["weights"], dtype=np.float64)})
