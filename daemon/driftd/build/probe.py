"""Probe rows: some training rows with the predictions made at training, by which a version is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.build.dataset import Rows
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion, PredictionError, Predictions, predict_with
from driftd_detectors.columns import Numbers

PROBE = "probe.parquet"
_ROWS = 64


def write_probe(estimator: object, rows: Rows, folder: Path) -> Predictions:
    """Store evenly spread rows with the estimator's predictions of them, which are returned."""
    some = rows.take(np.unique(np.linspace(0, len(rows) - 1, _ROWS).astype(np.intp)))
    found = predict_with(estimator, some.schema, some.frame)
    probe = some.frame.assign(driftd_prediction=found.values(), driftd_score=found.score)
    probe.to_parquet(folder / PROBE, index=False)
    return found


def compare_probe(version: LoadedVersion, path: Path) -> int:
    """Predict the probe rows again and return how many they are.

    Raises PredictionError when a prediction differs by more than another machine's rounding.
    """
    probe = pd.read_parquet(path)
    classes = version.schema.classes
    stored = probe["driftd_prediction"]
    codes = stored.map({name: code for code, name in enumerate(classes)}) if classes else stored
    score = probe["driftd_score"].to_numpy(dtype=np.float64)
    expected = Predictions(np.asarray(codes, dtype=np.float64), score, classes)
    found = version.predict(feature_frame(probe, version.schema))
    differ = ~(_close(expected.prediction, found.prediction) & _close(expected.score, found.score))
    if differ.any():
        made = {name: version.manifest.libraries.get(name) for name in ("scikit-learn", "numpy")}
        raise PredictionError(
            f"{version.manifest.model}/{version.version} does not predict what it predicted when it was trained: "
            f"{int(differ.sum())} of {len(probe)} probe rows differ. It was made with {made}: were libraries changed "
            "since, or is its trainer's estimator not whole when it is stored?"
        )
    return len(probe)


def _close(one: Numbers, other: Numbers) -> NDArray[np.bool_]:
    close: NDArray[np.bool_] = np.isclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True)
    return close
