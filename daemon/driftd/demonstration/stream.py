"""Streams to replay as batches of predictions with labels that come late, and the demonstration's: a year of flights.

Its rows are real (see `data/ORIGIN.md`); two things are made up, both with a fixed seed, because the source does not
record them: the identity of a prediction, and when the airline's report of the flight reached us.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MODEL = "airtime"
TARGET = "minutes_in_air"
FEATURES = ("carrier", "origin", "dest", "distance", "dep_hour", "dow")

DAY = 86_400.0
FIRST_PART = 59 * DAY  # version 1 is trained on January and February
WINDOW = DAY  # about 225 flights; the year has 365 of them
SEED = 2013

REPORT_MEDIAN = 6 * 3600.0
REPORT_SPREAD = 0.9  # of the logarithm: a tenth of the reports take longer than 19 hours
REPORT_LIMITS = (1800.0, 2 * DAY)


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows to replay, and how they are cut.

    `frame` is in order of `at` and has `prediction_id`, `at`, `label_at` (epoch seconds), the features and the target:
    float64, or class text for a classification. Version 1 is trained on the rows before `until`, an end of a window;
    a window is `window` seconds long.
    """

    model: str
    task: Literal["classification", "regression"]
    target: str
    features: tuple[str, ...]
    frame: pd.DataFrame
    until: float
    window: float = DAY

    @property
    def first(self) -> pd.DataFrame:
        """The rows of version 1."""
        return self.frame[self.frame["at"] < self.until]

    @property
    def rest(self) -> pd.DataFrame:
        """The rows to replay."""
        return self.frame[self.frame["at"] >= self.until]

    def without_late_labels(self) -> Stream:
        """The same without the rows of version 1 whose labels came later: no way of keeping a model gets them."""
        late = (self.frame["at"] < self.until) & (self.frame["label_at"] > self.until)
        return replace(self, frame=self.frame[~late].reset_index(drop=True))


@dataclass(frozen=True, slots=True)
class Batch:
    """What reached driftd in one stretch of virtual time, ending at `now` (epoch seconds).

    `predictions` has `prediction_id`, `at` and the features; `feedback` has `prediction_id`, `label` and `at`, the time
    at which the label became known. Rows of either are in the order of their `at`.
    """

    now: float
    predictions: pd.DataFrame
    feedback: pd.DataFrame


def load() -> pd.DataFrame:
    """All flights in order of departure.

    Columns: the features, `TARGET` (minutes), `prediction_id`, `at` and `label_at` (epoch seconds; local times read as
    UTC).
    """
    with resources.as_file(resources.files("driftd.demonstration") / "data" / "nyc_airtime.parquet") as path:
        raw = pd.read_parquet(path)
    frame = raw.rename(columns={"target": TARGET}).sort_values("ts", kind="stable").reset_index(drop=True)
    frame["at"] = frame.pop("ts").to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    frame["label_at"] = frame["at"] + 60.0 * frame[TARGET] + _report_delays(len(frame))
    frame["prediction_id"] = [f"flight-{number:06d}" for number in range(len(frame))]
    return frame


def _report_delays(rows: int) -> NDArray[np.float64]:
    """Seconds between landing and the label's arrival: log-normal, from half an hour to two days."""
    delays = np.random.default_rng(SEED).lognormal(np.log(REPORT_MEDIAN), REPORT_SPREAD, rows)
    return np.clip(delays, *REPORT_LIMITS)


def start_of(frame: pd.DataFrame) -> float:
    """The midnight (epoch seconds) at which the stream's first day begins."""
    return float(frame["at"].iloc[0] // DAY * DAY)


def split(frame: pd.DataFrame, span: float = FIRST_PART) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first part, on which version 1 is trained, and the rest, which is replayed; `span` in seconds."""
    ends = start_of(frame) + span
    early = frame["at"] < ends
    return frame[early], frame[~early]


def flights() -> Stream:
    """The demonstration's stream."""
    frame = load()
    return Stream(
        MODEL, "regression", TARGET, FEATURES, frame, start_of(frame) + FIRST_PART, WINDOW
    ).without_late_labels()


def batches(
    frame: pd.DataFrame, every: float = WINDOW, *, target: str = TARGET, features: Sequence[str] = FEATURES
) -> Iterator[Batch]:
    """Replay `frame` in stretches of `every` seconds, aligned to midnight, until the last label is known.

    A batch ending at `now` holds the predictions of [now - every, now) and the labels that became known in that time,
    of these and of earlier ones. No row is left out or given twice. Raises ValueError unless `every` is positive.
    """
    if every <= 0:
        raise ValueError(f"every must be a positive number of seconds, not {every}")
    if frame.empty:
        return
    labels = frame[["prediction_id", target, "label_at"]].sort_values("label_at", kind="stable")
    labels = labels.rename(columns={target: "label", "label_at": "at"})
    departed, known = frame["at"].to_numpy(), labels["at"].to_numpy()
    columns = ["prediction_id", "at", *features]
    now = start_of(frame) + every
    first, first_label = 0, 0
    while first < len(frame) or first_label < len(labels):
        last = int(np.searchsorted(departed, now, side="left"))
        last_label = int(np.searchsorted(known, now, side="left"))
        yield Batch(now, frame.iloc[first:last][columns], labels.iloc[first_label:last_label])
        first, first_label, now = last, last_label, now + every
