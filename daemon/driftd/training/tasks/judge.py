"""The rows that judge a challenger: its snapshot's hold-out, and what was labelled since."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.errors import raise_shortage
from driftd.formatting import json_safe_object
from driftd.registry import Manifest
from driftd.registry.artefact import ArtefactError
from driftd.registry.loaded import LoadedVersion, Predictions
from driftd.registry.manifest import ManifestError
from driftd.registry.version_quality import SegmentQuality
from driftd.training.compare import (
    ComparedVersion,
    GateGuard,
    artefact_bytes,
    compare,
    cost_guards,
    logged_predictions,
    measure,
    predict_rows,
    predicted_by_logged,
    segment_guards,
)
from driftd.training.job_context import JobContext
from driftd.training.references import REFERENCE, reference_of
from driftd.training.segment_quality import segment_qualities
from driftd.training.snapshots import Snapshot, collected_rows, read_snapshot
from driftd.training.tasks import TaskArguments
from driftd.training.training_rows import TrainingRows, label_weights, learn_label_delay, rows_of
from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.gate import Judgement, judge
from driftd_detectors.performance.label_delay import LabelDelay
from driftd_detectors.performance.losses import weighted_mean
from driftd_detectors.performance.requested_labels import labelled_weights


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """The rows by which a challenger is judged, with what of them is narrow, and how late labels come."""

    rows: TrainingRows
    table: pa.Table  # the columns named `driftd_...`, of the same rows
    delay: LabelDelay

    def take(self, which: NDArray[np.bool_]) -> JudgedRows:
        """Some of the rows."""
        return JudgedRows(self.rows.take(which), self.table.filter(pa.array(which)), self.delay)


def _drawn_weights(order: JobContext, judged: JudgedRows) -> Numbers:
    """What each label counts because it was asked for (docs/label-requests.md)."""
    rows, draws = judged.rows, order.drawn_labels(float(judged.rows.at.min(initial=np.inf)))
    ids = judged.table["driftd_id"].to_pylist() if draws else []
    return labelled_weights(draws, ids, rows.at, rows.label_at) if draws else np.ones(len(rows))


@contextmanager
def judged_rows(order: JobContext, challenger: Manifest, until: float) -> Iterator[JudgedRows]:
    """Every labelled row that is later than those the challenger was trained on, with the labels known by `until`.

    With them comes how late labels come, learned from the whole snapshot. Of a model that is served elsewhere the rows
    have what was predicted when they were live. Of many rows a piece at a time is in memory.
    """
    snapshot = read_snapshot(order.places, order.model, challenger.snapshot)
    is_external = order.config.is_external
    tables = _later_tables(order, challenger, snapshot, until)
    with collected_rows(tables, snapshot.schema, logged=is_external) as found:
        names = [name for name in found.fields.names if name.startswith("driftd_")]
        rows = rows_of(found, challenger.schema)
        delay = learn_label_delay(rows_of(snapshot.rows, snapshot.schema), until)
        yield JudgedRows(rows, found.read([name for name in names if name not in challenger.schema.names]), delay)


def _later_tables(order: JobContext, challenger: Manifest, snapshot: Snapshot, until: float) -> Iterator[pa.Table]:
    """The hold-out of a snapshot, and what the source has since."""
    trained, since = int(challenger.data["training_rows"]), float(challenger.data["held_out_from"])
    for held_out in snapshot.rows.pieces(slice(trained, None)):
        yield order.without_faulty(held_out.replace_schema_metadata(None))
    first = int(np.searchsorted(snapshot.at, since, side="left"))
    # Rows of the very moment of the cut that it was trained on
    ties = pa.concat_tables(
        [
            snapshot.rows.fields.empty_table().select(["driftd_id"]),
            *snapshot.rows.pieces(slice(first, trained), ["driftd_id"]),
        ]
    )
    for later in order.read_labelled(snapshot.schema, since, until):
        yield _without(later, ties)


def _without(table: pa.Table, ties: pa.Table) -> pa.Table:
    if ties.num_rows == 0:
        return table
    return table.filter(pc.invert(pc.is_in(table["driftd_id"], value_set=ties["driftd_id"].combine_chunks())))


UNLOADABLE = (ManifestError, ArtefactError, OSError)
# Triggers that do not say that the champion is bad
NON_INFERIORITY = frozenset({"schedule", "code_changed", "parameters_changed", "submitted"})
TOLERATED = 0.02  # of the champion's loss: what such a challenger may be worse by
_BOUND_AT = 0.99  # quantile of the champion's loss that bounds the losses of probation


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The version to judge, and the one that serves; `until` in epoch seconds."""

    challenger: int
    champion: int | None = None
    trigger: str
    until: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What the manifest keeps of a judgement as `gate`, and `metrics`, which it keeps beside that."""

    decision: str
    sentence: str
    gain: float
    lower: float
    upper: float
    rows: int
    blocks: int
    guards: list[dict[str, object]]
    metric: str
    champion: int | None
    champion_metrics: dict[str, float]
    look: int
    until: str  # ISO 8601
    overdispersion: float
    loss_bound: float
    metrics: dict[str, float]
    mature_after: float | None = None  # seconds; None: nobody knows how late labels come
    champion_fault: str | None = None
    class_change: str | None = None
    segments: list[SegmentQuality] = []  # of the challenger beside the champion; all rows first


def run(arguments: Arguments) -> dict[str, object]:
    """Judge, learn the reference, and write both into the challenger's folder."""
    order = JobContext.of(arguments)
    until = arguments.until
    challenger = order.load(arguments.challenger)
    champion, fault = _opponent(order, arguments.champion, challenger.version)
    with judged_rows(order, challenger.manifest, until) as judged:
        return _judge_rows(order, arguments, challenger, champion, fault, judged)


