"""The `adopt` task: an existing model becomes a version, without any training.

The rows are what it is judged on and what its reference is learned from: the newest quarter of them, as after a
training, or all where the model was trained on none of them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from driftd.registry import Adopted, Manifest, RegistryError, Trainer
from driftd.registry.estimator_inputs import NamedClasses
from driftd.registry.features import feature_frame
from driftd.registry.foreign_models import OnnxModel
from driftd.registry.loaded import PredictionError, Predictions, load_version, predict_with
from driftd.registry.manifest import PROBE, with_hashes, write_manifest
from driftd.training.adoption import FoundModel, kind_of, read_model
from driftd.training.adoption_records import AdoptionError, AdoptionOrder
from driftd.training.job_context import JobContext
from driftd.training.references import compare_probe, write_probe
from driftd.training.snapshots import Snapshot, read_snapshot
from driftd.training.tasks import TaskArguments
from driftd.training.tasks.train import DataSplit, part
from driftd.training.trainer_code import libraries
from driftd.training.training_rows import TrainingRows, rows_of
from driftd_detectors.schema import Schema, Task, class_name

_SAMPLE = 1000
_SPREADS = 2.0  # standard errors
_LABELLED = 20_000  # rows from which the order of a graph's classes is learned
_RTOL, _ATOL = 1e-5, 1e-7  # the user's frame may hold float32


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """A version to make of the model of an `AdoptionOrder`, on a snapshot that was taken at `until` (epoch seconds)."""

    version: int
    snapshot: str
    seed: int
    until: float
    trigger: str
    source: str
    sha256: str
    parent: int | None = None
    allow_pickle: bool
    classes: tuple[str, ...]
    names: tuple[str, ...]
    unseen: bool
    sample: str | None

    def order(self) -> AdoptionOrder:
        """What is to be adopted."""
        return AdoptionOrder(
            self.source, self.sha256, self.allow_pickle, self.classes, self.names, self.unseen, self.sample
        )


def run(arguments: Arguments) -> dict[str, object]:
    """Make version `version` of a model that exists. Raises AdoptionError, ArtefactError, PredictionError."""
    order, adoption = JobContext.of(arguments), arguments.order()
    version = arguments.version
    if version in order.registry.versions(order.model):
        return _value(_made_before(order, adoption, version))
    found = read_model(adoption.source, allow_pickle=adoption.allow_pickle)
    if found.sha256 != adoption.sha256:
        raise AdoptionError(f"{adoption.source} changed while it was read: run the command again")
    snapshot = read_snapshot(order.places, order.model, arguments.snapshot)
    rows = rows_of(snapshot.rows, snapshot.schema)
    adoption = replace(adoption, names=adoption.names or _names_by_answers(found.estimator, rows))
    estimator = NamedClasses(found.estimator, adoption.names) if adoption.names else found.estimator
    parted = part(rows, arguments.until, None, order.config.promote.min_labels)
    judged = rows.take(slice(-_SAMPLE, None)) if adoption.unseen else parted.held_out
    require_answers(estimator, kind_of(found.estimator), rows)
    _require_same_answers(estimator, snapshot.schema, adoption.sample)
    staged = order.registry.stage(order.model)
    try:
        (staged / found.artefact).write_bytes(found.content)
        write_probe(estimator, rows, staged)
        manifest = _manifest(order, adoption, found, snapshot, arguments, _data(parted, unseen=adoption.unseen))
        write_manifest(staged, with_hashes(staged, manifest))
        compare_probe(load_version(staged, allow_joblib=order.config.allow_joblib), staged / PROBE)
        manifest = order.registry.publish(order.model, version, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    print(f"version {version}: {kind_of(found.estimator)} adopted from {adoption.source}", flush=True)  # noqa: T201 - the log
    nonsense = find_nonsense(predict_with(estimator, snapshot.schema, judged.frame), judged)
    return {**_value(manifest), "remarks": list(nonsense)}


def _made_before(order: JobContext, adoption: AdoptionOrder, version: int) -> Manifest:
    manifest = order.registry.manifest(order.model, version)
    if manifest.adopted is None or manifest.adopted.sha256 != adoption.sha256:
        raise RegistryError(
            f"{order.model}/{version} exists already and is another model ({manifest.reason}): "
            "choose another --name or --state-dir"
        )
    return manifest


def _names_by_answers(estimator: Any, rows: TrainingRows) -> tuple[str, ...]:
    """The class of each column of an ONNX graph's probabilities, which stands nowhere but in the labels beside them.

    Empty where the graph tells its classes itself, gives no labels, or gives labels that are no classes of the target.
    """
    classes = rows.schema.classes
    if (
        not isinstance(estimator, OnnxModel)
        or hasattr(estimator, "classes_")
        or not estimator.gives_both
        or not classes
    ):
        return ()
    frame = rows.take(slice(-_LABELLED, None)).frame
    labels = pd.Series([class_name(label) for label in estimator.predict(frame).tolist()])
    if not set(labels) <= set(classes):
        return ()
    column = pd.Series(estimator.predict_proba(frame).argmax(axis=1))
    found = labels.groupby(column).agg(lambda group: group.mode().iloc[0]).to_dict()
    others = iter(name for name in classes if name not in found.values())
    return tuple(found[place] if place in found else next(others) for place in range(len(classes)))


def require_answers(estimator: Any, kind: str, rows: TrainingRows) -> None:
    """Raises AdoptionError, with what to do, for an estimator of `kind` that does not answer the newest rows."""
    frame = rows.take(slice(-_SAMPLE, None)).frame
    try:
        predict_with(estimator, rows.schema, frame)
    except PredictionError as error:
        why = str(error).partition("\n")[0].rstrip(".")  # of some libraries a whole trace of calls follows
        raise AdoptionError(
            f"the model ({kind}) does not answer the rows as driftd gives them to it: {why}. "
            f"{_remedy(estimator, rows.schema, frame)}"
        ) from error


def _remedy(estimator: Any, schema: Schema, frame: pd.DataFrame) -> str:
    """What to do about a model that does not answer: rows with gaps alone, or the kinds of its features."""
    missing = frame.isna()
    whole = frame[~missing.any(axis=1)]
    if 0 < len(whole) < len(frame):
        with contextlib.suppress(PredictionError):
            predict_with(estimator, schema, whole)
            gaps = ", ".join(str(name) for name in frame.columns[missing.any()])
            return (
                f"It answers those of them that lack nothing, and {len(frame) - len(whole):,} of the newest "
                f"{len(frame):,} lack {gaps}: leave such rows out of the file, as production does, or adopt a "
                "Pipeline that fills gaps"
            )
    kinds = ", ".join(f"{feature.name} ({feature.kind})" for feature in schema.features)
    return f"Its features are {kinds}: numbers and booleans are float64, categories text, timestamps epoch seconds"


def find_nonsense(found: Predictions, rows: TrainingRows) -> tuple[str, ...]:
    """That the answers to some rows have nothing to do with their labels; empty where they have.

    So it is where the columns or the classes of a model are taken in a wrong order.
    """
    is_regression = rows.schema.task is Task.REGRESSION
    known = _beats_a_constant(found, rows) if is_regression else _ranks_classes(found, rows)
    if known:
        return ()
    order = f"is {', '.join(rows.schema.names)} the order of the model's features"
    classes = "" if is_regression else f", and are its classes {', '.join(rows.schema.classes)} (--classes)"
    return (
        f"CHECK THIS: what the model answers to {len(rows):,} labelled rows has nothing to do with their labels. Is "
        f"the target right, {order}{classes}?",
    )


def _beats_a_constant(found: Predictions, rows: TrainingRows) -> bool:
    """Whether numbers are nearer to the labels than the labels' own mean or median."""
    truth = np.asarray(rows.target, dtype=np.float64)
    error = truth - found.prediction
    nearer = np.abs(error).mean() < np.abs(truth - np.median(truth)).mean()
    return bool(nearer or (error**2).mean() < truth.var())


