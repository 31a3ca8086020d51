"""The arguments of a task as it uses them: paths, registry, the model's config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from driftd.config.model_schema import ModelConfig
from driftd.config.trainer_schema import command_or_reference
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.loaded import LoadedVersion
from driftd.sources import open_source
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.training.call_trainer import TrainerSpec
from driftd.training.snapshots import without_spans
from driftd.training.tasks import TaskArguments
from driftd_detectors.columns import Numbers
from driftd_detectors.performance.requested_labels import DrawnLabels
from driftd_detectors.schema import Schema


@dataclass(frozen=True, slots=True)
class JobContext:
    """What every task of a build is told."""

    model: str
    config: ModelConfig
    places: Places
    faulty: tuple[tuple[float, float], ...] = ()  # times of windows with a fault of the pipeline: `start <= at < end`

    @classmethod
    def of(cls, arguments: TaskArguments) -> JobContext:
        """Read a job's arguments. Raises pydantic's ValidationError when the config is not valid."""
        config = ModelConfig.model_validate(arguments.model_config)
        return cls(arguments.model, config, Places(Path(arguments.state_dir)), arguments.faulty)

    @property
    def registry(self) -> Registry:
        """The registry of the state directory."""
        return Registry(self.places)

    @property
    def metric(self) -> str | None:
        """What the config watches; None where it leaves that to us."""
        metric = self.config.detect.performance.metric_name
        return None if metric == "auto" else metric

    def load(self, version: int) -> LoadedVersion:
        """A version of this model, hash first."""
        return self.registry.load(self.model, version, allow_joblib=self.config.allow_joblib)

    def recipe(self, seed: int, outside: str = "") -> TrainerSpec:
        """How the config trains; `outside` is the reference of a builder that trains elsewhere."""
        return TrainerSpec(
            trainer=outside or command_or_reference(self.config.trainer),
            seed=seed,
            metric=self.metric,
            parameters=self.config.parameters,
            allow_joblib=self.config.allow_joblib,
            most_rows=self.config.retrain.data.sample,
        )

    def drawn_labels(self, since: float) -> list[DrawnLabels]:
        """The draws of labels that were asked for, of predictions from a time on (epoch seconds)."""
        try:
            with StateReader.read_only(self.places.state_db) as reader:
                return reader.drawn_labels(self.model, since)
        except StateAbsentError:
            return []

    def read_labelled(self, schema: Schema, since: float, until: float) -> Iterator[pa.Table]:
        """The source's rows with `since <= at < until` and the labels known by `until`, without faulty windows."""
        source = open_source(self.model, self.config, schema, self.places)
        return map(self.without_faulty, source.read_labelled(since, until, until))

    def without_faulty(self, table: pa.Table) -> pa.Table:
        """The rows of a table whose windows had no fault of the pipeline."""
        return without_spans(table, self.faulty)

    def window_starts(self, at: Numbers) -> Numbers:
        """The start of the window that each row (in time order) falls into, as the checks would cut them."""
        if self.config.window.every is not None:
            every = float(self.config.window.every)
            return np.asarray(np.floor(at / every) * every)
        size = self.config.window.rows or len(at)
        return np.asarray(at[np.arange(len(at)) // size * size])