def _judge_rows(
    order: JobContext,
    arguments: Arguments,
    challenger: LoadedVersion,
    champion: LoadedVersion | None,
    fault: str | None,
    judged: JudgedRows,
) -> dict[str, object]:
    until, delay = arguments.until, judged.delay
    weight = label_weights(judged.rows, delay, until) * _drawn_weights(order, judged)
    judged, weight = judged.take(weight > 0), weight[weight > 0]
    rows = judged.rows
    found = predict_rows(challenger, rows)
    compared = np.ones(len(rows), dtype=np.bool_)
    if champion is not None and champion.manifest.is_logged:
        others = [version for version in order.registry.versions(order.model) if version != champion.version]
        compared = predicted_by_logged(judged.table, champion.schema, others)
    some = judged.take(compared)
    comparison = _compare(
        order, challenger, champion, some.rows, weight[compared], found.take(compared), some.table, arguments
    )
    mature_until = until - (delay.mature_age or 0.0)
    reference = reference_of(order, challenger, rows, found, comparison.metric, mature_until)
    change = class_change(challenger, champion, rows)
    comparison = msgspec.structs.replace(
        comparison,
        sentence=comparison.sentence if change is None else f"{comparison.sentence}; {change}",
        mature_after=delay.mature_age,
        champion_fault=fault,
        class_change=None if is_named(challenger.schema.classes, order.config.classes) else change,
    )
    gate = msgspec.to_builtins(comparison)
    metrics = gate.pop("metrics")
    order.registry.amend(
        order.model,
        challenger.version,
        files={REFERENCE: reference.to_bytes()},
        status=comparison.decision,
        metrics=json_safe_object(metrics),
        gate=json_safe_object(gate),
    )
    print(f"{comparison.decision}: {comparison.sentence}", flush=True)  # noqa: T201 - the log
    keys = (
        "decision",
        "sentence",
        "gain",
        "lower",
        "upper",
        "rows",
        "blocks",
        "guards",
        "metric",
        "champion_fault",
        "class_change",
    )
    return {key: gate[key] for key in keys}


def _opponent(order: JobContext, champion: int | None, challenger: int) -> tuple[LoadedVersion | None, str | None]:
    """Whom to judge against: the champion, or the newest other version that loads, and why not the champion.

    A damaged champion must not end all building; but a challenger that only beat another is for a person to promote.
    A champion of which there are only logged predictions is one without an estimator.
    """
    if champion is None:
        return None, None
    try:
        manifest = order.registry.manifest(order.model, champion)
        if manifest.is_logged:
            return LoadedVersion(champion, None, manifest.schema, manifest), None
        return order.load(champion), None
    except UNLOADABLE as error:
        raise_shortage(error)
        others = [version for version in order.registry.versions(order.model) if version not in (champion, challenger)]
        for other in reversed(others):
            with contextlib.suppress(*UNLOADABLE):
                return order.load(other), f"{_unloadable(champion, error)}, so it was judged against version {other}"
        return None, f"{_unloadable(champion, error)}, nor any other version, so it was judged against none"


def _unloadable(champion: int, error: Exception) -> str:
    return f"version {champion}, which serves, cannot be loaded ({error})"


def class_change(challenger: LoadedVersion, champion: LoadedVersion | None, rows: TrainingRows) -> str | None:
    """What the challenger knows that the champion does not, in words; None where both know the same classes."""
    known = (champion or challenger).schema.classes
    added = [name for name in challenger.schema.classes if name not in known]
    if not added:
        return None
    counts = [f"{name!r} ({int((rows.target == name).sum())} of the rows it was judged on)" for name in added]
    name = "class" if len(added) == 1 else "classes"
    return f"it adds the {name} {', '.join(counts)}, which changes what its predictions and scores mean"


def is_named(classes: tuple[str, ...], config: tuple[str, ...] | None) -> bool:
    """Whether the config names all classes: then a person has said yes to them already."""
    return config is not None and set(classes) <= set(config)


