"""The `label_draw` task: which of the newest predictions without a label to label next, and with which probability."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftd.records import Window
from driftd.registry import Manifest, ManifestError
from driftd.registry.artefact import ArtefactError
from driftd.registry.features import feature_frame
from driftd.sources import open_source
from driftd.store.events.reader import EventReader
from driftd.training.feature_shifts import bins_of
from driftd.training.job_context import JobContext
from driftd.training.references import REFERENCE
from driftd.training.snapshots import SnapshotError, read_snapshot
from driftd.training.tasks import TaskArguments
from driftd.training.training_rows import TrainingRows, rows_of
from driftd_detectors.batches.row_hash import hash_texts
from driftd_detectors.batches.rows import RowNames, Rows
from driftd_detectors.cohort import Hashes, hash_numbers
from driftd_detectors.columns import Coded, Numbers
from driftd_detectors.performance.requested_labels import (
    disagreement,
    draw_rows,
    inclusion_probabilities,
    loss_spread,
    share_growth,
)
from driftd_detectors.reference import Reference

MOST_ROWS = 200_000  # predictions that are looked at; of more, an even sample
BOOST = 5.0  # times, for rows of a segment or a part of a feature that a standing alarm names


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The predictions of `since <= at < until` (epoch seconds) of which `number` are drawn.

    `subjects` are the features and segments (`name=value`) that standing alarms name. A `challenger` waits for a gate.
    """

    version: int
    since: float
    until: float
    number: int
    seed: int
    subjects: tuple[str, ...] = ()
    challenger: int | None = None


def run(arguments: Arguments) -> dict[str, object]:
    """Draw; the value has the drawn predictions, and how many had no label."""
    order = JobContext.of(arguments)
    manifest = order.registry.manifest(order.model, arguments.version)
    source = open_source(order.model, order.config, manifest.schema, order.places)
    table = source.sample(Window(0, arguments.since, arguments.until), MOST_ROWS + 1, arguments.seed)
    source.close()
    share = min(1.0, MOST_ROWS / max(len(table), 1))
    rows = _read_rows(table.slice(0, MOST_ROWS), manifest)
    waiting = np.flatnonzero(~rows.outcomes.labelled & ~np.asarray(rows.ids.is_null()))
    rows = rows.take(waiting)
    spread = loss_spread(rows.outcomes, _expected_loss(order, manifest, rows))
    boost = _boost(order, manifest, rows, arguments.subjects)
    size = spread * boost * _apart(order, arguments, table.take(pa.array(waiting)))
    probability = inclusion_probabilities(size, arguments.number)
    drawn = draw_rows(probability, arguments.seed)
    hashes = _hashes(order, manifest, rows.ids.take(pa.array(drawn)))
    ids = rows.ids.take(pa.array(drawn)).to_pylist()
    requests = [
        {
            "prediction_id": ids[place],
            "predicted_at": float(rows.outcomes.at[row]),
            "probability": float(probability[row] * share),
            "uncertainty": float(spread[row]),
            "boost": float(boost[row]),
            "row_hash": f"{int(hashes[place]):016x}",
        }
        for place, row in enumerate(drawn.tolist())
    ]
    return {"predictions": len(probability), "requests": requests}


def _apart(order: JobContext, arguments: Arguments, table: pa.Table) -> Numbers:
    """How far the version that serves and one that a gate waits to judge are apart on some rows; else all ones."""
    if arguments.challenger is None or len(table) == 0:
        return np.ones(len(table))
    try:
        versions = [order.load(number) for number in (arguments.version, arguments.challenger)]
    except (ManifestError, ArtefactError, OSError) as error:
        print(f"no gate is aimed at: {error}", flush=True)  # noqa: T201 - the log
        return np.ones(len(table))
    names = {name for version in versions for name in version.schema.names}
    frame = table.select([name for name in table.column_names if name in names]).to_pandas()
    first, second = (version.predict(feature_frame(frame, version.schema)) for version in versions)
    if not first.classes:
        return disagreement(first.prediction, second.prediction)
    if first.classes == second.classes and np.isfinite(first.score).all() and np.isfinite(second.score).all():
        return disagreement(first.score, second.score)
    differs = np.asarray(first.values() != second.values(), dtype=np.float64)
    return disagreement(differs, np.zeros(len(differs)))


def _read_rows(table: pa.Table, manifest: Manifest) -> Rows:
    names = RowNames(
        id="driftd_id",
        at="driftd_at",
        prediction="driftd_prediction",
        score="driftd_score",
        version="driftd_version",
        label=manifest.schema.target,
        label_at="driftd_label_at",
    )
    return Rows.read(table, names, manifest.schema)


def _expected_loss(order: JobContext, manifest: Manifest, rows: Rows) -> Numbers | None:
    """The mean loss that the reference had for such predictions; None where it cannot tell."""
    try:
        path = order.registry.file(order.model, manifest.version, REFERENCE)
    except ManifestError:
        return None
    losses = Reference.from_bytes(path.read_bytes()).losses
    known = losses.get(str((manifest.gate or {}).get("metric")), next(iter(losses.values()), None))
    return None if known is None else known.expected_loss(rows.outcomes)


def _hashes(order: JobContext, manifest: Manifest, ids: pa.Array) -> Hashes:
    """What a cohort will know the rows by."""
    if order.config.source.kind != "store":
        return hash_texts(ids)
    places = order.places
    events = EventReader(places.events_db(order.model), manifest.schema, places.segments(order.model))
    try:
        found = [events.find(str(name)) for name in ids.to_pylist()]
    finally:
        events.close()
    return hash_numbers(np.array([0 if each is None else each[0] for each in found], dtype=np.int64))


def _boost(order: JobContext, manifest: Manifest, rows: Rows, subjects: tuple[str, ...]) -> Numbers:
    """By how much each row is more likely, because it lies in the part that an alarm is about."""
    boost, reference = np.ones(len(rows.outcomes.at)), _reference_rows(order, manifest)
    for subject in subjects:
        name, equals, value = subject.partition("=")
        column = rows.columns.values.get(name)
        if column is None:
            continue
        if equals and isinstance(column, Coded):
            inside: NDArray[np.bool_] = np.isin(
                column.codes, [k for k, label in enumerate(column.labels) if label == value]
            )
            boost = np.maximum(boost, np.where(inside, BOOST, 1.0))
        elif not equals and reference is not None and name in reference.schema.names:
            live, before, bins = bins_of(manifest.schema.kind_of(name), column, reference.column(name))
            boost = np.maximum(boost, share_growth(live, before, bins, BOOST))
    return boost


def _reference_rows(order: JobContext, manifest: Manifest) -> TrainingRows | None:
    """The rows that the version learned from; None where its snapshot is gone."""
    try:
        snapshot = read_snapshot(order.places, order.model, manifest.snapshot)
    except SnapshotError as error:
        print(f"no part of a feature is drawn more often: {error}", flush=True)  # noqa: T201 - the log
        return None
    rows = rows_of(snapshot.rows, snapshot.schema)
    return rows.take(np.arange(0, len(rows), max(1, math.ceil(len(rows) / MOST_ROWS))))