def _ranks_classes(found: Predictions, rows: TrainingRows) -> bool:
    """Whether the rows of a class have more of its probability than the others, on the mean over the classes."""
    truth = rows.label_delay_values.astype(np.intp)
    codes = np.unique(truth[truth >= 0])
    if len(codes) <= 1:
        return True  # there is nothing to tell apart
    areas, noise = [], []
    for code in codes:
        chance = found.prediction == code if found.probability is None else found.probability[:, code]
        own = truth == code
        inside, outside = int(own.sum()), int((~own).sum())
        areas.append((rankdata(chance)[own].mean() - (inside + 1) / 2) / outside)
        noise.append((1 / inside + 1 / outside) / 12)  # the variance of the area where there is no skill
    return bool(np.mean(areas) > 0.5 + _SPREADS * np.sqrt(np.mean(noise)))


def _require_same_answers(estimator: Any, schema: Schema, sample: str | None) -> None:
    """The model answers the rows as the file has them and as driftd reads them alike, where it takes both.

    A model that was fitted to codes or dates gets numbers, text and seconds from driftd: where that is not the same
    to it, it would be wrong in production without a word.
    """
    if sample is None:
        return
    raw = pd.read_parquet(Path(sample))
    try:
        asked = predict_with(estimator, schema, raw[list(schema.names)])
    except PredictionError:
        return  # it does not take the file's own types at all; that it takes driftd's was checked
    given = predict_with(estimator, schema, feature_frame(raw, schema))
    differ = ~_alike(asked, given)
    if not differ.any():
        return
    row = int(np.argmax(differ))
    example = ", ".join(f"{name}={raw[name].iloc[row]!r}" for name in schema.names)
    raise AdoptionError(
        f"the model answers {int(differ.sum())} of {len(raw)} rows differently when their values come as driftd gives "
        f"them: numbers and booleans as float64, categories as text, timestamps as epoch seconds. The first is row "
        f"{row} of the newest ({example}). Adopt a Pipeline whose first step takes these, or whose columns are of "
        "these kinds in the file"
    )


