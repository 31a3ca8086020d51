"""Streams of recorded rows, and how they reach the daemon: in batches, with labels that come late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

DAY = 86_400.0
SAID, SCORE = "logged_prediction", "logged_score"  # columns of a frame whose rows were predicted elsewhere


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows to replay, and how they are cut.

    `frame` is in order of `at` and has `prediction_id`, `at`, `label_at` (epoch seconds; NaN: no label came), the
    features and the target: float64, or class text for a classification. Rows of a model that is served elsewhere have
    `SAID` and `SCORE` besides. The first version is trained on the rows before `until`, an end of a window; a
    window is `window` seconds long.
    """

    model: str
    task: Literal["classification", "regression"]
    target: str
    features: tuple[str, ...]
    frame: pd.DataFrame
    until: float
    window: float = DAY
    first_version: int = 1  # that the replay begins with

    @property
    def first(self) -> pd.DataFrame:
        """The rows of version 1."""
        return self.frame[self.frame["at"] < self.until]

    @property
    def rest(self) -> pd.DataFrame:
        """The rows to replay."""
        return self.frame[self.frame["at"] >= self.until]

    @property
    def is_logged(self) -> bool:
        """Whether the rows were predicted by a model that is served elsewhere."""
        return SAID in self.frame.columns

    @property
    def starts(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """When each window of the rows to replay begins, in epoch seconds."""
        last = float(self.frame["at"].iloc[-1])
        return np.arange(self.until, last + 1e-6, self.window)

    def without_late_labels(self) -> Stream:
        """The same without the rows of version 1 whose labels came later: no way of keeping a model gets them."""
        late = (self.frame["at"] < self.until) & (self.frame["label_at"] > self.until)
        return replace(self, frame=self.frame[~late].reset_index(drop=True))


@dataclass(frozen=True, slots=True)
class Batch:
    """What reached driftd in one stretch of virtual time, ending at `now` (epoch seconds).

    `predictions` has `prediction_id`, `at`, the features, and what was said where that is on record; `feedback` has
    `prediction_id`, `label` and `at`, the time at which the label became known. Rows of either are in the order of
    their `at`.
    """

    now: float
    predictions: pd.DataFrame
    feedback: pd.DataFrame


def start_of(frame: pd.DataFrame) -> float:
    """The midnight (epoch seconds) at which the stream's first day begins."""
    return float(frame["at"].iloc[0] // DAY * DAY)


def batches(
    frame: pd.DataFrame, every: float, *, target: str, features: Sequence[str], begin: float | None = None
) -> Iterator[Batch]:
    """Replay `frame` in stretches of `every` seconds, until the last label is known.

    The first stretch begins at `begin`, or at midnight. A batch ending at `now` holds the predictions of
    [now - every, now) and the labels that became known in that time, of these and of earlier ones. No row is left out
    or given twice. Raises ValueError unless `every` is positive.
    """
    if every <= 0:
        raise ValueError(f"every must be a positive number of seconds, not {every}")
    if frame.empty:
        return
    yield from batches_until(frame, _ends(start_of(frame) if begin is None else begin, every), target, features)


def _ends(now: float, every: float) -> Iterator[float]:
    while True:
        now += every
        yield now


def batches_until(frame: pd.DataFrame, ends: Iterable[float], target: str, features: Sequence[str]) -> Iterator[Batch]:
    """Replay `frame` in stretches that end at these ascending times, until its last row and label, or the last end."""
    labels = frame.loc[frame["label_at"].notna(), ["prediction_id", target, "label_at"]]
    labels = labels.sort_values("label_at", kind="stable").rename(columns={target: "label", "label_at": "at"})
    departed, known = frame["at"].to_numpy(), labels["at"].to_numpy()
    columns = ["prediction_id", "at", *features, *(name for name in (SAID, SCORE) if name in frame.columns)]
    first, first_label = 0, 0
    for now in ends:
        if first >= len(frame) and first_label >= len(labels):
            return
        last = int(np.searchsorted(departed, now, side="left"))
        last_label = int(np.searchsorted(known, now, side="left"))
        yield Batch(now, frame.iloc[first:last][columns], labels.iloc[first_label:last_label])
        first, first_label = last, last_label
