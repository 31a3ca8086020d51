"""Labels that are asked for: drawn with known probabilities, and weighed so that estimates stay unbiased."""

from __future__ import annotations

import numpy as np
import pytest

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.outcome_rows import take_outcomes
from driftd_detectors.performance.cohort_loss import estimate_loss
from driftd_detectors.performance.loss_reference import LossReference, learn_losses
from driftd_detectors.performance.requested_labels import (
    UNIFORM,
    RequestedLabels,
    draw_rows,
    inclusion_probabilities,
    loss_spread,
    share_growth,
)

CLASSES = ("no", "yes")


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_sum_to_the_number_and_none_is_zero(seed: int) -> None:
    """However uneven the sizes are, each row may be drawn, and a weight is at most five times that of an even draw."""
    rng = np.random.default_rng(seed)
    size = rng.pareto(1.1, 5000) * (rng.random(5000) < 0.7)
    probability = inclusion_probabilities(size, 200)
    assert probability.sum() == pytest.approx(200)
    assert probability.max() <= 1.0
    assert (1 / probability).max() <= 5000 / 200 / UNIFORM * 1.001


def test_all_are_drawn_where_there_are_few() -> None:
    """Fewer predictions than labels: each is drawn for certain and stands for itself."""
    probability = inclusion_probabilities(np.array([1.0, 0.0]), 5)
    assert probability.tolist() == [1.0, 1.0]
    assert draw_rows(probability, 1).tolist() == [0, 1]
    assert len(draw_rows(inclusion_probabilities(np.empty(0), 5), 1)) == 0


def test_sizes_that_are_all_zero_are_drawn_evenly() -> None:
    """Where nothing is uncertain every row is as likely as the next."""
    assert inclusion_probabilities(np.zeros(10), 2) == pytest.approx(np.full(10, 0.2))


def test_each_row_is_drawn_as_often_as_its_probability_says() -> None:
    """Over many seeds; the number drawn never changes, and a seed gives the same draw again."""
    rng = np.random.default_rng(3)
    probability = inclusion_probabilities(rng.exponential(1.0, 60), 12)
    draws = [draw_rows(probability, seed) for seed in range(4000)]
    assert {len(drawn) for drawn in draws} <= {12, 13, 11}
    counts = np.bincount(np.concatenate(draws), minlength=60) / len(draws)
    assert np.abs(counts - probability).max() < 4 * np.sqrt(0.25 / 4000)
    assert np.array_equal(draw_rows(probability, 7), draw_rows(probability, 7))


def population(rng: np.random.Generator, rows: int = 4000) -> tuple[Outcomes, Numbers]:
    """Predictions of which the certain ones are labelled by themselves; in truth the uncertain ones got worse."""
    score = rng.beta(0.7, 0.7, rows)
    truth = rng.random(rows) < np.where(np.abs(score - 0.5) < 0.3, 1 - score, score)
    at = np.sort(rng.uniform(0, 86_400, rows))
    alone = np.abs(score - 0.5) > rng.uniform(0.25, 0.5, rows)
    label_at = np.where(alone, at + 60, np.nan)
    label = np.where(alone, truth.astype(float), -1.0)
    version = np.ones(rows, dtype=np.int64)
    return Outcomes(at, (score > 0.5).astype(float), score, label, label_at, version, CLASSES), truth.astype(float)


def reference(rng: np.random.Generator) -> LossReference:
    """The losses of a calibrated past."""
    score = rng.beta(0.7, 0.7, 20_000)
    label = (rng.random(20_000) < score).astype(float)
    at = np.linspace(-30 * 86_400, -1, 20_000)
    rows = Outcomes(at, (score > 0.5).astype(float), score, label, at, np.ones(20_000, dtype=np.int64), CLASSES)
    learned = learn_losses("brier", rows, np.floor(at / 86_400) * 86_400)
    assert learned is not None
    return learned


def drawn_and_labelled(outcomes: Outcomes, truth: Numbers, seed: int) -> tuple[Outcomes, Outcomes, RequestedLabels]:
    """The cohort once the labels that were asked for came: without and with what they count."""
    hashes = np.arange(outcomes.rows, dtype=np.uint64)
    open_rows = np.flatnonzero(~outcomes.labelled)
    some = take_outcomes(outcomes, open_rows)
    probability = inclusion_probabilities(loss_spread(some, None), 150)
    which = open_rows[(chosen := draw_rows(probability, seed))]
    label, label_at = outcomes.label.copy(), outcomes.label_at.copy()
    label[which], label_at[which] = truth[which], 200_000.0
    found = Outcomes(
        outcomes.at, outcomes.prediction, outcomes.score, label, label_at, outcomes.version, outcomes.classes
    )
    requested = RequestedLabels(hashes[which], probability[chosen], np.full(len(which), 100_000.0))
    weights = requested.weights(hashes, found)
    assert weights is not None
    weighed = Outcomes(
        found.at, found.prediction, found.score, label, label_at, found.version, found.classes, sampling=weights
    )
    return found, weighed, requested


