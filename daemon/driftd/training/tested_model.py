"""What tests of the user get: the new version, the champion and the rows, read when first asked for; their report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.formatting import visible
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion, Predictions
from driftd.registry.manifest import Manifest
from driftd_detectors.schema import Schema


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """A version of the model, used as an estimator of scikit-learn is: it takes rows as they come, and names classes.

    Rows are a frame with a column for each feature; others are passed over. `version`, `schema`, `manifest` and the
    `estimator` itself are there too, and `seen_until`: rows from that time on (epoch seconds) it was not trained on.
    """

    loaded: LoadedVersion
    seen_until: float

    @property
    def version(self) -> int:
        """Its number."""
        return self.loaded.version

    @property
    def schema(self) -> Schema:
        """The features with their kinds, the target, the classes."""
        return self.loaded.schema

    @property
    def manifest(self) -> Manifest:
        """Where it comes from."""
        return self.loaded.manifest

    @property
    def estimator(self) -> Any:
        """What the trainer returned."""
        return self.loaded.estimator

    def predict(self, rows: pd.DataFrame) -> NDArray[Any]:
        """The prediction for each row: the name of a class, or a number."""
        answers = self._answer(rows)
        return np.array(answers.values(), dtype=object if answers.classes else np.float64)

    def predict_proba(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """The probability of each class of `schema.classes`, rows x classes; raises ValueError where it has none."""
        found = self._answer(rows).probability
        if found is None:
            raise ValueError(f"version {self.version} gives no probabilities")
        return found

    def _answer(self, rows: pd.DataFrame) -> Predictions:
        return self.loaded.predict(feature_frame(rows, self.schema))


class SessionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of tests is told, and where it writes what came of them."""

    model: str
    state_dir: str
    candidate: int
    champion: int | None
    snapshot: str
    allow_joblib: bool
    tests: str | None
    functions: tuple[str, ...]
    report: str


MOST_FAILURES, LONGEST_FAILURE = 20, 500


class TestReport(msgspec.Struct, kw_only=True):
    """How many tests ended how; `failures` names the first of them with what each says."""

    __test__ = False  # for pytest, which takes the name for a test's

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = msgspec.field(default_factory=list)
    fault: str = ""  # why no test could run, in one sentence

    @property
    def has_passed(self) -> bool:
        """Whether some test ran, and none failed or could not run."""
        return not self.fault and not self.failed and self.passed > 0

    def fail(self, name: str, said: str) -> None:
        """Count a test that failed."""
        self.failed += 1
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(f"{name}: {visible(said)[:LONGEST_FAILURE]}")


class SessionWorld:
    """The three things that tests may ask for."""

    def __init__(self, order: SessionOrder) -> None:
        self._order = order
        self._places = Places(Path(order.state_dir))

    @cached_property
    def model(self) -> ModelUnderTest:
        """The version that is to serve."""
        return self._load(self._order.candidate)

    @cached_property
    def champion(self) -> ModelUnderTest | None:
        """The version that serves; None where there is none, or none that can predict here."""
        version = self._order.champion
        try:
            if version is None or Registry(self._places).manifest(self._order.model, version).is_logged:
                return None
            return self._load(version)
        except ManifestError as error:
            print(f"there is no champion to compare with: {error}", flush=True)  # noqa: T201 - the log
            return None

    @cached_property
    def snapshot(self) -> Any:
        """The rows that the build was made from."""
        from driftd.training.snapshot_rows import SnapshotRows  # noqa: PLC0415 - many tests ask for none

        return SnapshotRows.read(self._places, self._order.model, self._order.snapshot)

    def _load(self, version: int) -> ModelUnderTest:
        from driftd.training.stretches import seen_until  # noqa: PLC0415 - imports what fits models

        loaded = Registry(self._places).load(self._order.model, version, allow_joblib=self._order.allow_joblib)
        return ModelUnderTest(loaded, seen_until(loaded.manifest))
