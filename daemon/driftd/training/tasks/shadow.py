"""The `shadow` task: how the new version did on live rows against the old one, scored now on the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from driftd.errors import raise_shortage
from driftd.registry.artefact import ArtefactError
from driftd.registry.loaded import LoadedVersion
from driftd.registry.manifest import ManifestError
from driftd.training.compare import compare, logged_predictions, predict_rows
from driftd.training.job_context import JobContext
from driftd.training.snapshots import collected_rows
from driftd.training.tasks import TaskArguments
from driftd.training.training_rows import TrainingRows, learn_label_delay, rows_of
from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.probation import NOTABLE_HARM, Watch, watch

NARROW = ["driftd_prediction", "driftd_score"]
TOLERATED = 0.02  # of the old version's loss: harm that is no reason to roll back
UNWATCHED_AFTER = 10  # spans without enough labels, after which the version stays all the same


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The versions to compare, on the rows with `since <= at < until` (epoch seconds)."""

    new: int
    old: int
    since: float
    until: float
    until_refresh: bool = False  # the watch goes on until the next refresh: nothing is confirmed before


def run(arguments: Arguments) -> dict[str, object]:
    """Decide: roll_back, confirm or continue."""
    order = JobContext.of(arguments)
    since, until = arguments.since, arguments.until
    new, fault = _load(order, arguments.new)
    old, old_fault = _load(order, arguments.old)
    if new is None or old is None:
        return _without(order, arguments, fault, old_fault)
    probation, until_refresh = order.config.probation, arguments.until_refresh
    seen = _watch(order, new, old, since, until, tolerates=not until_refresh)
    if until_refresh and not seen.roll_back:
        decision, sentence = "continue", f"{seen.sentence}; the watch goes on until the next refresh"
    else:
        decision, sentence = conclude(seen, until - since, span=probation.span, min_labels=probation.min_labels)
    print(f"{decision}: {sentence}", flush=True)  # noqa: T201 - the log
    return {"decision": decision, "sentence": sentence, "labels": seen.labels, "wealth": seen.wealth, "harm": seen.harm}


def _load(order: JobContext, version: int) -> tuple[LoadedVersion | None, str]:
    try:
        return order.load(version), ""
    except (ManifestError, ArtefactError, OSError) as error:
        raise_shortage(error)
        return None, f"version {version} cannot be loaded: {error}"


def _without(order: JobContext, arguments: Arguments, fault: str, old_fault: str) -> dict[str, object]:
    """What follows where one of the two is damaged: back from a new one, on without an old one, in time.

    Raises ArtefactError when neither can be loaded: then nothing may be decided.
    """
    if fault and old_fault:
        raise ArtefactError(f"{fault}; {old_fault}")
    passed = arguments.until - arguments.since
    if fault:
        decision, sentence = "roll_back", f"{fault}; version {arguments.old} can"
    elif passed >= order.config.probation.span and not arguments.until_refresh:
        decision, sentence = "confirm", f"{old_fault}: there is nothing to go back to, the new version stays unwatched"
    else:
        decision, sentence = "continue", f"{old_fault}: the two cannot be compared"
    print(f"{decision}: {sentence}", flush=True)  # noqa: T201 - the log
    return {"decision": decision, "sentence": sentence, "labels": 0, "wealth": 1.0, "harm": 0.0}


def conclude(seen: Watch, passed: float, *, span: float, min_labels: int) -> tuple[str, str]:
    """What follows from a watch that has lasted `passed` seconds: the decision, and why in one sentence.

    A version is confirmed once the span and the labels are reached, or sooner where the bet could have seen harm of a
    tenth; without a label, never.
    """
    if seen.roll_back:
        return "roll_back", seen.sentence
    if seen.labels == 0:
        return "continue", f"{seen.sentence}: probation goes on until labels come"
    if passed >= span and seen.labels >= min_labels:
        return "confirm", f"{seen.sentence}; the span and the {min_labels} labels of probation are reached"
    if seen.is_telling and seen.labels >= min_labels:
        return "confirm", f"{seen.sentence}; harm of {NOTABLE_HARM:.0%} would have been seen by now"
    if passed >= UNWATCHED_AFTER * span:
        return "confirm", (
            f"only {seen.labels} of {min_labels} labels came in {UNWATCHED_AFTER} times the span of probation: "
            f"the version stays, but it was hardly watched ({seen.sentence})"
        )
    missing = f"{seen.labels} of {min_labels} labels, {passed / 3600:.1f} of {span / 3600:.1f} hours"
    return "continue", f"{seen.sentence}; probation goes on ({missing})"


def _watch(
    order: JobContext, new: LoadedVersion, old: LoadedVersion, since: float, until: float, *, tolerates: bool
) -> Watch:
    """The bet on live rows; of a refresh, whose version before stays warm anyway, no harm is tolerated."""
    gate = new.manifest.gate or {}
    with collected_rows(order.read_labelled(new.schema, since, until), new.schema, logged=True) as found:
        table, rows = found.read(NARROW), rows_of(found, new.schema)
        own = rows.predicted_by(new.version)
        table, rows = table.filter(pa.array(own)), rows.take(own)
        usable_at = _usable_at(rows, gate.get("mature_after"), until)
        usable = usable_at <= until
        table, rows, usable_at = table.filter(pa.array(usable)), rows.take(usable), usable_at[usable]
        if len(rows) == 0:
            return watch(np.empty(0), np.empty(0), np.empty(0))
        logged = logged_predictions(table, new.schema)
        metric = gate.get("metric") or order.metric  # `loss_bound` is of the gate's, and few rows may look otherwise
        _, sides = compare(metric, rows, [(new, logged or predict_rows(new, rows)), (old, predict_rows(old, rows))])
    came = np.argsort(usable_at, kind="stable")
    lost = [side.loss[came] for side in sides]
    harm = order.config.probation.tolerated_harm
    return watch(
        lost[0],
        lost[1],
        rows.at[came],
        bound=float(gate.get("loss_bound") or np.nanquantile(lost[1], 0.99) or 1.0),
        tolerated=harm if harm is not None else TOLERATED * float(np.nanmean(lost[1])) if tolerates else 0.0,
        overdispersion=float(gate.get("overdispersion") or 1.0),
        day=order.config.block_seconds,
    )


def _usable_at(rows: TrainingRows, after: float | None, until: float) -> Numbers:
    """When each row was of an age at which nearly all labels have come, and had its own: the order of the bet.

    Labels that come early are often of one class; a bet on them alone would judge a version by that class. Where the
    gate did not know how late labels come (`after` is None), the rows of the probation say so.
    """
    if not after:  # earlier versions wrote 0 where no time of a label was known
        after = learn_label_delay(rows, until).mature_age or 0.0
    return np.fmax(rows.label_at, rows.at + after)