def test_the_weighted_estimate_is_unbiased_and_the_unweighted_is_not() -> None:
    """Over 200 draws the mean of the weighted losses is the true loss; unweighted they miss it by many errors."""
    rng = np.random.default_rng(20)
    outcomes, truth = population(rng)
    known = reference(rng)
    true_loss = float(np.mean((outcomes.score - truth) ** 2))
    plain, weighted = [], []
    for seed in range(200):
        found, weighed, _ = drawn_and_labelled(outcomes, truth, seed)
        plain.append(estimate_loss(found, known, None, 300_000.0).loss)
        weighted.append(estimate_loss(weighed, known, None, 300_000.0).loss)
    error = np.std(weighted, ddof=1) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - true_loss) < 4 * error + 0.002
    assert abs(np.mean(plain) - true_loss) > 10 * abs(np.mean(weighted) - true_loss)
    assert abs(np.mean(plain) - true_loss) > 10 * error


def test_a_draw_by_uncertainty_has_less_error_than_an_even_one() -> None:
    """As many labels tell more: the spread of the estimate over draws is smaller than with even probabilities."""
    rng = np.random.default_rng(4)
    score = np.where(rng.random(4000) < 0.8, 0.01, 0.5)
    loss = (rng.random(4000) < score).astype(float)  # the error of always saying no
    version, at = np.ones(4000, dtype=np.int64), np.zeros(4000)
    rows = Outcomes(at, np.zeros(4000), score, np.full(4000, -1.0), np.full(4000, np.nan), version, CLASSES)

    def spread(size: Numbers) -> float:
        probability = inclusion_probabilities(size, 200)
        found = [float((loss[drawn] / probability[drawn]).sum() / 4000) for drawn in _draws(probability)]
        assert np.mean(found) == pytest.approx(loss.mean(), rel=0.03)
        return float(np.std(found))

    def _draws(probability: Numbers) -> list[np.ndarray]:  # type: ignore[type-arg]
        return [draw_rows(probability, seed) for seed in range(300)]

    assert spread(loss_spread(rows, None)) < 0.8 * spread(np.ones(4000))


def test_labels_that_came_by_themselves_take_weight_back() -> None:
    """Once all rows beside the drawn ones have labels, each label stands for itself alone."""
    rng = np.random.default_rng(5)
    outcomes, truth = population(rng)
    found, weighed, requested = drawn_and_labelled(outcomes, truth, 1)
    assert weighed.sampling is not None
    assert weighed.sampling[found.labelled].sum() == pytest.approx(outcomes.rows, rel=0.2)
    whole = Outcomes(
        found.at,
        found.prediction,
        found.score,
        truth,
        np.where(found.labelled, found.label_at, 250_000.0),
        found.version,
        CLASSES,
    )
    weights = requested.weights(np.arange(found.rows, dtype=np.uint64), whole)
    assert weights is not None
    assert (weights == 1).all()


def test_without_requests_nothing_is_weighed() -> None:
    """Rows that nobody asked for, and requests whose labels have not come, leave the cohort as it is."""
    outcomes, _ = population(np.random.default_rng(6))
    none = RequestedLabels(np.empty(0, dtype=np.uint64), np.empty(0), np.empty(0))
    hashes = np.arange(outcomes.rows, dtype=np.uint64)
    assert none.weights(hashes, outcomes) is None
    waiting = RequestedLabels(hashes[~outcomes.labelled][:5], np.full(5, 0.1), np.zeros(5))
    assert waiting.weights(hashes, outcomes) is None


def test_a_regression_is_uncertain_where_the_reference_lost_most() -> None:
    """Without scores the mean loss of such predictions on the reference stands for the uncertainty."""
    nothing = np.full(3, np.nan)
    rows = Outcomes(np.zeros(3), np.arange(3.0), nothing, nothing, nothing, np.ones(3, dtype=np.int64))
    assert loss_spread(rows, np.array([1.0, 4.0, np.nan])).tolist() == [1.0, 4.0, 0.0]
    assert loss_spread(rows, None).tolist() == [1.0, 1.0, 1.0]


def test_rows_of_a_bin_that_grew_are_boosted() -> None:
    """In proportion to its growth, up to a bound; bins that shrank are not drawn less."""
    reference_bins, live = np.repeat([0, 1], [900, 100]), np.repeat([0, 1], [500, 500])
    boost = share_growth(live, reference_bins, 2)
    assert boost[:500].tolist() == [1.0] * 500
    assert boost[500] == pytest.approx(5.0, rel=0.05)
