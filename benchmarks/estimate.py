"""How near performance estimated without labels comes to what labels say later, under covariate shift.

Run: PYTHONPATH=daemon:detectors python benchmarks/estimate.py [--windows 60]

Real rows, put in a random order: a version is trained on a fifth, its expected loss learned from the next fifth, and
windows are drawn from the rest with weights exp(k z), z a random direction through the standardised features: k = 0, .5
and 1.5 are no, a mild and a strong shift. "none" takes the reference's loss for the estimate. Errors are in points (of
accuracy or Brier score) or in per cent of the reference's MAE; the band is to hold 95 of 100 windows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from driftd_detectors.columns import Columns, Outcomes, columns_of
from driftd_detectors.performance.estimated_loss import learn_expected
from driftd_detectors.performance.losses import losses
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.schema import Task, learn_schema

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
STREAMS = (
    ("acs_employment_ma", Task.CLASSIFICATION, "error", 1000),
    ("acs_employment_ma", Task.CLASSIFICATION, "brier", 1000),
    ("hotel_bookings", Task.CLASSIFICATION, "error", 1000),
    ("bike_sharing", Task.REGRESSION, "mae", 500),
    ("nyc_airtime", Task.REGRESSION, "mae", 500),
)
SHIFTS = (0.0, 0.5, 1.5)


class Stream:
    """A real stream with a version's predictions of it."""

    def __init__(self, name: str, task: Task) -> None:
        frame = pd.read_parquet(DATA / f"{name}.parquet").sample(frac=1, random_state=1).reset_index(drop=True)
        self.frame = frame.drop(
            columns=[name for name in map(str, frame) if name.startswith("meta_") or name in ("ts", "label_ts")]
        )
        self.task, self.first, self.second = task, len(frame) // 5, 2 * len(frame) // 5
        self.schema = learn_schema(self.frame, task=task, target="target")
        features = self.frame.drop(columns="target").copy()
        for feature in features:
            if not pd.api.types.is_numeric_dtype(features[feature]):
                features[feature] = features[feature].astype("category").cat.codes
        spread = features.std().replace(0, 1)
        self.standard = ((features - features.mean()) / spread).fillna(0).to_numpy()
        self.truth = self.frame["target"].to_numpy(dtype=float)
        kind = HistGradientBoostingClassifier if task is Task.CLASSIFICATION else HistGradientBoostingRegressor
        model = kind(max_iter=100, random_state=0).fit(features[: self.first], self.truth[: self.first])
        self.prediction = model.predict(features).astype(float)
        classified = task is Task.CLASSIFICATION
        self.score = model.predict_proba(features)[:, 1] if classified else np.full(len(frame), np.nan)

    def rows(self, at: NDArray[np.intp]) -> tuple[Columns, Outcomes]:
        classes = ("0", "1") if self.task is Task.CLASSIFICATION else ()
        time, version = at.astype(float), np.ones(len(at), dtype=np.int64)
        said = Outcomes(time, self.prediction[at], self.score[at], self.truth[at], time + 1, version, classes)
        return columns_of(self.frame.iloc[at], self.schema), said


def measure(stream: Stream, metric: str, size: int, windows: int) -> None:
    at = np.arange(stream.first, stream.second)
    columns, outcomes = stream.rows(at)
    alike = dict.fromkeys(stream.schema.names, 1.0)
    layout = learn_layout(columns, outcomes, stream.schema, importance=alike)
    loss = losses(metric, stream.task, outcomes)
    expected = learn_expected(
        metric, loss, columns, outcomes, layout, starts=(at // size).astype(np.float64), importance=alike
    )
    assert expected is not None
    scale = 100 if stream.task is Task.CLASSIFICATION else 100 / expected.mean
    rng, pool = np.random.default_rng(20261123), np.arange(stream.second, len(stream.frame))
    for shift in SHIFTS:
        off, bare, held = [], [], 0
        for _ in range(windows):
            direction = rng.normal(size=stream.standard.shape[1])
            z = stream.standard[pool] @ (direction / np.linalg.norm(direction))
            weight = np.exp(np.clip(shift * z, -6, 6))
            columns, outcomes = stream.rows(rng.choice(pool, size, p=weight / weight.sum()))
            found = expected.of(profile_of(columns, outcomes, layout))
            truth = float(np.nanmean(losses(metric, stream.task, outcomes)))
            off.append(abs(found.loss - truth) * scale)
            bare.append(abs(expected.mean - truth) * scale)
            held += found.low <= truth <= found.high
        ratio = np.mean(off) / np.mean(bare)
        errors = f"error {np.mean(off):5.2f}, none {np.mean(bare):5.2f}, ratio {ratio:.2f}"
        print(f"  shift {shift}: {errors}, band {held}/{windows}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=60)
    chosen = parser.parse_args()
    if not DATA.exists():
        raise SystemExit(f"the streams are not there: {DATA}")
    for name, task, metric, size in STREAMS:
        print(f"{name}, {metric}, windows of {size}")
        measure(Stream(name, task), metric, size, chosen.windows)


if __name__ == "__main__":
    main()
