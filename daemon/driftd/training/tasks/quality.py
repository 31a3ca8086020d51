"""The `quality` task: how good the predictions of a range of windows were, with the labels known now."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.sources.protocol import Source, window_at
from driftd.training.tasks import TaskArguments
from driftd_detectors.cohort import Cohort
from driftd_detectors.columns import Columns, Numbers, Outcomes, missing_column, stack_columns
from driftd_detectors.outcome_rows import stack_outcomes, take_outcomes
from driftd_detectors.performance.cohort_loss import label_weights
from driftd_detectors.performance.curves import quality_charts
from driftd_detectors.performance.label_delay import LabelDelay, worth_weighing
from driftd_detectors.performance.losses import BINARY, metric_value, value_of
from driftd_detectors.performance.segments import segment_columns
from driftd_detectors.reference import Reference, take_columns
from driftd_detectors.schema import METRICS, Schema, display_name, is_own
from driftd_detectors.window_data import ServedBy

MOST_WINDOWS = 120  # are read; of more an even choice
MOST_ROWS = 200_000  # over all windows; of more an even choice from each


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The windows from `first` to `last`, with the labels known by a time (epoch seconds)."""

    first: int
    last: int
    version: int  # whose classes, segments and label delay are meant
    known_by: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Rows:
    """Predictions with some features, and what each counts."""

    columns: Columns
    outcomes: Outcomes
    weights: Numbers


def run(arguments: Arguments) -> dict[str, object]:
    """Metrics by window and of all rows, the charts that the task has, and a table by segment."""
    places, config = Places(Path(arguments.state_dir)), ModelConfig.model_validate(arguments.model_config)
    registry = Registry(places)  # no artefact is loaded: what was said is on record
    manifest = registry.manifest(arguments.model, arguments.version)
    path = registry.file(arguments.model, arguments.version, "reference.bin")
    reference = Reference.from_bytes(path.read_bytes())
    source = open_source(arguments.model, config, manifest.schema, places)
    source.refresh(arguments.known_by)
    indexes = np.unique(
        np.linspace(arguments.first, arguments.last, min(MOST_WINDOWS, arguments.last - arguments.first + 1)).round()
    ).astype(int)
    windows = [
        rows for index in indexes if (rows := _read(source, config, reference, arguments, int(index), len(indexes)))
    ]
    source.close()
    if not windows:
        return {"windows": len(indexes), "rows": 0, "labels": 0}
    names = [*METRICS[manifest.schema.task]]
    metric = _metric_of(reference)
    if metric not in names:
        names.append(metric)
    whole = _join([rows for _, rows in windows], manifest.schema, segment_columns(reference.segments))
    values = {name: [_metric(name, rows) for _, rows in windows] for name in names}
    return {
        "windows": len(indexes),
        "asked": arguments.last - arguments.first + 1,
        "rows": whole.outcomes.rows,
        "labels": int(whole.outcomes.labelled.sum()),
        "weighted": worth_weighing(whole.weights[whole.weights > 0]) is not None,
        "at": [at for at, _ in windows],
        "metrics": {
            display_name(name): {"all": _metric(name, whole), "by_window": series}
            for name, series in values.items()
            if any(value is not None for value in series)
        },
        "metric": display_name(metric),
        "positive": _positive_class(manifest.schema),
        "charts": dataclasses.asdict(quality_charts(whole.outcomes, whole.weights)),
        "segments": _segments(reference, whole),
    }


def _read(
    source: Source, config: ModelConfig, reference: Reference, arguments: Arguments, index: int, windows: int
) -> tuple[float, _Rows] | None:
    """One window: when it began (of windows of rows: its first row), and its rows; None where it has none."""
    window = window_at(config.window, index)
    features = segment_columns(reference.segments)
    cohort = source.cohort(window, arguments.known_by, features, ServedBy(arguments.version))
    if cohort.outcomes.rows == 0:
        return None
    rows = _take_rows(cohort, max(1, MOST_ROWS // windows), reference)
    weights = label_weights(rows.outcomes, _delay(reference), arguments.known_by)
    at = window.start if window.by == "time" else float(np.min(rows.outcomes.at))
    return at, dataclasses.replace(rows, weights=weights)


def _delay(reference: Reference) -> LabelDelay | None:
    return reference.label_delay if reference.label_delay.is_known else None


def _take_rows(cohort: Cohort, most: int, reference: Reference) -> _Rows:
    outcomes = cohort.outcomes.among(reference.schema.classes)
    schema, features = reference.schema, segment_columns(reference.segments)
    known = cohort.columns.values
    values = {name: known.get(name, missing_column(schema.kind_of(name), outcomes.rows)) for name in features}
    columns = dataclasses.replace(cohort.columns, values=values).rename_categories(schema.category_names)
    if outcomes.rows > most:
        places = np.unique(np.linspace(0, outcomes.rows - 1, most).astype(np.intp))
        columns, outcomes = take_columns(columns, places), take_outcomes(outcomes, places)
    return _Rows(columns, outcomes, np.ones(outcomes.rows))


def _positive_class(schema: Schema) -> str | None:
    """The class that scores, curves, precision and recall of two classes are about."""
    return schema.classes[1] if len(schema.classes) == BINARY else None


def _metric_of(reference: Reference) -> str:
    """What segments are told in: what is watched, but for a user's own function, which runs elsewhere."""
    return next((name for name in (reference.loss, *reference.losses) if not is_own(name)), reference.loss)


def _join(parts: list[_Rows], schema: Schema, names: Collection[str]) -> _Rows:
    features = [feature for feature in schema.features if feature.name in names]
    return _Rows(
        stack_columns([part.columns for part in parts], features),
        stack_outcomes([part.outcomes for part in parts], schema.classes),
        np.concatenate([part.weights for part in parts]),
    )


def _metric(name: str, rows: _Rows) -> float | None:
    value = metric_value(name, rows.outcomes, rows.weights)
    return value if math.isfinite(value) else None


def _segments(reference: Reference, rows: _Rows) -> list[dict[str, object]]:
    """Each segment of the reference, the one whose loss rose most first; all rows stand before them."""
    metric = _metric_of(reference)
    found = []
    for segment in reference.segments:
        own = segment.losses.get(metric)
        places = np.flatnonzero(segment.holds(rows.columns))
        inside = take_outcomes(rows.outcomes, places)
        value = metric_value(metric, inside, rows.weights[places]) if len(places) else math.nan
        usual = math.nan if own is None else value_of(metric, own.mean)
        found.append((segment.name, len(places), int(inside.labelled.sum()), value, usual))
    whole = metric_value(metric, rows.outcomes, rows.weights)
    known = reference.losses.get(metric)  # none where the reference is a log without labels
    usual = math.nan if known is None else value_of(metric, known.mean)
    sign = 1.0 if value_of(metric, 0.0) < value_of(metric, 0.1) else -1.0  # of a metric that is better when lower
    found.sort(key=lambda line: -sign * (line[3] - line[4]) if math.isfinite(line[3] - line[4]) else math.inf)
    everything = ("", rows.outcomes.rows, int(rows.outcomes.labelled.sum()), whole, usual)
    return [
        {
            "segment": name,
            "rows": count,
            "labels": labels,
            "value": value if math.isfinite(value) else None,
            "usual": usual if math.isfinite(usual) else None,
        }
        for name, count, labels, value, usual in (everything, *found)
    ]
