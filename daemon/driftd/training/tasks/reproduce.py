"""The `reproduce` task: build a version again from its lineage, in a folder of its own, and compare."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from driftd.config.trainer_schema import Command
from driftd.fsutil import sha256_of
from driftd.registry import Manifest, ManifestError
from driftd.registry.artefact import ArtefactError, store_estimator
from driftd.registry.loaded import PredictionError
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.compare import mean_loss, predict_pieces, predict_rows
from driftd.training.job_context import JobContext
from driftd.training.recipes import Cadence, rows_known, training_part
from driftd.training.rows_in_place import stored_rows_in_place
from driftd.training.snapshots import SnapshotError, read_snapshot
from driftd.training.tasks import TaskArguments
from driftd.training.tasks.train import fit_portion
from driftd.training.trainer_code import TrainerError, libraries, trainer_code
from driftd.training.training_rows import TrainingRows, TrainingWindow, label_weights, learn_label_delay, rows_of
from driftd_detectors.performance.label_delay import worth_weighing

SAME, DIFFERENT, CANNOT = "same", "different", "cannot"
_COMPARED = 1000  # of the rows that it was trained on, where a version has no hold-out
_RTOL, _ATOL = 1e-9, 1e-12  # of another machine's rounding


@dataclass(slots=True)
class Reproduction:
    """What came of it. `differs` names what is not as it was, among data, code, parameters and libraries."""

    outcome: str
    sentence: str
    differs: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)  # a sentence for each of the four
    figures: dict[str, Any] = field(default_factory=dict)


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The version to build again, and the folder to do it in."""

    version: int
    scratch: str


def run(arguments: Arguments) -> dict[str, object]:
    """Rebuild version `version` into the folder `scratch` and say how it compares with what is recorded."""
    order = JobContext.of(arguments)
    manifest = order.registry.manifest(order.model, arguments.version)
    return asdict(_reproduce(order, manifest, Path(arguments.scratch)))


def _reproduce(order: JobContext, manifest: Manifest, scratch: Path) -> Reproduction:
    name = f"{manifest.model}/{manifest.version}"
    if manifest.adopted is not None:
        source = manifest.adopted.source
        reason = f"it was adopted from {source} (SHA-256 {manifest.adopted.sha256[:12]}), and driftd did not train it"
        return Reproduction(CANNOT, f"{name} cannot be built again: {reason}", ["code"])
    recipe = _recipe(order, manifest)
    if recipe is None:
        reason = f"it was made by `{manifest.trainer.reference}`, which is not the command that the config names now"
        return Reproduction(CANNOT, f"{name} cannot be built again: {reason}", ["code"])
    compared = _Ingredients(order, manifest, recipe)
    try:
        code = compared.code()
        snapshot = read_snapshot(order.places, order.model, manifest.snapshot)
    except (TrainerError, SnapshotError) as error:
        what = "code" if isinstance(error, TrainerError) else "data"
        return Reproduction(CANNOT, f"{name} cannot be built again: {error}", [what], {what: str(error)})
    details = {"data": f"snapshot {manifest.snapshot[:12]} is whole", **code, **compared.others()}
    rows = rows_of(snapshot.rows, snapshot.schema)
    estimator = _fit(recipe, manifest, rows)
    artefact = store_estimator(estimator, scratch, allow_joblib=recipe.allow_joblib)
    finding = _compare(order, manifest, estimator, rows, sha256_of(scratch / artefact))
    finding.differs, finding.details = compared.differs, details
    finding.figures |= {"rows": manifest.data["rows"], "artefact": artefact}
    finding.sentence = f"{name} {finding.sentence}{_because(finding)}"
    return finding


def _recipe(order: JobContext, manifest: Manifest) -> TrainerSpec | None:
    """The recorded recipe; a command was recorded as text, so its words are those of the config where they agree."""
    trainer: str | tuple[str, ...] = manifest.trainer.reference
    configured = order.config.trainer
    if isinstance(configured, Command) and " ".join(configured.command) == manifest.trainer.reference:
        trainer = tuple(configured.command)
    elif " " in manifest.trainer.reference or ":" not in manifest.trainer.reference:
        return None
    sample = manifest.data.get("sample")
    most = sys.maxsize if sample is None else int(sample["most"])
    return TrainerSpec(
        trainer,
        manifest.seed,
        order.metric,
        manifest.parameters,
        order.config.allow_joblib,
        most,
        stored_rows_in_place(manifest),
    )


