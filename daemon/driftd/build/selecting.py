"""Which rows to hold out for the gate, and which of the others to train on. Pure.

STATISTICS 9: train on all rows, on those since the change, or on all with those since the change weighted to half of
the mass; choose by the loss on the newest training rows; refit the winner on all training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from driftd_detectors.columns import Numbers

HELD_OUT = 0.25
FEWEST_ROWS = 20
_FEWEST_SINCE = 30  # rows since the change, to train on them alone
_RECENT = 1 / 3  # of the rows: what counts as recent where no change is known


@dataclass(frozen=True, slots=True)
class Portion:
    """One way to use rows that are in time order: from `start` on, weighted or all alike."""

    name: str  # all | recent | since_change | weighted
    start: int = 0
    pivot: int | None = None  # `weighted`: rows from here on have half of the mass

    def weight(self, rows: int) -> Numbers | None:
        """The weights of the rows from `start` on, with mean 1; None where all weigh alike."""
        if self.pivot is None or not 0 < self.pivot < rows:
            return None
        old, new = self.pivot, rows - self.pivot
        return np.concatenate([np.full(old, rows / (2 * old)), np.full(new, rows / (2 * new))])


def holdout_start(at: Numbers, change_at: float | None, min_rows: int) -> int:
    """The position of the first hold-out row: the newest quarter of the rows, or of those since the change.

    At least `min_rows` are held out where that leaves as many to train on (half at most). After a change only rows
    since it are held out in part, because the model of the new world must be trained on the others. Rows of the same
    moment are not separated where that can be.
    """
    rows = len(at)
    since = rows if change_at is None else rows - int(np.searchsorted(at, change_at, side="left"))
    base = since if 0 < since < rows else rows
    held = max(int(HELD_OUT * base), min(min_rows, base // 2), 1)
    cut = rows - held
    together = int(np.searchsorted(at, at[cut], side="left"))
    return together if together >= max(1, rows - 2 * held) else cut


def portions(at: Numbers, change_at: float | None) -> list[Portion]:
    """The ways of training that evidence shall choose from; `all` comes first and wins ties."""
    rows = len(at)
    pivot = 0 if change_at is None else int(np.searchsorted(at, change_at, side="left"))
    name = "since_change"
    if not 0 < pivot < rows:
        pivot, name = int(np.searchsorted(at, at[int(rows * (1 - _RECENT))], side="left")), "recent"
    if not 0 < pivot < rows:
        return [Portion("all")]
    ways = [Portion("all"), Portion("weighted", 0, pivot)]
    return [*ways, Portion(name, pivot)] if rows - pivot >= _FEWEST_SINCE else ways


def fixed_portion(
    how: str, at: Numbers, change_at: float | None, *, rows: int | None = None, span: float | None = None
) -> Portion:
    """The portion that the config fixes: `all`, `recent` (the newest `rows`, or those of the newest `span` seconds),
    or `since_change` (all rows where no change is known).
    """  # noqa: D205 - one sentence, longer than a line
    count = len(at)
    start = 0
    if how == "since_change" and change_at is not None:
        start = int(np.searchsorted(at, change_at, side="left"))
    if how == "recent":
        if rows is not None:
            start = max(start, count - rows)
        if span is not None:
            start = max(start, int(np.searchsorted(at, at[-1] - span, side="left")))
        if rows is None and span is None:
            start = int(count * (1 - _RECENT))
    return Portion(how, min(start, max(0, count - FEWEST_ROWS)))


def validation_start(rows: int, ways: Sequence[Portion]) -> int:
    """Where the newest part begins on which the ways are compared: a quarter of the rows that the narrowest has."""
    since = min(rows - max(way.start, way.pivot or 0) for way in ways)
    return rows - max(int(HELD_OUT * since), min(50, since // 2), 1)


def choose(
    rows: int, ways: Sequence[Portion], loss_of: Callable[[Portion, int], float]
) -> tuple[Portion, dict[str, float | None]]:
    """The way with the smallest loss on the newest part, and every way's loss (None: it could not be trained).

    `loss_of(way, until)` trains that way on the rows before `until` and returns the mean loss on those from there
    on, NaN where that cannot be done.
    """
    if len(ways) == 1:
        return ways[0], {}
    until = validation_start(rows, ways)
    losses = {way.name: loss_of(way, until) for way in ways}
    best = min(ways, key=lambda way: losses[way.name] if np.isfinite(losses[way.name]) else np.inf)
    return best, {name: (loss if np.isfinite(loss) else None) for name, loss in losses.items()}
