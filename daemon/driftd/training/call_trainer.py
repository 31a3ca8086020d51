"""Calls a trainer: a Python function by its import path, or a command."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from driftd.config.redact import redact_command
from driftd.formatting import describe_exit
from driftd.registry.artefact import JOBLIB, ONNX, SKOPS, load_estimator
from driftd.registry.loaded import predict_with
from driftd.trainers.context import TrainingContext
from driftd.training.rows_in_place import ROWS_FILE, RowsInPlace
from driftd.training.trainer_code import TrainerError
from driftd.training.training_rows import TrainingRows
from driftd.training.training_sample import DrawnRows, draw_rows, most_rows
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Kind

WEIGHT = "driftd_weight"
_CHECKED_ROWS = 1000


@dataclass(frozen=True, slots=True)
class TrainerSpec:
    """How to train, whatever the rows: everything that a version's lineage must repeat."""

    trainer: str | tuple[str, ...]  # package.module:function, or a command
    seed: int
    metric: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    allow_joblib: bool = False
    most_rows: int | None = None  # that are trained on; None: as many as memory and time allow
    in_place: RowsInPlace | None = None  # that a program trains on where they are; None: on those that it gets

    def draw(self, rows: TrainingRows, weight: Numbers | None) -> DrawnRows:
        """The rows that the trainer gets: all, or a sample where they are too many."""
        return draw_rows(rows, weight, self.most_rows or most_rows(len(rows.schema.names)), self.seed)


def fit(recipe: TrainerSpec, rows: TrainingRows, weight: Numbers | None = None) -> Any:
    """Train on some rows, or on a sample of too many, and return an estimator that is known to answer sensibly.

    Raises TrainerError for a trainer that is absent, raises, or ends badly, PredictionError for an estimator whose
    predictions are rubbish, ArtefactError for a command's artefact that may not be loaded.
    """
    drawn = recipe.draw(rows, weight)
    rows, weight = drawn.rows, drawn.weight
    context = context_of(recipe, rows, weight)
    random.seed(recipe.seed)
    np.random.seed(recipe.seed)  # noqa: NPY002 - trainers may use the global generator; it must repeat for them too
    if isinstance(recipe.trainer, str):
        estimator = _call(recipe.trainer, rows, context)
    else:
        estimator = _run(recipe.trainer, rows, context, recipe)
    check_answers(estimator, rows)
    return estimator


def context_of(recipe: TrainerSpec, rows: TrainingRows, weight: Numbers | None) -> TrainingContext:
    """What a trainer is told besides its rows."""
    return TrainingContext(
        task=str(rows.schema.task),
        target=rows.schema.target,
        features=rows.schema.names,
        categorical=tuple(feature.name for feature in rows.schema.features if feature.kind is Kind.CATEGORY),
        classes=rows.schema.classes,
        seed=recipe.seed,
        at=rows.at,
        metric=recipe.metric,
        weight=weight,
        parameters=recipe.parameters,
    )


def context_fields(context: TrainingContext) -> dict[str, object]:
    """The context as programs get it in JSON."""
    names = ("task", "target", "features", "categorical", "classes", "seed", "metric")
    return {**{name: getattr(context, name) for name in names}, "parameters": dict(context.parameters)}


def write_rows(path: Path, rows: TrainingRows, context: TrainingContext) -> None:
    """The rows as programs get them: Parquet with the features, the target, and their weights where they have some."""
    data = rows.own_frame()
    data[context.target] = rows.target
    if context.weight is not None:
        data[WEIGHT] = context.weight
    data.to_parquet(path, index=False)


def check_answers(estimator: Any, rows: TrainingRows) -> None:
    """Raises PredictionError for an estimator whose answers to the newest rows are rubbish."""
    predict_with(estimator, rows.schema, rows.take(slice(-_CHECKED_ROWS, None)).frame)


def _call(reference: str, rows: TrainingRows, context: TrainingContext) -> Any:
    train = _function(reference)
    data = rows.own_frame()
    data[context.target] = rows.target
    try:
        return train(data, context)
    except MemoryError:
        raise
    except Exception as error:
        raise TrainerError(f"the trainer {reference} raised {type(error).__name__}: {error}") from error


def _function(reference: str) -> Any:
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise TrainerError(f"the trainer {reference} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise TrainerError(f"the trainer {reference} is no function but {type(found).__name__}")
    return found


def _run(command: Sequence[str], rows: TrainingRows, context: TrainingContext, recipe: TrainerSpec) -> Any:
    """Run a command that finds its rows and its task by its environment, and read what it left behind.

    DRIFTD_SNAPSHOT names a Parquet file with the features and the target (and `driftd_weight`), DRIFTD_CONTEXT a
    JSON file, DRIFTD_OUTPUT a folder that must hold `model.skops` or `model.onnx` (or `model.joblib`, where the config
    allows it) at the end; DRIFTD_TASK, DRIFTD_TARGET and DRIFTD_SEED save simple programs from reading the JSON. Where
    the rows stay in the source, DRIFTD_ROWS names a JSON file that says which they are (`RowsInPlace`).
    """
    with tempfile.TemporaryDirectory(prefix="driftd-train-", dir=os.environ.get("DRIFTD_SCRATCH")) as name:
        folder = Path(name)
        (output := folder / "output").mkdir()
        write_rows(folder / "snapshot.parquet", rows, context)
        (folder / "context.json").write_text(json.dumps(context_fields(context), indent=2))
        environment = {
            **os.environ,
            # systemd's PATH has no virtual environment: `python` means the one that has driftd and its packages.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
            "DRIFTD_SNAPSHOT": str(folder / "snapshot.parquet"),
            "DRIFTD_CONTEXT": str(folder / "context.json"),
            "DRIFTD_OUTPUT": str(output),
            "DRIFTD_TASK": context.task,
            "DRIFTD_TARGET": context.target,
            "DRIFTD_SEED": str(context.seed),
        }
        if recipe.in_place is not None:
            (folder / ROWS_FILE).write_text(recipe.in_place.to_json())
            environment["DRIFTD_ROWS"] = str(folder / ROWS_FILE)
        said = " ".join(redact_command(command))
        leash = [sys.executable, "-m", "driftd.training.process_tree", str(os.getpid()), *command]
        code = subprocess.run(leash, env=environment, check=False).returncode
        if code != 0:
            raise TrainerError(f"the trainer's command `{said}` ended with {describe_exit(code)}")
        for artefact in (SKOPS, ONNX, JOBLIB):
            if (output / artefact).is_file():
                return load_estimator(output / artefact, allow_joblib=recipe.allow_joblib)
    raise TrainerError(
        f"the trainer's command `{said}` ended well but left no {SKOPS}, {ONNX} or {JOBLIB} in $DRIFTD_OUTPUT"
    )
