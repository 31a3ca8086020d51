"""The `logged` task: a version that is served elsewhere, whose reference is learned from its own logged predictions.

There is no artefact of it: the log stands in its place, so that the reference can be learned again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftd.formatting import json_safe_object
from driftd.fsutil import sha256_of
from driftd.registry import Adopted, Manifest, RegistryError, Trainer
from driftd.registry.loaded import LoadedVersion, PredictionError, Predictions
from driftd.registry.manifest import LOGGED, with_hashes, write_manifest
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.compare import gate_metric, logged_predictions, measure, outcomes_of, rarer_class
from driftd.training.job_context import JobContext
from driftd.training.references import REFERENCE, importance_of
from driftd.training.stored_rows import StoredRows
from driftd.training.tasks import TaskArguments
from driftd.training.tasks.judge import Comparison
from driftd.training.trainer_code import TrainerError
from driftd.training.training_rows import TrainingRows, learn_label_delay, rows_of
from driftd_detectors.columns import Outcomes, columns_of
from driftd_detectors.performance.label_delay import LabelDelay
from driftd_detectors.performance.losses import losses, weighted_mean
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Schema, Task

STAND_IN = "driftd.trainers:gradient_boosting"  # learns the logged predictions, to find which features they follow
_STAND_IN_ROWS = 5000
_FEWEST_MATURE = 200  # labelled rows


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """A version to make from a Parquet file of logged predictions (`rows`), as they were known at `until`."""

    version: int
    rows: str
    source: str  # what the user called the log
    snapshot: str  # of those with a label; empty where there is none
    until: float


def run(arguments: Arguments) -> dict[str, object]:
    """Make version `version` of a log; a version that was made of the same log before is given back."""
    order = JobContext.of(arguments)
    digest = sha256_of(Path(arguments.rows))
    if arguments.version in order.registry.versions(order.model):
        return _value(_made_before(order, arguments.version, digest))
    table = pq.read_table(arguments.rows)
    schema = Schema.from_dict(json.loads(table.schema.metadata[b"driftd_schema"]))
    outcomes, rows, delay = read_log(table, schema, arguments.until)
    metric = gate_metric(
        order.metric,
        schema.task,
        scored=bool(np.isfinite(outcomes.score).all()),
        rarer=rarer_class(rows.take(outcomes.labelled)),
    )
    reference = _reference(order, schema, rows, outcomes, metric)
    comparison = _describe(order, rows, outcomes, metric, delay, arguments)
    staged = order.registry.stage(order.model)
    try:
        shutil.copyfile(arguments.rows, staged / LOGGED)
        (staged / REFERENCE).write_bytes(reference.to_bytes())
        manifest = _manifest(order, schema, rows, outcomes, comparison, arguments, digest)
        write_manifest(staged, with_hashes(staged, manifest))
        manifest = order.registry.publish(order.model, arguments.version, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    print(comparison.sentence, flush=True)  # noqa: T201 - the log
    return _value(manifest)


def read_log(table: pa.Table, schema: Schema, until: float) -> tuple[Outcomes, TrainingRows, LabelDelay]:
    """The predictions of a log with the labels that stand for themselves, and how late labels come.

    Where enough rows are old enough for nearly all labels, the labels of younger rows are left out: those that come
    early are not like the others.
    """
    rows = rows_of(StoredRows(table), schema)
    is_labelled = pc.is_valid(table[schema.target]).to_numpy()
    delay = learn_label_delay(rows.take(is_labelled), until)
    known_at = np.where(np.isnan(rows.label_at), -np.inf, rows.label_at)
    is_mature = is_labelled & (rows.at <= until - (delay.mature_age or 0.0))
    kept = is_mature if is_mature.sum() >= _FEWEST_MATURE else is_labelled
    found = logged_predictions(table, schema, scored=False)
    assert found is not None  # rows without a prediction are none of a log
    outcomes = outcomes_of(found, rows, schema.classes, 0)
    label = np.where(kept, outcomes.label, np.nan if schema.task is Task.REGRESSION else -1.0)
    return replace(outcomes, label=label, label_at=np.where(kept, known_at, np.nan)), rows, delay


def _reference(order: JobContext, schema: Schema, rows: TrainingRows, outcomes: Outcomes, metric: str) -> Reference:
    return learn_reference(
        columns_of(rows.frame, schema),
        outcomes,
        schema,
        starts=order.window_starts(rows.at),
        importance=_importance(order, schema, rows, outcomes),
        loss=metric,
    )


def _importance(order: JobContext, schema: Schema, rows: TrainingRows, outcomes: Outcomes) -> dict[str, float]:
    """How much the predictions depend on each feature, by a model that learned them; all alike where none can."""
    said = np.array(_names(schema, outcomes), dtype=object) if schema.classes else outcomes.prediction
    taught = replace(rows, target=said)
    some = taught.take(np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _STAND_IN_ROWS)).astype(np.intp)))
    alike = dict.fromkeys(schema.names, 1 / len(schema.names))
    if len(set(some.target.tolist())) == 1:
        return alike
    try:
        estimator = fit(TrainerSpec(STAND_IN, seed=1), some)
    except (TrainerError, PredictionError) as error:
        print(f"all features count alike: {error}", flush=True)  # noqa: T201 - the log
        return alike
    stand_in = LoadedVersion(0, estimator, schema, _nameless(order, schema))
    return importance_of(stand_in, some, gate_metric(None, schema.task, scored=True))


def _names(schema: Schema, outcomes: Outcomes) -> list[str]:
    return Predictions(outcomes.prediction, outcomes.score, schema.classes).values()  # type: ignore[return-value]  # classes: text


def _nameless(order: JobContext, schema: Schema) -> Manifest:
    """The manifest of the model that stands in, which is never published."""
    return Manifest(order.model, 0, 0.0, schema, "", Trainer(STAND_IN, ""), 1, "manual", "", LOGGED)


def _describe(
    order: JobContext,
    rows: TrainingRows,
    outcomes: Outcomes,
    metric: str,
    delay: LabelDelay,
    arguments: Arguments,
) -> Comparison:
    """What the gate says of a version that nothing is compared with."""
    labelled = int(outcomes.labelled.sum())
    loss = losses(metric, rows.schema.task, outcomes)
    mean = weighted_mean(loss, np.ones(len(rows)))
    known = f"its loss is {mean:.4g} on {labelled} labelled rows" if labelled else "none of them has a label"
    nothing = float("nan")
    return Comparison(
        decision="promote",
        sentence=f"watched by its own {len(rows)} logged predictions: {known}",
        gain=nothing,
        lower=nothing,
        upper=nothing,
        rows=labelled,
        blocks=0,
        guards=[],
        metric=metric,
        champion=None,
        champion_metrics={},
        look=1,
        until=datetime.fromtimestamp(arguments.until, UTC).isoformat(),
        overdispersion=1.0,
        loss_bound=1.0,
        metrics=measure(order, outcomes, loss, np.ones(len(rows)), metric),
        mature_after=delay.mature_age,
    )


def _manifest(
    order: JobContext,
    schema: Schema,
    rows: TrainingRows,
    outcomes: Outcomes,
    comparison: Comparison,
    arguments: Arguments,
    digest: str,
) -> Manifest:
    gate = msgspec.structs.asdict(comparison)
    metrics = {name: value for name, value in gate.pop("metrics").items() if np.isfinite(value)}
    return Manifest(
        model=order.model,
        version=arguments.version,
        created_at=arguments.until,
        schema=schema,
        snapshot=arguments.snapshot,
        trainer=Trainer("served elsewhere", digest),
        seed=1,
        trigger="manual",
        reason=f"it is served elsewhere; its reference is learned from its predictions in {arguments.source}",
        artefact=LOGGED,
        status=comparison.decision,
        data={
            "chosen": "logged",
            "rows": None,
            "tried": {},
            "change_at": None,
            "last_at": float(rows.at[-1]),
            "held_out_from": float(rows.at[0]),
            "held_out_rows": len(rows),
            "training_rows": 0,
            "labelled_rows": int(outcomes.labelled.sum()),
            "too_young": 0,
            "weighted_for_late_labels": False,
            "logged_version": int(max(0, rows.version.max())),
        },
        metrics=metrics,
        gate=json_safe_object(gate),
        adopted=Adopted(arguments.source, digest),
    )


def _made_before(order: JobContext, version: int, digest: str) -> Manifest:
    manifest = order.registry.manifest(order.model, version)
    if manifest.adopted is None or not manifest.is_logged or manifest.adopted.sha256 != digest:
        raise RegistryError(
            f"{order.model}/{version} exists already and is another one ({manifest.reason}): "
            "choose another --name or --state-dir"
        )
    return manifest


def _value(manifest: Manifest) -> dict[str, object]:
    sentence = (manifest.gate or {}).get("sentence", "")
    return {"version": manifest.version, "metrics": dict(manifest.metrics), "sentence": sentence}
