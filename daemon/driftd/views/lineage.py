"""What lineage answers: which version served when, how two versions differ, what became of one prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from driftd.config.model_schema import ModelConfig
from driftd.decisions import meaning_of
from driftd.events import Event
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest
from driftd.registry.trainer_source import CodeChange, diff_sources, read_source
from driftd.registry.version_quality import MeasuredDiff, SegmentQuality
from driftd.sources.protocol import WindowSpec, window_at, window_index
from driftd.store.events.reader import EventReader
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredTransition
from driftd_detectors.columns import Coded, Column, Numbers, Outcomes

_BEGINS = frozenset(
    {str(Event.ADOPTED), str(Event.RESTORED), *(str(event) for event in Event if meaning_of(event).swap is not None)}
)
_STARTS = frozenset({Event.SWAP_STARTED, Event.ROLLBACK_STARTED, Event.PIN_STARTED, Event.HANDED_OVER})
WHOLE = 1e6  # figures from here on are told to the unit: epoch seconds would lose their hours
DAEMON = "driftd"  # the actor of what nobody asked for


class ServedAt(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of a model served at a time; None before the first one came under watch."""

    model: str
    at: float
    version: int | None
    since: float | None = None
    until: float | None = None  # when the next one began to serve; None: it still serves
    decision: int | None = None  # by which it began to serve; `driftd explain` tells it
    reason: str = ""
    approved_by: str | None = None  # the person who let it serve; None: the gate did, or nobody had to
    trigger: str = ""
    snapshot: str = ""
    trainer: str = ""


def served_at(reader: StateReader, registry: Registry, model: str, at: float) -> ServedAt:
    """Which version served at a time (epoch seconds), by the history of its decisions."""
    decisions = reader.decisions_of(model)
    lines = [line for line in decisions if line.event in _BEGINS and line.decision_figures.version]
    begun = [line for line in lines if line.at <= at]
    if not begun:
        return ServedAt(model=model, at=at, version=None)
    line, version = begun[-1], begun[-1].decision_figures.version
    later = [other for other in lines if other.id > line.id and other.decision_figures.version != version]
    served = ServedAt(
        model=model,
        at=at,
        version=version,
        since=line.at,
        until=later[0].at if later else None,
        decision=line.id,
        reason=line.reason,
        approved_by=_approver(decisions, line),
    )
    try:
        assert version is not None  # `lines` have one
        manifest = registry.manifest(model, version)
    except ManifestError:
        return served  # retention took it; its manifest lies below `retired/`
    return msgspec.structs.replace(
        served, trigger=manifest.trigger, snapshot=manifest.snapshot, trainer=manifest.trainer.reference
    )


def _approver(decisions: Sequence[StoredTransition], line: StoredTransition) -> str | None:
    """The person who had a version served: whoever let its swap begin, unless the daemon did."""
    version = line.decision_figures.version
    begun = [
        other
        for other in decisions
        if other.id <= line.id and other.event in _STARTS and other.decision_figures.version == version
    ]
    actor = (begun[-1] if begun else line).actor
    return None if actor == DAEMON else actor


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not alike in two versions; None where a version lacks it."""

    part: str  # data | code | parameters | schema | quality
    name: str
    a: str | None
    b: str | None


class VersionDiff(msgspec.Struct, frozen=True, kw_only=True):
    """How version `b` differs from version `a`."""

    model: str
    a: int
    b: int
    differences: list[Difference]
    code: list[CodeChange] = []  # files of the trainer, where both versions keep its source
    code_note: str = ""  # what of the code cannot be compared, and why
    judged: list[SegmentQuality] = []  # as the gate judged `b` beside `a`, by segment; empty where it did not
    judged_metric: str | None = None
    measured: MeasuredDiff | None = None  # what a job measured now; None: nobody asked for it


def diff_versions(a: Manifest, b: Manifest) -> VersionDiff:
    """Compare the lineages of two versions of a model: data, code, parameters, schema, quality."""
    found = [
        Difference(part, name, _text(one_side.get(name)), _text(other_side.get(name)))
        for part, one_side, other_side in zip(_PARTS, _parts(a), _parts(b), strict=True)
        for name in dict.fromkeys((*one_side, *other_side))
        if one_side.get(name) != other_side.get(name)
    ]
    judged, metric = judged_segments(b) if (b.gate or {}).get("champion") == a.version else ([], None)
    return VersionDiff(model=a.model, a=a.version, b=b.version, differences=found, judged=judged, judged_metric=metric)


def judged_segments(manifest: Manifest) -> tuple[list[SegmentQuality], str | None]:
    """The quality of a version by segment as the gate judged it, and the metric of its losses; older ones keep none."""
    gate = manifest.gate or {}
    try:
        return msgspec.convert(gate.get("segments", []), list[SegmentQuality]), gate.get("metric")
    except msgspec.ValidationError:  # of another driftd
        return [], None


def diff_code(diff: VersionDiff, places: Places, a: Manifest, b: Manifest) -> VersionDiff:
    """The diff with the files of the trainer that differ, as far as both versions keep its source."""
    if a.trainer.fingerprint == b.trainer.fingerprint:
        return diff
    try:
        kept = [read_source(places.version(side.model, side.version), side) for side in (a, b)]
    except ManifestError as error:
        return msgspec.structs.replace(diff, code_note=f"the source that is kept cannot be read: {error}")
    missing = [side for side, source in zip((a, b), kept, strict=True) if source is None]
    if kept[0] is None or kept[1] is None:
        return msgspec.structs.replace(diff, code_note="; ".join(map(_without_source, missing)))
    names = (f"version {a.version}", f"version {b.version}")
    return msgspec.structs.replace(diff, code=diff_sources(kept[0], kept[1], names))


def _without_source(manifest: Manifest) -> str:
    trainer = manifest.trainer
    commit = f" and commit {trainer.commit[:12]}{' with changes' if trainer.dirty else ''}" if trainer.commit else ""
    return f"version {manifest.version} keeps no source of its trainer: its fingerprint{commit} alone tell the code"


_PARTS = ("data", "code", "parameters", "schema", "quality")


def _parts(manifest: Manifest) -> Iterator[Mapping[str, object]]:
    """What is compared of a version, part by part."""
    settings = manifest.data.get("settings", {})
    data = {name: value for name, value in manifest.data.items() if name not in {"tried", "settings"}}
    yield {"snapshot": manifest.snapshot, **_flat(data)}
    libraries = {f"library {name}": version for name, version in manifest.libraries.items()}
    trainer = manifest.trainer
    code = {"trainer": trainer.reference, "fingerprint": trainer.fingerprint, "lock file": trainer.lock}
    yield {**code, "artefact": manifest.artefact, **libraries}
    chosen = {f"retrain.data.{name}": value for name, value in settings.get("data", {}).items()}
    yield {"seed": manifest.seed, **_flat(manifest.parameters), **chosen}
    features = {f"feature {feature.name}": str(feature.kind) for feature in manifest.schema.features}
    yield {"task": str(manifest.schema.task), "classes": ", ".join(manifest.schema.classes), **features}
    gate = {f"gate {name}": (manifest.gate or {}).get(name) for name in ("decision", "gain", "lower", "upper")}
    yield {"trigger": manifest.trigger, **manifest.metrics, **gate}


def _flat(values: Mapping[str, object], before: str = "") -> dict[str, object]:
    """What is nested in values under one name each: `refresh.rows`."""
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) and value else {f"{before}{name}": value}
    return found


def _text(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if abs(value) < WHOLE else f"{value:.0f}"


class SentLabel(msgspec.Struct, frozen=True):
    """A label that came for a prediction; the newest `at` counts, then the newest arrival."""

    label: str | float
    at: float
    received_at: float


class PredictionFate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one prediction: who made it, from what, what was true, and in which window it was counted."""

    model: str
    id: str
    at: float
    received_at: float
    version: int
    prediction: str | float
    score: float | None
    features: dict[str, str | float | None]
    labels: list[SentLabel]
    window: int
    window_start: float | None = None
    verdict: str | None = None  # of the check of the window; None: it was not checked yet
    reason: str = ""
    labels_verdict: str | None = None  # of the check of its labels


