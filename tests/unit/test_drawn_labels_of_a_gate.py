"""Labels drawn for a gate: its gain stays unbiased, also in a drifted segment, and it is settled with fewer of them."""

from __future__ import annotations

import numpy as np
import pytest

from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.gate import Judgement, judge
from driftd_detectors.performance.requested_labels import (
    DrawnLabels,
    disagreement,
    draw_rows,
    inclusion_probabilities,
    labelled_weights,
)

DAY, ROWS, DAYS, LABELS, FEW, DRAWS = 86_400.0, 6_000, 20, 400, 70, 300
DRAWN_AT = DAYS * DAY
AT = np.linspace(0, DAYS * DAY, ROWS, endpoint=False)
IDS = [f"p{number}" for number in range(ROWS)]


class Rows:
    """Predictions of a champion and of a challenger, which differ in a drifted tenth of the rows, and their losses."""

    def __init__(self) -> None:
        rng = np.random.default_rng(8)
        self.drifted = rng.random(ROWS) < 0.1
        truth = rng.normal(0, 1, ROWS)
        self.champion = truth + rng.normal(0, 0.5, ROWS) + 1.0 * self.drifted
        self.challenger = self.champion - 0.7 * self.drifted + rng.normal(0, 0.02, ROWS)
        self.losses = np.abs(self.challenger - truth), np.abs(self.champion - truth)
        self.gain = self.losses[1] - self.losses[0]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """The rows, which no draw changes."""
    return Rows()


def draw(size: Numbers, seed: int, number: int = LABELS) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Numbers]:
    """The places of the drawn rows, and what their labels count, as the gate has them from the store."""
    probability = inclusion_probabilities(size, number)
    which = draw_rows(probability, seed)
    drawn = {IDS[place]: (float(probability[place]), float(AT[place])) for place in which}
    asked = DrawnLabels(DRAWN_AT, 0.0, DRAWN_AT, drawn)
    label_at = np.full(len(which), DRAWN_AT + 60)
    return which, labelled_weights([asked], [IDS[place] for place in which], AT[which], label_at)


def gate(rows: Rows, which: np.ndarray[tuple[int], np.dtype[np.intp]], weight: Numbers) -> Judgement:
    """What the gate says with the labels of some rows."""
    challenger, champion = (loss[which] for loss in rows.losses)
    return judge(challenger, champion, AT[which], weight=weight, margin=0.0, min_rows=len(which) - 5, day=DAY)


def test_the_weighted_gain_is_unbiased_also_in_the_drifted_segment(rows: Rows) -> None:
    """Over 300 draws its mean is that of all labels within four standard errors; unweighted it is far off."""
    size = disagreement(rows.champion, rows.challenger)
    whole, inside, plain = [], [], []
    for seed in range(DRAWS):
        which, weight = draw(size, seed)
        gain, part = rows.gain[which], rows.drifted[which]
        whole.append(np.average(gain, weights=weight))
        inside.append(np.average(gain[part], weights=weight[part]))
        plain.append(gain.mean())
    for found, true in ((whole, rows.gain.mean()), (inside, rows.gain[rows.drifted].mean())):
        assert abs(np.mean(found) - true) < 4 * np.std(found, ddof=1) / np.sqrt(DRAWS)
    assert abs(np.mean(plain) - rows.gain.mean()) > 50 * abs(np.mean(whole) - rows.gain.mean())


def test_labels_where_the_two_disagree_settle_a_gate_sooner(rows: Rows) -> None:
    """Of 60 gates with 70 labels, more are settled by drawn rows than by an even draw of as many."""
    size, settled = disagreement(rows.champion, rows.challenger), {"drawn": 0, "even": 0}
    for seed in range(60):
        for name, sizes in (("drawn", size), ("even", np.ones(ROWS))):
            settled[name] += gate(rows, *draw(sizes, seed, FEW)).decision == "promote"
    assert settled["drawn"] > 1.5 * settled["even"], settled


def test_labels_that_came_by_themselves_take_weight_back() -> None:
    """With the labels of half of the other predictions, each drawn one stands for half as many others."""
    drawn = {name: (0.1, float(at)) for name, at in zip(IDS[:60], AT[:60], strict=True)}
    asked = DrawnLabels(DRAWN_AT, 0.0, DRAWN_AT, drawn)
    label_at = np.full(330, DRAWN_AT + 60)
    weight = labelled_weights([asked], IDS[:330], AT[:330], label_at)
    assert weight[:60] == pytest.approx(1 + 9 * 0.5)
    assert (weight[60:] == 1).all()
    assert (labelled_weights([], IDS[:5], AT[:5], label_at[:5]) == 1).all()


def test_two_models_that_never_differ_are_drawn_evenly() -> None:
    """Then there is nothing to aim at; scores that are missing differ nowhere."""
    same = np.array([1.0, 2.0, np.nan])
    assert disagreement(same, same).tolist() == [1.0, 1.0, 1.0]
    assert disagreement(np.array([0.0, 0.0]), np.array([1.0, 3.0])).tolist() == [0.5, 1.5]
