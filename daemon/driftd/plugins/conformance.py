"""What driftd expects of a metric or a detector of yours, as functions to call in your own tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Detector = Callable[[pd.DataFrame, pd.DataFrame], float]
Loss = Callable[[ArrayLike, ArrayLike, ArrayLike], ArrayLike]

_FEWEST = 10  # rows that a window is scored with
_DRAWS = 20


def check_detector(detector: Detector, rows: pd.DataFrame, moved: pd.DataFrame | None = None) -> None:
    """Hold a detector to what driftd expects of it. Raises AssertionError with what does not hold.

    Parameters
    ----------
    detector
        Called as `detector(current, reference)`; wrap one that takes parameters in `functools.partial`.
    rows
        At least 100 rows of your model's features, as they usually are.
    moved
        Rows that the detector should find far from `rows`.
    """
    assert len(rows) >= 10 * _FEWEST, f"give at least {10 * _FEWEST} rows, not {len(rows)}"
    rows = rows.reset_index(drop=True)
    half = len(rows) // 2
    current, reference = rows.iloc[:half], rows.iloc[half:]
    kept = current.copy(), reference.copy()
    first = _score(detector, current, reference, "two halves of the same rows")
    assert current.equals(kept[0]), "the detector changed the rows that it was given"
    assert reference.equals(kept[1]), "the detector changed the rows that it was given"
    again = _score(detector, current, reference, "two halves of the same rows")
    assert first == again, f"the same rows gave {first} and then {again}: seed what draws at random"
    _score(detector, rows.iloc[:_FEWEST], reference, f"a window of {_FEWEST} rows")
    _score(detector, current, rows, "a reference that holds the window")
    for name in rows.columns:
        missing = current.assign(**{name: current[name].where(np.arange(half) % 2 == 0)})
        _score(detector, missing, reference, f"a window in which half of {name!r} is missing")
        constant = current.assign(**{name: current[name].iloc[0]})
        _score(detector, constant, reference, f"a window in which {name!r} has one value")
    if moved is not None:
        usual = [
            _score(detector, rows.sample(half, random_state=draw), reference, "a draw of the rows")
            for draw in range(_DRAWS)
        ]
        far = _score(detector, moved, reference, "the rows that moved")
        assert far > max(usual), (
            f"rows that moved gave {far:.4g}, {_DRAWS} draws of the usual rows up to {max(usual):.4g}"
        )


def check_loss(loss: Loss, label: ArrayLike, prediction: ArrayLike, score: ArrayLike | None = None) -> None:
    """Hold a metric to what driftd expects of it. Raises AssertionError with what does not hold.

    Parameters
    ----------
    loss
        Called as `loss(label, prediction, score)`: class names or numbers, and the scores.
    label, prediction, score
        At least two rows; without scores these are NaN, as for a model that gives none.
    """
    labels, predictions = np.asarray(label), np.asarray(prediction)
    scores = np.full(len(labels), np.nan) if score is None else np.asarray(score, dtype=np.float64)
    assert len(labels) > 1, "give at least two rows"
    kept = labels.copy(), predictions.copy(), scores.copy()
    found = _losses(loss, labels, predictions, scores)
    for given, before in zip((labels, predictions, scores), kept, strict=True):
        assert pd.Series(given).equals(pd.Series(before)), "the metric changed the rows that it was given"
    assert np.array_equal(found, _losses(loss, labels, predictions, scores), equal_nan=True), (
        "the same rows gave other losses: seed what draws at random"
    )
    order = np.arange(len(labels))[::-1]
    turned = _losses(loss, labels[order], predictions[order], scores[order])
    assert np.allclose(turned[order], found, equal_nan=True), "a row's loss depends on where the row stands"
    alone = np.concatenate([_losses(loss, *(values[[row]] for values in kept)) for row in range(min(len(labels), 20))])
    assert np.allclose(alone, found[: len(alone)], equal_nan=True), "a row's loss depends on the other rows"
    assert np.isfinite(found).any(), "no row has a loss"


def _score(detector: Detector, current: pd.DataFrame, reference: pd.DataFrame, what: str) -> float:
    found = float(detector(current, reference))
    assert np.isfinite(found), f"{what} gave {found}; a score is a finite number"
    return found


def _losses(loss: Loss, label: ArrayLike, prediction: ArrayLike, score: ArrayLike) -> NDArray[np.float64]:
    rows = len(np.asarray(label))
    found = np.asarray(loss(label, prediction, score), dtype=np.float64)
    assert found.shape == (rows,), f"{rows} rows gave the shape {found.shape}; a metric gives a loss for each row"
    assert not np.isinf(found).any(), "a loss is infinite; it is a number, or NaN for none"
    return found