def fate_of(
    reader: StateReader, events: EventReader, config: ModelConfig, model: str, prediction_id: str
) -> PredictionFate | None:
    """What is known of a prediction in the embedded store; None where there is none of this id."""
    found = events.find(prediction_id)
    if found is None:
        return None
    seq, received_at = found
    rows = events.rows(np.array([seq], dtype=np.int64), np.inf)
    outcomes, columns = rows.outcomes, events.features(rows)
    at, index = float(outcomes.at[0]), _window_of(config.window, seq, float(outcomes.at[0]))
    check, cohort = reader.check(model, "window", index), reader.check(model, "labels", index)
    return PredictionFate(
        model=model,
        id=prediction_id,
        at=at,
        received_at=received_at,
        version=int(outcomes.version[0]),
        prediction=_spoken(outcomes, outcomes.prediction),
        score=_number(outcomes.score),
        features={name: _value(column) for name, column in columns.values.items()},
        labels=[SentLabel(*label) for label in events.labels_sent(prediction_id)],
        window=index,
        window_start=window_at(config.window, index).start if config.window.every is not None else None,
        verdict=None if check is None else str(check.verdict),
        reason="" if check is None else check.reason,
        labels_verdict=None if cohort is None else str(cohort.verdict),
    )


def _spoken(outcomes: Outcomes, values: Numbers) -> str | float:
    """What was predicted of the first row, as its class is called."""
    if not outcomes.classes:
        return float(values[0])
    texts = outcomes.texts(values)
    return texts.labels[int(texts.codes[0])]


def _number(values: Numbers) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def _value(column: Column) -> str | float | None:
    """The first value of a column; None where it is missing."""
    if not isinstance(column, Coded):
        return _number(column)
    code = int(column.codes[0])
    return None if code < 0 else column.labels[code]


def _window_of(spec: WindowSpec, seq: int, at: float) -> int:
    """The window that counts a row."""
    if spec.every is not None:
        return window_index(at, spec.every)
    return (seq - 1) // (spec.rows or 1)


class Descent(msgspec.Struct, frozen=True, kw_only=True):
    """A version below the one that it was built to replace."""

    version: int
    depth: int
    status: str
    serves: bool
    trigger: str
    created_at: float


def descend(manifests: Sequence[Manifest], served: int | None) -> list[Descent]:
    """The versions as a tree, each after its parent, children in their order."""
    known = {manifest.version for manifest in manifests}
    children: dict[int | None, list[Manifest]] = {}
    for manifest in manifests:
        children.setdefault(manifest.parent if manifest.parent in known else None, []).append(manifest)

    def walk(parent: int | None, depth: int) -> Iterator[Descent]:
        for manifest in children.get(parent, []):
            yield Descent(
                version=manifest.version,
                depth=depth,
                status=manifest.status,
                serves=manifest.version == served,
                trigger=manifest.trigger,
                created_at=manifest.created_at,
            )
            yield from walk(manifest.version, depth + 1)

    return list(walk(None, 0))
