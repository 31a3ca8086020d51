"""The `receive` task: a model that was made outside becomes a version, once it proved to be what was asked for.

It may be what a builder outside gave back for an order, or what somebody submitted. Rows judge it that it has not seen:
of an order those that were held back, of a submission those after the time until which it was trained.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftd.errors import DriftdError
from driftd.formatting import format_time
from driftd.fsutil import sha256_of
from driftd.outside.exchange import Exchange
from driftd.registry import Manifest, RegistryError, Trainer
from driftd.registry.artefact import store_estimator
from driftd.registry.loaded import load_version
from driftd.registry.manifest import PROBE, with_hashes, write_manifest
from driftd.training.adoption import FoundModel, kind_of, read_model
from driftd.training.adoption_records import ModelCard
from driftd.training.job_context import JobContext
from driftd.training.references import compare_probe, write_probe
from driftd.training.snapshots import Snapshot, read_snapshot
from driftd.training.tasks import train
from driftd.training.tasks.adopt import require_answers
from driftd.training.tasks.train import DataSplit, data_of, metrics_of, part
from driftd.training.trainer_code import libraries
from driftd.training.training_rows import TrainingRows, fixed_portion, rows_of
from driftd_detectors.schema import Schema


class ReceivedModelError(DriftdError):
    """A model that was made outside is not what was asked for; the message says in what."""


class Arguments(train.Arguments, frozen=True, kw_only=True):
    """A version to make of what came back; the arguments of `train`, and where it lies."""

    folder: str  # of the exchange
    place: str  # who made it, for the lineage
    trained_until: float | None = None  # of a submission: rows from then on judge it


def run(arguments: Arguments) -> dict[str, object]:
    """Make version `version`. Raises ReceivedModelError, and what reading a model and predicting with it raise."""
    order, version = JobContext.of(arguments), arguments.version
    outcome = Exchange(Path(arguments.folder)).outcome
    if outcome is None or outcome.file is None or outcome.sha256 is None:
        raise ReceivedModelError("nothing came back for this build")
    if version in order.registry.versions(order.model):
        return _value(_made_before(order, version, outcome.sha256))
    path = Path(arguments.folder) / outcome.file
    if not path.is_file() or sha256_of(path) != outcome.sha256:
        raise ReceivedModelError(f"{path} is gone, or not what came back: it was changed on this host")
    found = read_model(str(path), allow_pickle=order.config.allow_joblib)
    snapshot = read_snapshot(order.places, order.model, arguments.snapshot)
    rows = rows_of(snapshot.rows, snapshot.schema)
    require_fit(found.card(), snapshot.schema)
    require_answers(found.estimator, kind_of(found.estimator), rows)
    parted = _part_rows(order, rows, arguments)
    order.registry.sweep(order.model)
    staged = order.registry.stage(order.model)
    try:
        write_probe(found.estimator, rows, staged)
        manifest = _manifest(order, arguments, found, snapshot, parted)
        artefact = store_estimator(found.estimator, staged, allow_joblib=order.config.allow_joblib)
        manifest = replace(manifest, artefact=artefact)
        write_manifest(staged, with_hashes(staged, manifest))
        compare_probe(load_version(staged, allow_joblib=order.config.allow_joblib), staged / PROBE)
        manifest = order.registry.publish(order.model, version, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    print(f"version {version}: {kind_of(found.estimator)} from {arguments.place}", flush=True)  # noqa: T201 - the log
    return _value(manifest)


def require_fit(card: ModelCard, schema: Schema) -> None:
    """Raises ReceivedModelError where a model says that it was made for other features, classes or another task."""
    if card.task is not None and card.task != str(schema.task):
        raise ReceivedModelError(f"the model is one of {card.task}, and {schema.target} is one of {schema.task}")
    if card.features is not None and card.features != schema.names:
        raise ReceivedModelError(_describe_features(card.features, schema.names))
    if card.features is None and card.feature_count not in (None, len(schema.names)):
        raise ReceivedModelError(
            f"the model takes {card.feature_count} features, and there are {len(schema.names)}: "
            f"{', '.join(schema.names)}"
        )
    codes = tuple(str(code) for code in range(len(card.classes or ())))
    strange = [name for name in card.classes or () if name not in schema.classes]
    if schema.classes and strange and card.classes != codes:
        raise ReceivedModelError(
            f"the model knows the class {strange[0]!r}, which is none of {', '.join(schema.classes)}"
        )


def _describe_features(given: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    absent, strange = [name for name in wanted if name not in given], [name for name in given if name not in wanted]
    parts = [f"lacks {', '.join(absent)}"] if absent else []
    parts += [f"has {', '.join(strange)}, which are no features here"] if strange else []
    what = " and ".join(parts) or "has them in another order"
    return f"the model was made for other features: it {what}; the order is {', '.join(wanted)}"


def _part_rows(order: JobContext, rows: TrainingRows, arguments: Arguments) -> DataSplit:
    """The rows that it may have seen, and those that judge it."""
    parted = part(rows, arguments.until, arguments.change_at, order.config.promote.min_labels)
    if arguments.trained_until is None:
        return parted
    usable = len(parted.training) + len(parted.held_out)
    cut = int(np.searchsorted(rows.at[:usable], arguments.trained_until, side="right"))
    if usable - cut < order.config.promote.min_labels:
        raise ReceivedModelError(
            f"only {usable - cut} rows after {format_time(arguments.trained_until)}, until which it was trained, have "
            f"their labels; {order.config.promote.min_labels} judge a version (promote.min_labels): submit it then"
        )
    return replace(parted, training=rows.take(slice(None, cut)), held_out=rows.take(slice(cut, usable)), weight=None)


def _manifest(
    order: JobContext, arguments: Arguments, found: FoundModel, snapshot: Snapshot, parted: DataSplit
) -> Manifest:
    exchange = Exchange(Path(arguments.folder))
    reference, ordered, outcome = f"outside {arguments.place}", exchange.order, exchange.outcome
    commit = None if outcome is None else outcome.commit
    by = None if ordered is None else ordered.by  # none of a submission
    own = hashlib.sha256(reference.encode()).hexdigest()
    return Manifest(
        model=order.model,
        version=arguments.version,
        created_at=arguments.until,
        schema=snapshot.schema,
        snapshot=snapshot.digest,
        trainer=Trainer(reference, own, commit) if by is None else Trainer(reference, by.source, commit, lock=by.lock),
        seed=arguments.seed,
        trigger=arguments.trigger,
        reason=arguments.reason,
        artefact=found.artefact,
        parent=arguments.parent,
        parameters=dict(order.config.parameters if by is None else by.parameters),
        libraries=libraries(type(found.estimator).__module__),
        data={
            "change_at": arguments.change_at,
            "tried": {},
            **_data(order, arguments, found, parted),
            **({} if by is None else {"settings": by.settings}),
        },
        metrics=metrics_of(found.estimator, parted.held_out, order.metric),
    )


def _data(order: JobContext, arguments: Arguments, found: FoundModel, parted: DataSplit) -> dict[str, object]:
    outside: dict[str, object] = {"place": arguments.place, "sha256": found.sha256, "kind": kind_of(found.estimator)}
    if arguments.trained_until is not None:
        held_out, training = parted.held_out, parted.training
        return {
            "chosen": "submitted",
            "rows": len(training),
            "last_at": parted.last_at,
            "held_out_from": float(held_out.at[0]),
            "held_out_rows": len(held_out),
            "training_rows": len(training),
            "too_young": parted.too_young,
            "weighted_for_late_labels": False,
            "outside": outside | {"trained_until": arguments.trained_until},
        }
    use = order.config.retrain.data
    portion = fixed_portion(
        "all" if use.use == "auto" or use.keep == "in_place" else use.use,
        parted.training.at,
        arguments.change_at,
        rows=use.rows,
        span=use.span,
    )
    recipe = order.recipe(arguments.seed, outside=arguments.place)
    return {**data_of(parted, portion, recipe), "outside": outside}


def _made_before(order: JobContext, version: int, sha256: str) -> Manifest:
    manifest = order.registry.manifest(order.model, version)
    made: Any = manifest.data.get("outside")
    if not isinstance(made, dict) or made.get("sha256") != sha256:
        raise RegistryError(f"{order.model}/{version} exists already and was made from another order")
    return manifest


def _value(manifest: Manifest) -> dict[str, object]:
    return {
        "version": manifest.version,
        "rows": manifest.data["rows"],
        "data": manifest.data["chosen"],
        "metrics": dict(manifest.metrics),
    }
