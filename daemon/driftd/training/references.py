"""What a version is compared with later: its reference and its probe rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion, PredictionError, Predictions, predict_with
from driftd.registry.manifest import PROBE
from driftd.training.compare import outcomes_of, row_losses
from driftd.training.job_context import JobContext
from driftd.training.training_rows import TrainingRows
from driftd.training.training_sample import most_rows
from driftd.training.user_functions import with_own_loss
from driftd_detectors.columns import Numbers, columns_of
from driftd_detectors.reference import Reference, learn_reference

REFERENCE = "reference.bin"
_ROWS = 64
_DOUBLE, _SINGLE = (1e-9, 1e-12), (1e-5, 1e-7)  # relative and absolute: what another machine may round otherwise


def write_probe(estimator: object, rows: TrainingRows, folder: Path) -> Predictions:
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


def _close(expected: Numbers, found: Numbers) -> NDArray[np.bool_]:
    """Equal but for rounding: of float32 where all that is expected is such, as XGBoost's and ONNX graphs' answers."""
    single = np.array_equal(expected, expected.astype(np.float32).astype(np.float64), equal_nan=True)
    rtol, atol = _SINGLE if single else _DOUBLE
    close: NDArray[np.bool_] = np.isclose(expected, found, rtol=rtol, atol=atol, equal_nan=True)
    return close


_SAMPLE = 2000
_CELLS = 400_000  # permuted rows x features, at most
_FEWEST = 200


def reference_of(
    order: JobContext, version: LoadedVersion, rows: TrainingRows, found: Predictions, metric: str, mature_until: float
) -> Reference:
    """Learn the reference of a version from rows under its own schema and its predictions of them.

    Rows later than `mature_until`, of which only some have their label yet, are left out where enough others are.
    """
    mature = rows.at <= mature_until
    if mature.sum() >= _FEWEST:
        rows, found = rows.take(mature), found.take(mature)
    if len(rows) > (most := most_rows(len(version.schema.names))):
        newest = np.arange(len(rows) - most, len(rows))  # whole windows, as they will be checked, not a sample of each
        rows, found = rows.take(newest), found.take(newest)
    own = rows.under(version.schema)
    outcomes = with_own_loss(metric, outcomes_of(found, own, version.schema.classes, version.version))
    return learn_reference(
        columns_of(own.frame, version.schema),
        outcomes,
        version.schema,
        starts=order.window_starts(rows.at),
        importance=importance_of(version, own, metric),
        loss=metric,
        metric=order.metric,
        segments=order.config.detect.segment_columns,
    )


def importance_of(version: LoadedVersion, rows: TrainingRows, metric: str) -> dict[str, float]:
    """Permutation importance (Breiman 2001) on an even sample: how much the loss grows when a feature is shuffled.

    Non-negative, with sum 1; all alike where no feature matters.
    """
    names = version.schema.names
    count = min(len(rows), _SAMPLE, max(_FEWEST, _CELLS // len(names)))
    some = rows.take(np.unique(np.linspace(0, len(rows) - 1, count).astype(np.intp)))
    order = np.random.default_rng(version.manifest.seed).permutation(len(some))

    def loss(frame: object) -> float:
        found = predict_with(version.estimator, version.schema, frame)  # type: ignore[arg-type]  # a DataFrame
        return float(np.nanmean(row_losses(outcomes_of(found, some, version.schema.classes, 0), some, metric)))

    base = loss(some.frame)
    growth = {}
    for name in names:
        shuffled = some.frame.copy(deep=False)
        shuffled[name] = some.frame[name].to_numpy()[order]
        growth[name] = max(0.0, loss(shuffled) - base)
    total = sum(growth.values())
    return {name: gain / total if total > 0 else 1 / len(names) for name, gain in growth.items()}
