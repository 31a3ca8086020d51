"""The `diff` task: score two versions on the newest labelled rows that neither learned from, and compare their data."""

from __future__ import annotations

import msgspec
import numpy as np

from driftd.errors import raise_shortage
from driftd.registry import Manifest, ManifestError
from driftd.registry.artefact import ArtefactError
from driftd.registry.loaded import PredictionError
from driftd.registry.version_quality import FeatureShift, MeasuredDiff, SegmentQuality
from driftd.sources import open_source
from driftd.training.compare import compare, predict_rows
from driftd.training.feature_shifts import feature_shifts
from driftd.training.job_context import JobContext
from driftd.training.segment_quality import segment_qualities
from driftd.training.snapshots import SnapshotError, collected_rows, read_snapshot
from driftd.training.stretches import seen_until
from driftd.training.tasks import TaskArguments
from driftd.training.training_rows import TrainingRows, label_weights, learn_label_delay, rows_of


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """Two versions to compare on at most `rows` labelled rows, with the labels known by `until` (epoch seconds)."""

    a: int
    b: int
    until: float
    rows: int = 20_000
    columns: tuple[str, ...] = ()  # whose values are segments


def run(arguments: Arguments) -> dict[str, object]:
    """Measure what can be measured; what cannot is a remark."""
    order, remarks = JobContext.of(arguments), list[str]()
    a, b = (order.registry.manifest(order.model, version) for version in (arguments.a, arguments.b))
    shifts = _shifts(order, a, b, remarks)
    metric, since, segments = _qualities(order, arguments, a, b, remarks)
    found = MeasuredDiff(metric=metric, since=since, segments=segments, shifts=shifts, remarks=remarks)
    return dict(msgspec.to_builtins(found))


def _shifts(order: JobContext, a: Manifest, b: Manifest, remarks: list[str]) -> list[FeatureShift]:
    if a.snapshot == b.snapshot:
        remarks.append("both versions were made from the same snapshot")
        return []
    try:
        return feature_shifts(_training_rows(order, a), _training_rows(order, b))
    except SnapshotError as error:
        remarks.append(f"the data that they learned from cannot be compared: {error}")
        return []


def _training_rows(order: JobContext, manifest: Manifest) -> TrainingRows:
    """The rows of a version's snapshot that it learned from. Raises SnapshotError."""
    if not manifest.snapshot:
        raise SnapshotError(f"version {manifest.version} has no snapshot")
    snapshot = read_snapshot(order.places, order.model, manifest.snapshot)
    rows = rows_of(snapshot.rows, snapshot.schema)
    first, last = manifest.data.get("portion", {}).get("start", 0), manifest.data.get("training_rows")
    return rows.take(slice(int(first), None if last is None else int(last)))


def _qualities(
    order: JobContext, arguments: Arguments, a: Manifest, b: Manifest, remarks: list[str]
) -> tuple[str | None, float | None, list[SegmentQuality]]:
    """The metric, since when rows were scored, and the losses of `b` beside those of `a`."""
    if a.is_logged or b.is_logged:
        remarks.append("of a version that was made elsewhere there are only logged predictions, so nothing was scored")
        return None, None, []
    schema, until = b.schema, arguments.until
    source = open_source(order.model, order.config, schema, order.places)
    since = source.newest_labelled(arguments.rows, max(seen_until(a), seen_until(b)), until)
    tables = map(order.without_faulty, source.read_labelled(since, until, until))
    with collected_rows(tables, schema) as stored:
        rows = rows_of(stored, schema).take(slice(-arguments.rows, None))
        if len(rows) == 0:
            remarks.append("no labelled row is newer than those that they learned from, so nothing was scored")
            return None, since, []
        try:
            sides = [(version, predict_rows(version, rows)) for version in map(order.load, (b.version, a.version))]
        except (ManifestError, ArtefactError, PredictionError, OSError) as error:
            raise_shortage(error)
            remarks.append(f"they cannot be compared on the same rows: {error}")
            return None, since, []
        metric, compared = compare(order.metric, rows, sides)
        weight = label_weights(rows, learn_label_delay(rows, until), until)
        columns = arguments.columns or order.config.detect.segment_columns
        if not columns:
            remarks.append("no column is named in `detect.segments`; name some by --by to compare by segment")
        remarks += [f"{name} is no feature of version {b.version}" for name in columns if name not in schema.names]
        if not (weight > 0).any():
            weight = np.ones(len(rows))
        lost = [side.loss for side in compared]
        return metric, since, segment_qualities(rows, weight, lost, columns, order.config.block_seconds)
