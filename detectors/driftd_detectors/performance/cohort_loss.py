"""The loss of a cohort while its labels are still coming (STATISTICS 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.performance.label_delay import LEAST_SHARE, LabelDelay, group_values
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.losses import loss_of, losses, metric_value, weighted_mean
from driftd_detectors.schema import Task, is_mean

BAND = 1.959964  # two-sided 95 % of a normal


@dataclass(frozen=True, slots=True)
class CohortEstimate:
    """What the labels known so far say of a whole cohort."""

    loss: float  # NaN when there is nothing to say
    sampling_sd: float  # of the loss, from the reference's variance and the rows that count
    own_sd: float  # of the loss, from the cohort's own labels: what its 95 % band is made of
    counted: float  # how many equally weighted labelled rows it is worth
    labels: int
    rows: int
    coverage: float  # share of the rows that have their label
    expected: float  # the share that should have it by now; NaN when that is not known

    @classmethod
    def of_sum(cls, total: float, rows: int) -> CohortEstimate:
        """All labels of a cohort are there: 0/1 losses that sum to `total` over `rows` rows."""
        loss = total / rows if rows else float("nan")
        sd = float(np.sqrt(max(loss * (1 - loss), 1e-9) / rows)) if rows else float("nan")
        return cls(loss, sd, sd, float(rows), rows, rows, 1.0, 1.0)

    @property
    def low(self) -> float:
        """Lower end of the 95 % band."""
        return self.loss - BAND * self.own_sd

    @property
    def high(self) -> float:
        """Upper end of the 95 % band."""
        return self.loss + BAND * self.own_sd


def estimate_loss(
    outcomes: Outcomes, reference: LossReference, delay: LabelDelay | None, known_by: float
) -> CohortEstimate:
    """Estimate the mean loss of all rows of a cohort from the labels known by `known_by` (epoch seconds).

    Parameters
    ----------
    outcomes
        All predictions of the cohort, with the labels known so far.
    reference
        The losses of the reference by score decile; its metric is the one that is estimated.
    delay
        How late labels come; None or unknown: every row that has its label counts alike.
    known_by
        When we looked.

    Notes
    -----
    Augmented inverse-probability weighting (Robins, Rotnitzky, Zhao 1994): the mean over *all* rows of the reference
    loss m of their score decile, plus the mean over labelled rows of (loss - m), each weighted by 1 / G_y(age), G_y
    the share of labels of class y that are there at that age. The weights are scaled to sum to one (Hajek 1971): then
    labels that become slower for all classes alike, or never come for a random part of the rows, leave no bias. Metrics
    that are no means over rows are computed with the same weights.
    """
    known = outcomes.labelled
    ages = np.maximum(0.0, known_by - outcomes.at)
    known_delay = delay if delay is not None and delay.is_known else None
    weights = label_weights(outcomes, delay, known_by)
    expected = float("nan") if known_delay is None or outcomes.rows == 0 else known_delay.expected_share(ages)
    labels, rows = int(known.sum()), outcomes.rows
    coverage = labels / rows if rows else 0.0
    if not is_mean(reference.metric):
        value = metric_value(reference.metric, outcomes, weights) if labels else float("nan")
        counted = _effective_count(weights[known])
        sd = reference.row_sd / np.sqrt(max(counted, 1.0))
        return CohortEstimate(loss_of(reference.metric, value), sd, sd, counted, labels, rows, coverage, expected)
    task = Task.CLASSIFICATION if outcomes.classes else Task.REGRESSION
    loss = losses(reference.metric, task, outcomes)
    usable = known & np.isfinite(loss)
    expected_loss = reference.expected_loss(outcomes)
    off = np.where(usable, loss - expected_loss, np.nan)
    value = float(np.mean(expected_loss)) + weighted_mean(off, np.where(usable, weights, 0.0)) if rows else float("nan")
    counted = _effective_count(weights[usable])
    spread = reference.part_sd**2 / max(rows, 1)
    sampling_sd = np.sqrt(reference.rest_sd**2 / max(counted, 1.0) + spread)
    own_sd = np.sqrt(_variance(off, weights) / max(counted, 1.0) + spread)
    return CohortEstimate(value, float(sampling_sd), float(own_sd), counted, labels, rows, coverage, expected)


def label_weights(outcomes: Outcomes, delay: LabelDelay | None, known_by: float) -> Numbers:
    """What each row counts, (rows,): 0 without a label, else 1 / G_y(age), for the rows like it whose label is to come.

    `delay` None or unknown: every label counts alike. A label that was asked for counts as its request says.
    """
    share = np.ones(outcomes.rows)
    if delay is not None and delay.is_known:
        ages = np.maximum(0.0, known_by - outcomes.at)
        share = np.clip(delay.share(group_values(outcomes), ages), LEAST_SHARE / 2, 1.0)
    counts = 1 / share
    if outcomes.sampling is not None:  # labels that were asked for come when they are asked for
        counts = np.where(outcomes.sampling > 1, outcomes.sampling, counts)
    return np.where(outcomes.labelled, counts, 0.0)


def _effective_count(weights: Numbers) -> float:
    """Kish's effective number of rows, (sum w)^2 / sum w^2."""
    square = float(weights @ weights)
    return float(weights.sum()) ** 2 / square if square > 0 else 0.0


def _variance(off: Numbers, weights: Numbers) -> float:
    known = np.isfinite(off)
    mean = weighted_mean(off, weights)
    return weighted_mean((off[known] - mean) ** 2, weights[known]) if known.any() else float("nan")