class _Ingredients:
    """What the version was made of, beside what there is now."""

    def __init__(self, order: JobContext, manifest: Manifest, recipe: TrainerSpec) -> None:
        self._order = order
        self._recorded = manifest
        self._recipe = recipe
        self.differs: list[str] = []

    def code(self) -> dict[str, str]:
        """How the trainer's source compares. Raises TrainerError when there is none."""
        recorded = self._recorded.trainer
        now = trainer_code(
            self._recipe.trainer if isinstance(self._recipe.trainer, str) else list(self._recipe.trainer)
        )
        if now.fingerprint == recorded.fingerprint:
            return {"code": f"the source of {recorded.reference} is the same{self._weighed_otherwise()}"}
        self.differs.append("code")
        commit = (
            f"; it was commit {recorded.commit[:12]}{' with changes' if recorded.dirty else ''}"
            if recorded.commit
            else ""
        )
        return {"code": f"the source of {recorded.reference} has changed since{commit}"}

    def _weighed_otherwise(self) -> str:
        """Versions of before `label_delay` was recorded weighted late labels a little differently; that is told."""
        data = self._recorded.data
        if not data["weighted_for_late_labels"] or "label_delay" in data:
            return ""
        self.differs.append("code")
        return ", but an earlier driftd weighted its rows for late labels, in a way that differs a little"

    def others(self) -> dict[str, str]:
        """How the parameters and the libraries compare."""
        return {"parameters": self._parameters(), "libraries": self._libraries()}

    def _parameters(self) -> str:
        """The recorded ones are used, so these never make a difference; that the config has others is worth knowing."""
        if dict(self._recorded.parameters) == dict(self._order.config.parameters):
            return "those of the config, as recorded"
        return f"as recorded ({dict(self._recorded.parameters)}); the config has others now"

    def _libraries(self) -> str:
        recorded, now = dict(self._recorded.libraries), libraries(self._recipe.trainer, self._recorded.libraries)
        changed = [name for name in sorted(recorded | now) if recorded.get(name) != now.get(name)]
        if not changed:
            return "the same"
        self.differs.append("libraries")
        return ", ".join(f"{name} {now.get(name) or 'none'} (was {recorded.get(name) or 'none'})" for name in changed)


def _fit_recipe(trainer: TrainerSpec, manifest: Manifest, rows: TrainingRows) -> Any:
    """Train as a refresh did: by its recipe, on what was known when it was built, in windows as they were then."""
    refresh = manifest.data["refresh"]
    cadence = Cadence(refresh["window_seconds"], refresh["window_rows"], int(refresh["every"]))
    known = rows_known(rows, float(refresh["until"]), cadence)
    part = training_part(str(manifest.data["chosen"]), known, cadence, manifest.data["change_at"])
    assert part is not None  # it was built, and the rows are those of its snapshot
    return fit(trainer, known.rows.take(slice(part.start, part.end)), part.weight)


def _fit(recipe: TrainerSpec, manifest: Manifest, rows: TrainingRows) -> Any:
    """Train as `train` did in the end: on the recorded part of the rows, weighted as at that time."""
    data = manifest.data
    if "refresh" in data:
        return _fit_recipe(recipe, manifest, rows)
    training = rows.take(slice(None, int(data["training_rows"])))
    weights = label_weights(rows, learn_label_delay(rows, manifest.created_at), manifest.created_at)
    late = worth_weighing(weights[: len(training)]) if data["weighted_for_late_labels"] else None
    portion = TrainingWindow(str(data["chosen"]), int(data["portion"]["start"]), data["portion"]["pivot"])
    return fit_portion(recipe, training, late, portion)


def _compare(order: JobContext, manifest: Manifest, estimator: Any, rows: TrainingRows, digest: str) -> Reproduction:
    recorded = manifest.files[manifest.artefact]
    figures: dict[str, Any] = {"sha256": digest, "sha256_recorded": recorded}
    if digest == recorded:
        return Reproduction(SAME, "is reproduced byte for byte", figures=figures)
    data = manifest.data
    start, count = int(data["training_rows"]), data.get("held_out_rows")
    newest = slice(max(0, start - _COMPARED), start)  # a refresh holds nothing out
    held_out = rows.take(newest if count is None else slice(start, start + int(count)))
    try:
        then = predict_rows(order.load(manifest.version), held_out)
    except (ManifestError, ArtefactError, PredictionError) as error:
        return Reproduction(DIFFERENT, f"differs, and what it was cannot be loaded ({error})", figures=figures)
    now = predict_pieces(estimator, held_out)
    wrong = ~(_close(then.prediction, now.prediction) & _close(then.score, now.score))
    figures |= {
        "held_out_rows": len(held_out),
        "predictions_that_differ": int(wrong.sum()),
        "loss": mean_loss(now, held_out, order.metric),
        "loss_recorded": mean_loss(then, held_out, order.metric),
    }
    counted = f"{int(wrong.sum())} of {len(held_out)} hold-out predictions"
    if not wrong.any():
        sentence = f"is reproduced: other bytes, but the same prediction for each of {len(held_out)} hold-out rows"
        return Reproduction(SAME, sentence, figures=figures)
    losses = f"loss {figures['loss']:.6g} instead of {figures['loss_recorded']:.6g}"
    return Reproduction(DIFFERENT, f"is not reproduced: {counted} differ, {losses}", figures=figures)


def _because(finding: Reproduction) -> str:
    if finding.outcome == SAME:
        return f", although {' and '.join(finding.differs)} changed" if finding.differs else ""
    if finding.differs:
        return f"; what differs: {' and '.join(finding.differs)}"
    return "; data, code, parameters and libraries are the same, so the trainer does not repeat itself (its seed?)"


def _close(first: Any, other: Any) -> Any:
    return np.isclose(first, other, rtol=_RTOL, atol=_ATOL, equal_nan=True)
