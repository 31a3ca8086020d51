"""A model card (Mitchell et al. 2019) of one version, from what driftd knows and what the config says in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from driftd.config.model_schema import ModelConfig
from driftd.formatting import json_safe_object
from driftd.registry import Manifest
from driftd.registry.version_quality import SegmentQuality
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm, StoredCheck, StoredTransition
from driftd.views.lineage import DAEMON, judged_segments

FORMAT = "driftd-model-card/1"
FEW_LABELS = 500  # rows of a segment below which its figures are said to be weak
MUCH_UNLABELLED = 0.2  # share of the predictions
_ALARMS = 200


class ModelDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What the version is, and who made it from what."""

    name: str
    version: int
    created_at: str  # ISO 8601, like each time of a card
    task: str
    target: str
    classes: list[str]
    features: dict[str, str]  # name and kind
    description: str
    owners: list[str]
    artefact: str
    artefact_sha256: str | None
    trainer: str
    trainer_fingerprint: str
    commit: str | None
    parameters: dict[str, object]
    seed: int
    libraries: dict[str, str]
    parent: int | None
    trigger: str
    reason: str
    adopted_from: str | None  # driftd did not train it


class IntendedUse(msgspec.Struct, frozen=True, kw_only=True):
    """In the words of the config; empty where it says nothing."""

    intended_use: str
    out_of_scope: str