def _alike(asked: Predictions, given: Predictions) -> Any:
    same = np.isclose(asked.prediction, given.prediction, rtol=_RTOL, atol=_ATOL)
    return same & np.isclose(asked.score, given.score, rtol=_RTOL, atol=_ATOL, equal_nan=True)


def _manifest(
    order: JobContext,
    adoption: AdoptionOrder,
    found: FoundModel,
    snapshot: Snapshot,
    arguments: Arguments,
    data: Mapping[str, object],
) -> Manifest:
    named = f", version {found.version} there" if found.version else ""
    return Manifest(
        model=order.model,
        version=arguments.version,
        created_at=arguments.until,
        schema=snapshot.schema,
        snapshot=snapshot.digest,
        trainer=Trainer(f"adopted from {adoption.source}", found.sha256),
        seed=arguments.seed,
        trigger=arguments.trigger,
        reason=f"adopted from {adoption.source}{named} (SHA-256 {found.sha256[:12]})",
        artefact=found.artefact,
        parent=arguments.parent,
        libraries=libraries(type(found.estimator).__module__),
        data=data,
        adopted=Adopted(adoption.source, found.sha256, found.version, adoption.names, found.run_id),
    )


def _data(parted: DataSplit, *, unseen: bool) -> dict[str, object]:
    """What `train` records; nothing was trained on here, and with `unseen` every row is held out."""
    training, held_out = parted.training, parted.held_out
    first = training if unseen else held_out
    return {
        "chosen": "adopted",
        "rows": None,
        "tried": {},
        "change_at": None,
        "last_at": parted.last_at,
        "held_out_from": float(first.at[0]),
        "held_out_rows": len(held_out) + (len(training) if unseen else 0),
        "training_rows": 0 if unseen else len(training),
        "too_young": parted.too_young,
        "weighted_for_late_labels": False,
    }


def _value(manifest: Manifest) -> dict[str, object]:
    return {"version": manifest.version, "metrics": dict(manifest.metrics), "artefact": manifest.artefact}
