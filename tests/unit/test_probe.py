"""Probe rows: a version must predict what it predicted when it was made, but for another machine's rounding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.registry import Manifest, Trainer
from driftd.registry.loaded import LoadedVersion, PredictionError
from driftd.registry.manifest import PROBE
from driftd.training.references import compare_probe, write_probe
from driftd.training.training_rows import TrainingRows
from driftd_detectors.schema import Feature, Kind, Schema, Task

SCHEMA = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
MANIFEST = Manifest("m", 1, 0.0, SCHEMA, "s", Trainer("a:b", "f"), 0, "manual", "asked", "model.skops")


@dataclass(frozen=True)
class Slope:
    """Predicts a multiple of x in one of NumPy's types."""

    factor: float
    kind: Any

    def predict(self, frame: pd.DataFrame) -> Any:
        return (frame["x"].to_numpy() * self.factor).astype(self.kind)


def rows() -> TrainingRows:
    x = np.random.default_rng(5).normal(size=100)
    at = np.arange(100.0)
    return TrainingRows(SCHEMA, pd.DataFrame({"x": x}), x, at, at, np.zeros(100, dtype=np.int64))


@pytest.mark.parametrize(
    ("kind", "tolerated", "refused"), [(np.float32, 1e-6, 1e-3), (np.float64, 1e-12, 1e-6)], ids=["single", "double"]
)
def test_rounding_is_that_of_the_estimators_numbers(
    kind: Any, tolerated: float, refused: float, tmp_path: Path
) -> None:
    """Answers in float32 may differ by its rounding, those in float64 by far less; more is another model."""
    write_probe(Slope(2.0, kind), rows(), tmp_path)
    near = LoadedVersion(1, Slope(2.0 * (1 + tolerated), kind), SCHEMA, MANIFEST)
    assert compare_probe(near, tmp_path / PROBE) == 64
    with pytest.raises(PredictionError, match="of 64 probe rows differ"):
        compare_probe(LoadedVersion(1, Slope(2.0 * (1 + refused), kind), SCHEMA, MANIFEST), tmp_path / PROBE)