class TrainingData(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that it learned from."""

    snapshot: str
    rows: int | None
    sampled: int | None  # of them, those that the trainer got
    first_at: str | None
    last_at: str | None
    chosen: str | None  # which part of the snapshot
    weighted_for_late_labels: bool | None
    source: str  # kind of the source


class EvaluationData(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that the gate judged by: later than those that it learned from."""

    rows: int | None
    blocks: int | None  # of whole days
    known_until: str | None


class Quantities(msgspec.Struct, frozen=True, kw_only=True):
    """How good it is on the evaluation data; lower losses are better, intervals are of 95 % over whole days."""

    metric: str | None
    metrics: dict[str, object]
    decision: str | None
    sentence: str | None
    compared_with: int | None
    gain: float | None
    gain_lower: float | None
    gain_upper: float | None
    segments: list[SegmentQuality]  # all rows first; `other_loss` is that of the version compared with


class DriftAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that was raised while it served."""

    id: int
    at: str
    kind: str
    subject: str
    sentence: str
    is_open: bool


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about it; `actor` is `driftd` where no person did."""

    id: int
    at: str
    event: str
    reason: str
    actor: str


class LiveQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The newest evaluation of its live predictions."""

    at: str
    loss: float | None
    lower: float | None
    upper: float | None
    baseline: float | None
    labels: float | None
    unlabelled_share: float | None


class Operations(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it in service."""

    live: LiveQuality | None
    alarms: list[DriftAlarm]
    decisions: list[Decision]
    approvals: list[Decision]  # of people


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The sections of Mitchell et al., "Model Cards for Model Reporting" (2019), and what became of it in service."""

    format: str
    made_at: str
    model_details: ModelDetails
    intended_use: IntendedUse
    factors: list[str]  # the columns whose values are segments
    evaluation_data: EvaluationData
    training_data: TrainingData
    quantitative_analyses: Quantities
    ethical_considerations: str
    caveats_and_recommendations: list[str]
    operations: Operations


def make_card(reader: StateReader, manifest: Manifest, config: ModelConfig, now: float) -> ModelCard:
    """Everything that is known of a version at a time (epoch seconds)."""
    gate, data, words = manifest.gate or {}, manifest.data, config.card
    segments, metric = judged_segments(manifest)
    operations = _operations(reader, manifest)
    until = gate.get("until")
    return ModelCard(
        format=FORMAT,
        made_at=_iso(now),
        model_details=_details(manifest, config),
        intended_use=IntendedUse(intended_use=words.intended_use, out_of_scope=words.out_of_scope),
        factors=list(config.detect.segment_columns),
        evaluation_data=EvaluationData(
            rows=gate.get("rows"), blocks=gate.get("blocks"), known_until=None if until is None else str(until)
        ),
        training_data=TrainingData(
            snapshot=manifest.snapshot,
            rows=data.get("rows"),
            sampled=(data.get("sample") or {}).get("rows"),
            first_at=_iso_or_none(data.get("trained_from")),
            last_at=_iso_or_none(data.get("last_at")),
            chosen=data.get("chosen"),
            weighted_for_late_labels=data.get("weighted_for_late_labels"),
            source=str(config.source.kind),
        ),
        quantitative_analyses=Quantities(
            metric=metric or gate.get("metric"),
            metrics=json_safe_object(dict(manifest.metrics)),
            decision=gate.get("decision"),
            sentence=gate.get("sentence"),
            compared_with=gate.get("champion"),
            gain=gate.get("gain"),
            gain_lower=gate.get("lower"),
            gain_upper=gate.get("upper"),
            segments=segments,
        ),
        ethical_considerations=words.ethical_considerations,
        caveats_and_recommendations=[*words.caveats, *_caveats(manifest, segments, operations, config)],
        operations=operations,
    )


def _details(manifest: Manifest, config: ModelConfig) -> ModelDetails:
    schema, trainer = manifest.schema, manifest.trainer
    return ModelDetails(
        name=manifest.model,
        version=manifest.version,
        created_at=_iso(manifest.created_at),
        task=str(schema.task),
        target=schema.target,
        classes=list(schema.classes),
        features={feature.name: str(feature.kind) for feature in schema.features},
        description=config.card.description,
        owners=list(config.card.owners),
        artefact=manifest.artefact,
        artefact_sha256=manifest.files.get(manifest.artefact),
        trainer=trainer.reference,
        trainer_fingerprint=trainer.fingerprint,
        commit=trainer.commit,
        parameters=json_safe_object(dict(manifest.parameters)),
        seed=manifest.seed,
        libraries=dict(manifest.libraries),
        parent=manifest.parent,
        trigger=manifest.trigger,
        reason=manifest.reason,
        adopted_from=None if manifest.adopted is None else manifest.adopted.source,
    )


def _operations(reader: StateReader, manifest: Manifest) -> Operations:
    model, version = manifest.model, manifest.version
    alarms = [alarm for alarm in reader.alarms(model, limit=_ALARMS) if alarm.version == version]
    lines = [line for line in reader.decisions_of(model) if line.decision_figures.version == version]
    decisions = [_decision(line) for line in lines]
    last = reader.last_check(model, "labels", version)
    return Operations(
        live=None if last is None else _live(last),
        alarms=[_alarm(alarm) for alarm in alarms],
        decisions=decisions,
        approvals=[line for line in decisions if line.actor != DAEMON],
    )


def _live(check: StoredCheck) -> LiveQuality:
    figures = check.figures
    coverage = figures.get("coverage")
    return LiveQuality(
        at=_iso(check.at),
        loss=figures.get("loss"),
        lower=figures.get("low"),
        upper=figures.get("high"),
        baseline=figures.get("baseline"),
        labels=figures.get("labels"),
        unlabelled_share=None if coverage is None else max(0.0, 1.0 - coverage),
    )


def _alarm(alarm: StoredAlarm) -> DriftAlarm:
    return DriftAlarm(
        id=alarm.id,
        at=_iso(alarm.at),
        kind=alarm.kind,
        subject=alarm.subject,
        sentence=alarm.sentence,
        is_open=alarm.cleared_at is None and alarm.absorbed_at is None,
    )


def _decision(line: StoredTransition) -> Decision:
    return Decision(id=line.id, at=_iso(line.at), event=str(line.event), reason=line.reason, actor=line.actor)


def _caveats(
    manifest: Manifest, segments: Sequence[SegmentQuality], operations: Operations, config: ModelConfig
) -> list[str]:
    """The limitations that are known."""
    found = []
    gate, live = manifest.gate or {}, operations.live
    if not gate:
        found.append("No gate has judged this version: nothing is known of its quality on later rows.")
    elif gate.get("champion") is None:
        found.append("It was the first version: it was compared with no other.")
    if manifest.is_logged:
        found.append("There are only logged predictions of it: driftd cannot score or rebuild it.")
    if live is not None and live.unlabelled_share is not None and live.unlabelled_share > MUCH_UNLABELLED:
        found.append(f"{live.unlabelled_share:.0%} of its newest evaluated predictions have no label.")
    if live is None:
        found.append("No cohort of labels of its live predictions was evaluated yet.")
    few = [each.segment for each in segments if each.segment and (each.rows < FEW_LABELS or each.lower is None)]
    if few:
        found.append(f"Segments with fewer than {FEW_LABELS} labelled rows, or of fewer than 3 days: {', '.join(few)}.")
    if not config.detect.segment_columns:
        found.append("The config names no segments, so differences between groups were not looked at.")
    found += [f"An alarm stands since {alarm.at}: {alarm.sentence}" for alarm in operations.alarms if alarm.is_open]
    return found


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _iso_or_none(at: object) -> str | None:
    return _iso(float(at)) if isinstance(at, int | float) else None
