"""The `train` task: choose the training rows by evidence, train, check, store and publish a version."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from driftd.config.named_plugins import plugin_versions
from driftd.registry import Manifest, RegistryError
from driftd.registry.artefact import store_estimator
from driftd.registry.loaded import load_version
from driftd.registry.manifest import PROBE, with_hashes, write_manifest
from driftd.sources import open_source
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.protocol import EngineError
from driftd.sources.open import versions_of
from driftd.sources.protocol import Source
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.compare import mean_loss, predict_pieces
from driftd.training.job_context import JobContext
from driftd.training.references import compare_probe, write_probe
from driftd.training.rows_in_place import RowsInPlace, rows_in_place
from driftd.training.snapshots import read_snapshot, snapshot_versions
from driftd.training.tasks import TaskArguments
from driftd.training.trainer_code import TrainerError, build_settings, keep_source, libraries, trainer_code
from driftd.training.training_rows import (
    FEWEST_ROWS,
    TrainingRows,
    TrainingWindow,
    choose,
    fixed_portion,
    holdout_start,
    label_weights,
    learn_label_delay,
    portions,
    rows_of,
)
from driftd_detectors.columns import Numbers
from driftd_detectors.performance.label_delay import LabelDelay, worth_weighing
from driftd_detectors.schema import Schema


@dataclass(frozen=True, slots=True)
class DataSplit:
    """The rows of a snapshot: what to train on, what the gate gets, and what is too young for either."""

    training: TrainingRows
    held_out: TrainingRows
    weight: Numbers | None  # of the training rows, for late labels
    last_at: float
    too_young: int
    delay: LabelDelay


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """A version to make from a snapshot (its content hash) that was taken at `until` (epoch seconds)."""

    version: int
    snapshot: str
    seed: int
    until: float
    trigger: str
    reason: str
    change_at: float | None = None
    parent: int | None = None


def run(arguments: Arguments) -> dict[str, object]:
    """Make version `version` from a snapshot; a version that was made by this very order before is given back."""
    order = JobContext.of(arguments)
    version, change_at = arguments.version, arguments.change_at
    if version in order.registry.versions(order.model):
        return _value(_previous_manifest(order, arguments))
    recipe = order.recipe(arguments.seed)
    code = trainer_code(recipe.trainer)
    snapshot = read_snapshot(order.places, order.model, arguments.snapshot)
    rows = rows_of(snapshot.rows, snapshot.schema)
    parted = part(rows, arguments.until, change_at, order.config.promote.min_labels)
    if order.config.retrain.data.keep == "in_place":
        recipe = replace(recipe, in_place=source_rows(order, snapshot.schema, parted, arguments.until, snapshot.digest))
    versions = snapshot_versions(order.places, order.model, snapshot.digest)
    portion, tried = select(order, recipe, parted, change_at)
    estimator = fit_portion(recipe, parted.training, parted.weight, portion)
    order.registry.sweep(order.model)  # what a killed build left; a model has one build at a time
    staged = order.registry.stage(order.model)
    try:
        write_probe(estimator, parted.training, staged)
        keep_source(recipe.trainer, staged)
        manifest = Manifest(
            model=order.model,
            version=version,
            created_at=arguments.until,
            schema=snapshot.schema,
            snapshot=snapshot.digest,
            trainer=code,
            seed=recipe.seed,
            trigger=arguments.trigger,
            reason=arguments.reason,
            artefact=store_estimator(estimator, staged, allow_joblib=recipe.allow_joblib),
            parent=arguments.parent,
            parameters=dict(recipe.parameters),
            libraries=libraries(recipe.trainer) | plugin_versions(order.config),
            data={
                "change_at": change_at,
                "tried": tried,
                **data_of(parted, portion, recipe),
                "settings": build_settings(order.config),
                **({"source_version": versions} if versions else {}),
            },
            metrics=metrics_of(estimator, parted.held_out, order.metric),
        )
        write_manifest(staged, with_hashes(staged, manifest))
        compare_probe(load_version(staged, allow_joblib=recipe.allow_joblib), staged / PROBE)
        manifest = order.registry.publish(order.model, version, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    print(f"version {version}: trained on {portion.name}, losses tried {tried}", flush=True)  # noqa: T201 - the log
    return _value(manifest)


def part(rows: TrainingRows, until: float, change_at: float | None, min_labels: int) -> DataSplit:
    """Part the rows of a snapshot, taken at `until`. Raises TrainerError when too few are left to train on."""
    delay = learn_label_delay(rows, until)
    weights = label_weights(rows, delay, until)
    usable = int((weights > 0).sum())  # the older ones: the labels of the others are still coming
    if usable < 2 * FEWEST_ROWS:
        raise TrainerError(
            f"only {usable} of {len(rows)} labelled rows are old enough for their labels to be complete; "
            f"{2 * FEWEST_ROWS} are needed to train and judge"
        )
    cut = holdout_start(rows.at[:usable], change_at, min_labels)
    training, held_out = rows.take(slice(None, cut)), rows.take(slice(cut, usable))
    if len(training) < FEWEST_ROWS:
        raise TrainerError(f"only {len(training)} labelled rows to train on; at least {FEWEST_ROWS} are needed")
    return DataSplit(training, held_out, worth_weighing(weights[:cut]), float(rows.at[-1]), len(rows) - usable, delay)


def source_rows(order: JobContext, schema: Schema, parted: DataSplit, until: float, digest: str) -> RowsInPlace:
    """The rows of the source up to those that judge."""
    span, cut = order.config.retrain.data.span, float(parted.held_out.at[0])
    source = open_source(order.model, order.config, schema, order.places)
    since = None if span is None else cut - span
    count = source.count_labelled(-math.inf if since is None else since, until)
    return rows_in_place(
        order.config,
        schema,
        since=since,
        until=cut,
        known_by=until,
        labelled_rows=count,
        source_version=versions_of(source),
        source_tag=_keep_versions(source, f"driftd-{order.model}-{digest[:12]}"),
    )


def _keep_versions(source: Source, tag: str) -> str | None:
    """Have the tables keep the versions that are trained on, where they can; the log of the job says where not."""
    if not isinstance(source, EngineSource):
        return None
    try:
        return tag if source.keep(tag) else None
    except EngineError as error:
        print(f"the rows of this build may go: {error}", flush=True)  # noqa: T201 - the log
        return None


def data_of(parted: DataSplit, portion: TrainingWindow, recipe: TrainerSpec) -> dict[str, object]:
    """What the manifest keeps of the rows that a version was trained on, and of those held back."""
    training, held_out = parted.training, parted.held_out
    return {
        "chosen": portion.name,
        "rows": len(training) - portion.start,
        "trained_from": float(training.at[portion.start]),
        "last_at": parted.last_at,
        "held_out_from": float(held_out.at[0]),
        "held_out_rows": len(held_out),
        "training_rows": len(training),
        "too_young": parted.too_young,
        "weighted_for_late_labels": parted.weight is not None,
        "label_delay": _ages(parted.delay),
        "portion": {"start": portion.start, "pivot": portion.pivot},
        **({} if recipe.in_place is None else {"in_place": msgspec.to_builtins(recipe.in_place)}),
        **recipe.draw(*portion_of(training, parted.weight, portion)).described,
    }


def _ages(delay: LabelDelay) -> dict[str, float | None] | None:
    """What the version knew of the delay of labels; None: nothing."""
    return {"first_age": delay.first_age, "mature_age": delay.mature_age} if delay.is_known else None


def select(
    order: JobContext, recipe: TrainerSpec, parted: DataSplit, change_at: float | None
) -> tuple[TrainingWindow, dict[str, float | None]]:
    """Which of the training rows to use: what the config says, or what served the newest of them best."""
    data, training, weight = order.config.retrain.data, parted.training, parted.weight
    if data.keep == "in_place":
        return fixed_portion("all", training.at, change_at), {}
    if data.use != "auto":
        return fixed_portion(data.use, training.at, change_at, rows=data.rows, span=data.span), {}

    def loss_of(way: TrainingWindow, until: int) -> float:
        older, newest = training.take(slice(None, until)), training.take(slice(until, None))
        if until - way.start < FEWEST_ROWS or _single_class(older, way):
            return float("nan")
        estimator = fit_portion(recipe, older, None if weight is None else weight[:until], way)
        return mean_loss(predict_pieces(estimator, newest), newest, order.metric)

    return choose(len(training), portions(training.at, change_at), loss_of)


def fit_portion(recipe: TrainerSpec, rows: TrainingRows, weight: Numbers | None, portion: TrainingWindow) -> Any:
    """Train on a portion of some rows, weighted for late labels where `weight` is given."""
    return fit(recipe, *portion_of(rows, weight, portion))


def portion_of(
    rows: TrainingRows, weight: Numbers | None, portion: TrainingWindow
) -> tuple[TrainingRows, Numbers | None]:
    """The rows of a portion, and what each counts."""
    own = portion.weight(len(rows))
    late = None if weight is None else weight[portion.start :]
    both = late if own is None else own if late is None else own * late
    return rows.take(slice(portion.start, None)), both


def _single_class(rows: TrainingRows, portion: TrainingWindow) -> bool:
    return bool(rows.schema.classes) and pd.Series(rows.target[portion.start :]).nunique() < 2  # noqa: PLR2004


def metrics_of(estimator: Any, held_out: TrainingRows, metric: str | None) -> dict[str, float]:
    """The mean loss on the rows held back, as the manifest keeps it."""
    loss = mean_loss(predict_pieces(estimator, held_out), held_out, metric)
    return {"loss": loss} if np.isfinite(loss) else {}


def _previous_manifest(order: JobContext, arguments: Arguments) -> Manifest:
    manifest = order.registry.manifest(order.model, arguments.version)
    wanted = (arguments.snapshot, arguments.seed, arguments.trigger)
    if (manifest.snapshot, manifest.seed, manifest.trigger) != wanted or manifest.adopted is not None:
        raise RegistryError(f"{order.model}/{manifest.version} exists already and was made from another order")
    return manifest


def _value(manifest: Manifest) -> dict[str, object]:
    return {
        "version": manifest.version,
        "rows": manifest.data["rows"],
        "data": manifest.data["chosen"],
        "tried": manifest.data["tried"],
        "metrics": dict(manifest.metrics),
    }
