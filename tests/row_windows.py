"""A model whose windows count rows, for the real daemon on the real clock: version 1, and hours of a turned world."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from driftd.config.load import load
from driftd.paths import Places
from driftd.serving.client import Driftd
from driftd.training.bootstrap import FileColumns
from first_versions import first_version_of
from loop_world import LABEL_DELAY, MODEL, ROWS, hour

FIRST = 120  # hours that version 1 is trained on
CONFIG = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand:
    task: regression
    target: y
    window: {{rows: 200}}
    parameters: {{max_iter: 30}}
    retrain: {{on: [performance]}}
    promote: {{block: 1s}}  # the rows of a window have one time, and windows are independent by construction
    probation: {{span: 1s, min_labels: 300}}
"""


def first_version(path: Path, places: Places) -> None:
    """Train version 1."""
    parts = []
    for number in range(FIRST):
        frame, truth = hour(number)
        parts.append(frame.assign(y=truth))
    now = time.time() - 7200
    first_version_of(MODEL, load(path).models[MODEL], pd.concat(parts), FileColumns(), places, now=now)


def turn_round(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round."""
    return frame, truth - 5 * frame["a"].to_numpy()


def live(application: Driftd, number: int, at: float | None = None) -> None:
    """A window's rows of the turned world, predicted and labelled; two hours ago unless a moment is given."""
    frame, truth = turn_round(*hour(number))
    moments = np.full(ROWS, at if at is not None else time.time() - 7200 + (number - FIRST) * 100.0)
    ids = [f"{number}-{row}" for row in range(ROWS)]
    answers = application.predict(frame, ids=ids, at=moments)
    assert all(item.logged for item in answers)
    application.feedback(ids, truth, at=moments + (0.0 if at is not None else LABEL_DELAY / 10))