def _compare(
    order: JobContext,
    challenger: LoadedVersion,
    champion: LoadedVersion | None,
    rows: TrainingRows,
    weight: Numbers,
    found: Predictions,
    table: pa.Table,
    arguments: Arguments,
) -> Comparison:
    said = [(challenger, found)]
    if champion is not None:
        said.append((champion, _champion_predictions(champion, rows, table)))
    until = arguments.until
    metric, sides = compare(order.metric, rows, said)
    lost, look = [side.loss for side in sides], _look(challenger, until)
    guards: list[GateGuard] = []
    if champion is None:
        judged = _first(lost[0], weight)
    else:
        judged = _judge(order, lost, rows, weight, arguments.trigger, look)
        guards = _guards(order, challenger, champion, rows, weight, lost) if len(rows) else []
    decision, sentence = _apply_guards(judged, guards)
    if champion is not None and champion.manifest.is_logged:
        sentence = f"{sentence}; it is compared with what version {champion.version} logged for these rows"
    return Comparison(
        decision=decision,
        sentence=sentence,
        gain=judged.gain,
        lower=judged.lower,
        upper=judged.upper,
        rows=judged.rows,
        blocks=judged.blocks,
        guards=[guard.to_dict() for guard in guards],
        metric=metric,
        champion=None if champion is None else champion.version,
        champion_metrics={} if champion is None else _metrics(order, sides[1], rows, weight, metric),
        look=look,
        until=datetime.fromtimestamp(until, UTC).isoformat(),
        overdispersion=judged.overdispersion,
        loss_bound=_upper_bound(metric, lost[-1]),
        metrics=_metrics(order, sides[0], rows, weight, metric),
        segments=segment_qualities(rows, weight, lost, order.config.detect.segment_columns, order.config.block_seconds),
    )


def _champion_predictions(champion: LoadedVersion, rows: TrainingRows, table: pa.Table) -> Predictions:
    """What the champion says of the rows now, or said when they were live where there is only its log."""
    if not champion.manifest.is_logged:
        return predict_rows(champion, rows)
    logged = logged_predictions(table, champion.schema, scored=False)
    assert logged is not None  # rows without a prediction of its classes were left out
    return logged


def _judge(
    order: JobContext, lost: list[Numbers], rows: TrainingRows, weight: Numbers, trigger: str, look: int
) -> Judgement:
    promote, (challenger, champion) = order.config.promote, lost
    tolerance = max(promote.margin, TOLERATED * weighted_mean(champion, weight)) if trigger in NON_INFERIORITY else None
    return judge(
        challenger,
        champion,
        rows.at,
        weight=weight,
        margin=promote.margin,
        confidence=promote.confidence,
        min_rows=promote.min_labels,
        look=look,
        tolerance=tolerance,
        day=order.config.block_seconds,
    )


def _first(loss: Numbers, weight: Numbers) -> Judgement:
    mean = weighted_mean(loss, weight)
    sentence = (
        f"the first version: there is no champion to compare with; its loss is {mean:.4g} on {len(loss)} later rows"
    )
    nothing = float("nan")
    return Judgement("promote", sentence, nothing, nothing, nothing, len(loss), 0)


def _guards(
    order: JobContext,
    challenger: LoadedVersion,
    champion: LoadedVersion,
    rows: TrainingRows,
    weight: Numbers,
    lost: list[Numbers],
) -> list[GateGuard]:
    config = order.config
    segments = segment_guards(
        rows, weight, lost, config.detect.segment_columns, config.promote.confidence, config.block_seconds
    )
    if champion.manifest.is_logged:
        return segments  # nobody knows here how fast and how large it is
    sizes = tuple(
        artefact_bytes(order.places.version(order.model, manifest.version), manifest)
        for manifest in (challenger, champion)
    )
    return [*segments, *cost_guards(challenger, champion, rows, (sizes[0], sizes[1]))]


def _apply_guards(judged: Judgement, guards: list[GateGuard]) -> tuple[str, str]:
    broken = [guard for guard in guards if not guard.holds]
    if judged.decision != "promote" or not broken:
        return judged.decision, judged.sentence
    return (
        "reject",
        f"{judged.sentence}; refused all the same, because {'; and '.join(guard.sentence for guard in broken)}",
    )


def _look(challenger: LoadedVersion, until: float) -> int:
    """Which look at this pair it is; the same one again when the same job runs again after a crash.

    A judgement that had too few rows or days to bound the gain was no look: it spends nothing of the error.
    """
    before = challenger.manifest.gate
    if before is None:
        return 1
    again = before["until"] == datetime.fromtimestamp(until, UTC).isoformat()
    return int(before["look"]) + (0 if again or before["lower"] is None else 1)


def _upper_bound(metric: str, loss: Numbers) -> float:
    if metric == "error":
        return 1.0
    known = loss[np.isfinite(loss)]
    bound = float(np.quantile(known, _BOUND_AT)) if len(known) else 1.0
    return bound if bound > 0 else 1.0


def _metrics(
    order: JobContext, side: ComparedVersion, rows: TrainingRows, weight: Numbers, used: str
) -> dict[str, float]:
    return {"rows": 0.0} if len(rows) == 0 else measure(order, side.outcomes, side.loss, weight, used)
