"""The demonstration's stream: a year of flights.

Its rows are real (see `data/ORIGIN.md`); two things are made up, both with a fixed seed, because the source does not
record them: the identity of a prediction, and when the airline's report of the flight reached us.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.rehearsal.stream import DAY, Stream, start_of

MODEL = "airtime"
TARGET = "minutes_in_air"
FEATURES = ("carrier", "origin", "dest", "distance", "dep_hour", "dow")

FIRST_PART = 59 * DAY  # version 1 is trained on January and February
WINDOW = DAY  # about 225 flights; the year has 365 of them
SEED = 2013

REPORT_MEDIAN = 6 * 3600.0
REPORT_SPREAD = 0.9  # of the logarithm: a tenth of the reports take longer than 19 hours
REPORT_LIMITS = (1800.0, 2 * DAY)


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
