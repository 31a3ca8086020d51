"""Conditions that need attention besides the evidence, by metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from driftd.formatting import format_time
from driftd.observe import alert_rule, families, model_families
from driftd.observe.metric_family import Family
from driftd.records import ActionKind
from driftd.store.cutoff import DISAGREES

DOCTOR = "driftd doctor"
FAILED_OFTEN = 3  # tries: one that fails is tried again
BACKUP_LATE = 36 * 3600.0  # seconds: backups are daily
RECEIVER_LATE = 600.0
GIB = 1 << 30


class ExportedValues(Protocol):
    """The daemon's metrics, as far as they can be seen from here."""

    def value(self, family: Family, *labels: str) -> float | None:
        """The value of one series; None where there is none."""
        ...

    def owners(self, family: Family) -> Iterable[str]:
        """The models or receivers that have series of this family."""
        ...


@dataclass(frozen=True, slots=True)
class ActiveCondition:
    """One condition that an alert fires on. `command` is what a person would type first."""

    alert: str  # its name in `observe.alerts`
    sentence: str
    detail: str = ""
    command: str = DOCTOR


@dataclass(frozen=True, slots=True)
class ActiveConditions:
    """Everything that presses at one moment, the most urgent first."""

    host: tuple[ActiveCondition, ...] = ()
    of: Mapping[str, tuple[ActiveCondition, ...]] = field(default_factory=dict)


def pressings(metrics: ExportedValues, models: Iterable[str], now: float) -> ActiveConditions:
    """What presses now, of the host and of each model."""
    found = {model: tuple(of_model(metrics, model, now)) for model in models}
    return ActiveConditions(
        tuple(of_host(metrics, now)), {model: conditions for model, conditions in found.items() if conditions}
    )


def with_source_faults(found: ActiveConditions, faults: Mapping[str, str]) -> ActiveConditions:
    """The same, where a source that is faulty says why: `faults` has a sentence of each that the daemon knows."""
    conditions_of = {
        model: tuple(
            replace(condition, sentence=f"{condition.sentence.partition(':')[0]}: {_end_sentence(faults[model])}")
            if condition.alert == "DriftdSourceFaults" and model in faults
            else condition
            for condition in conditions
        )
        for model, conditions in found.of.items()
    }
    return replace(found, of=conditions_of)


def _end_sentence(said: str) -> str:
    """With a full stop, unless it is a question."""
    return said if said.endswith((".", "?")) else f"{said}."


def of_model(metrics: ExportedValues, model: str, now: float) -> Iterator[ActiveCondition]:
    """What presses of one model, the most urgent first."""
    values = _Model(lambda family, *labels: metrics.value(family, model, *labels), model, now)
    first = (
        _damage,
        _not_watched,
        _windows_ahead,
        _clock_doubted,
        _not_asked,
        _step_fails,
        _missing_checks,
        _neglected_alarm,
        _rollback,
        _taken_back,
    )
    for look in (*first, _no_prediction, _unreadable, _no_label, _not_evaluated, _refusals, _deletion_held):
        pressing = look(values)
        if pressing is not None:
            yield pressing


def of_host(metrics: ExportedValues, now: float) -> Iterator[ActiveCondition]:
    """What presses of the machine and of what is told outside, not of a model."""
    for look in (_standstill, _little_room, _disk_full, _no_backup):
        pressing = look(metrics, now)
        if pressing is not None:
            yield pressing
    for receiver in metrics.owners(families.NOTIFICATIONS_PENDING):
        pending = metrics.value(families.NOTIFICATIONS_PENDING, receiver) or 0
        failed = metrics.value(families.NOTIFICATIONS_FAILED, receiver) or 0
        last = metrics.value(families.NOTIFIED_AT, receiver) or metrics.value(families.STARTED) or now
        if pending and failed >= FAILED_OFTEN and now - last > RECEIVER_LATE:
            sentence = f"The receiver {receiver} is not told what is decided: {failed:.0f} tries have failed."
            yield ActiveCondition("DriftdNotificationsFail", sentence, "", f"driftd notify-test {receiver}")


@dataclass(frozen=True, slots=True)
class _Model:
    """The series of one model."""

    value: Callable[..., float | None]
    name: str
    now: float

    def number(self, family: Family, *labels: str) -> float:
        """The value of a series, 0 where there is none."""
        return self.value(family, *labels) or 0.0

    def is_on(self, family: Family, *labels: str) -> bool:
        """Whether a gauge stands at 1."""
        return self.value(family, *labels) == 1

    def is_past(self, moment: float | None, seconds: float) -> bool:
        """Whether a moment is known and lies so far back."""
        return moment is not None and self.now - moment > seconds


def _damage(model: _Model) -> ActiveCondition | None:
    if model.is_on(families.EVENTS_DAMAGED):
        return ActiveCondition("DriftdDamagedDatabase", "Its event store is damaged: no events are read.")
    if model.is_on(families.VERSION_DAMAGED):
        served = model.number(model_families.SERVED)
        detail = "It serves only where it is in memory: a process that starts has none to load."
        return ActiveCondition(
            "DriftdDamagedVersion", f"The files of version {served:.0f}, which serves, are damaged.", detail
        )
    return None


def _not_watched(model: _Model) -> ActiveCondition | None:
    if model.value(model_families.WATCHED) != 0:
        return None
    detail = "Its version, its reference, its evidence or its source cannot be opened."
    return ActiveCondition("DriftdModelNotWatched", "It is in the config and is not watched.", detail)


def _step_fails(model: _Model) -> ActiveCondition | None:
    if not model.is_on(model_families.STEP_FAILING) or not model.is_on(model_families.WATCHED):
        return None
    detail = "Its source, its state or its registry cannot be read or written; each round tries again."
    return ActiveCondition("DriftdModelStepFails", "Its last round failed as a whole.", detail)


def _not_asked(model: _Model) -> ActiveCondition | None:
    served, pinned = model.value(model_families.SERVED), model.value(model_families.ASKED)
    swaps = model.number(families.RUNNING, "swap") + model.number(families.WAITING, "swap")
    if served is None or pinned is None or served == pinned or swaps:
        return None
    sentence = f"Version {served:.0f} serves, but version {pinned:.0f} should."
    return ActiveCondition(
        "DriftdServedVersionNotAsked", sentence, "It cannot be loaded, is gone, or the link was changed."
    )


def _missing_checks(model: _Model) -> ActiveCondition | None:
    if model.is_on(model_families.PHASE, "paused"):
        return None
    every, last = model.value(model_families.WINDOW_SECONDS), model.value(model_families.CHECKED_AT, "window")
    if every is None or (not every and not model.number(model_families.BEHIND)):
        return None
    began = (
        model.value(model_families.SWAPPED_AT) if model.value(model_families.NEWEST_PREDICTION) is not None else None
    )
    if not model.is_past(last if last is not None else began, alert_rule.GRACE + alert_rule.WINDOWS * every):
        return None
    sentence = (
        f"No window was checked since {format_time(last)}." if last is not None else "No window was ever checked."
    )
    return ActiveCondition(
        "DriftdNoCheckSucceeded", sentence, "Its source cannot be read, its checks fail, or the daemon hangs."
    )


def _neglected_alarm(model: _Model) -> ActiveCondition | None:
    if not model.is_on(model_families.UNATTENDED):
        return None
    kinds = ("performance", "harm")
    since = min((at for at in (model.value(model_families.ALARM_SINCE, kind) for kind in kinds) if at), default=None)
    sentence = f"Performance is too low since {format_time(since)}, and no build for it is under way."
    detail = "No build could start, or none was better."
    return ActiveCondition("DriftdAlarmUnattended", sentence, detail, f"driftd status --model {model.name}")


def _rollback(model: _Model) -> ActiveCondition | None:
    refused, done = (model.value(model_families.ROLLED_BACK_AT, outcome) for outcome in ("refused", "done"))
    served, command = model.number(model_families.SERVED), f"driftd history {model.name}"
    if refused is not None and not model.is_past(refused, alert_rule.RECENT):
        sentence = f"A rollback failed at {format_time(refused)}; version {served:.0f} still serves."
        return ActiveCondition(
            "DriftdRollbackRefused", sentence, "The version to go back to cannot be loaded.", command
        )
    if done is not None and not model.is_past(done, alert_rule.RECENT):
        sentence = f"Rolled back to version {served:.0f} at {format_time(done)}."
        return ActiveCondition("DriftdRolledBack", sentence, "See why before the next build.", command)
    return None


def _taken_back(model: _Model) -> ActiveCondition | None:
    at = model.value(model_families.TAKEN_BACK_AT)
    if at is None or model.is_past(at, alert_rule.RECENT):
        return None
    sentence = (
        f"A hand-over was taken back at {format_time(at)}; version {model.number(model_families.SERVED):.0f} stays."
    )
    detail = "Nobody confirmed in time that the system that serves has taken the version up."
    return ActiveCondition("DriftdHandOverTakenBack", sentence, detail, f"driftd history {model.name}")


def _no_prediction(model: _Model) -> ActiveCondition | None:
    newest, every = model.value(model_families.NEWEST_PREDICTION), model.value(model_families.WINDOW_SECONDS)
    since = newest if newest is not None else model.value(model_families.SWAPPED_AT)
    if every is None or not model.is_past(since, alert_rule.silent_after(every)):
        return None
    sentence = f"No prediction came since {format_time(since)}."
    detail = "The application makes none, does not log them, or logs elsewhere."
    if newest is not None and model.now - newest > DISAGREES and not model.is_on(model_families.CLOCK_DOUBTED):
        sentence = f"All predictions are history: the newest is of {format_time(newest)}."
        detail = "They are months older than the watch over this model. What follows is checked once new ones come."
    return ActiveCondition("DriftdPredictionFeedSilent", sentence, detail)


def _unreadable(model: _Model) -> ActiveCondition | None:
    count = model.number(model_families.SOURCE_FAULTS)
    if not count:
        return None
    sentence = (
        f"Its source has {count:.0f} fault{'s' if count > 1 else ''}: files, tables, columns or rows cannot be read."
    )
    return ActiveCondition("DriftdSourceFaults", sentence, "Windows wait where a whole folder is away.")


def _no_label(model: _Model) -> ActiveCondition | None:
    if model.number(model_families.COHORTS) < alert_rule.COHORTS:
        return None
    newest, every = model.value(model_families.NEWEST_FEEDBACK), model.number(model_families.WINDOW_SECONDS)
    since = newest if newest is not None else model.value(model_families.SWAPPED_AT)
    late = alert_rule.unlabelled_limit(every, model.number(model_families.LABEL_WAIT), ever=newest is not None)
    if not model.is_past(since, late):
        return None
    sentence = f"No label came since {format_time(since)}." if newest is not None else "No label ever came."
    return ActiveCondition("DriftdLabelFeedSilent", sentence, "Performance is not watched, and no build can be judged.")


def _windows_ahead(model: _Model) -> ActiveCondition | None:
    count = model.number(model_families.AHEAD)
    if not count:
        return None
    sentence = (
        f"{count:,.0f} windows that cannot have been yet were passed over: the clock was ahead, or is behind now."
    )
    detail = "No window is checked before the clock has passed them. Set the clock first (timedatectl)."
    return ActiveCondition("DriftdWindowsAhead", sentence, detail, f"driftd reset-cursor {model.name}")


def _clock_doubted(model: _Model) -> ActiveCondition | None:
    if not model.is_on(model_families.CLOCK_DOUBTED):
        return None
    newest = model.number(model_families.NEWEST_PREDICTION)
    sentence = f"The clock is months ahead of the newest prediction ({format_time(newest)}): no window is checked."
    detail = "The clock is wrong, or the feed has ended. Nothing is deleted by its age meanwhile."
    return ActiveCondition("DriftdClockDoubted", sentence, detail)


def _deletion_held(model: _Model) -> ActiveCondition | None:
    held = [rows for rows in families.KEPT_ROWS if model.is_on(families.DELETION_HELD, rows)]
    if not held:
        return None
    sentence = f"Its {' and '.join(held)} over their age are kept: deleting them might be a mistake."
    detail = "The clock disagrees with them by months, or more than retention.share of them would go at once."
    return ActiveCondition("DriftdDeletionHeld", sentence, detail, f"driftd prune {model.name} --dry-run")


def _not_evaluated(model: _Model) -> ActiveCondition | None:
    count = model.number(model_families.COHORTS_NOT_EVALUATED)
    if count < alert_rule.NOT_EVALUATED:
        return None
    sentence = f"Labels come, but those of the last {count:.0f} windows were not evaluated."
    detail = "They come too late or for too few predictions: performance is not watched."
    return ActiveCondition("DriftdLabelsNotEvaluated", sentence, detail)


def _refusals(model: _Model) -> ActiveCondition | None:
    count = model.number(model_families.REFUSALS)
    if count < alert_rule.REFUSALS:
        return None
    detail = "Retraining does not help: the data do not hold what the model needs, or the trainer does not fit them."
    sentence = f"The gate let none of the last {count:.0f} builds through."
    return ActiveCondition("DriftdGateRefusedRepeatedly", sentence, detail, f"driftd history {model.name}")


def _standstill(metrics: ExportedValues, now: float) -> ActiveCondition | None:
    last = metrics.value(families.LAST_STEP)
    if last is None or now - last <= alert_rule.STANDSTILL:
        return None
    sentence = f"The main loop has not been round since {format_time(last)}."
    return ActiveCondition("DriftdHangs", sentence, "The process answers, but nothing is checked or decided.")


def _little_room(metrics: ExportedValues, _now: float) -> ActiveCondition | None:
    free, size = metrics.value(families.DISK_FREE), metrics.value(families.DISK_SIZE)
    if free is None or size is None or (free >= alert_rule.DISK_SHARE * size and free >= alert_rule.DISK_BYTES):
        return None
    sentence = f"Only {free / GIB:.1f} GiB are free for state_dir."
    return ActiveCondition(
        "DriftdDiskAlmostFull", sentence, "When the disk is full, no event, check or build can be kept."
    )


def _disk_full(metrics: ExportedValues, now: float) -> ActiveCondition | None:
    full_at = metrics.value(families.DISK_FULL_AT)
    if full_at is None or full_at - now >= alert_rule.DISK_SOON:
        return None
    grown = {part: metrics.value(families.GROWTH, part) or 0.0 for part in families.PARTS}
    part = max(grown, key=lambda name: grown[name])
    what = f"; {part}: {grown[part] / GIB:.1f} GiB a day" if grown[part] > 0 else "; what fills it is not driftd's"
    sentence = f"The disk of state_dir is full at {format_time(full_at)}, at its rate of the last day{what}."
    return ActiveCondition("DriftdDiskFillsUp", sentence, "Lower retention, set retention.disk, or make room.")


def _no_backup(metrics: ExportedValues, now: float) -> ActiveCondition | None:
    last = metrics.value(families.BACKED_UP_AT)
    failed = metrics.value(families.BACKUP_FAILURES) or 0
    since = last if last is not None else metrics.value(families.STARTED)
    if failed < FAILED_OFTEN or since is None or (last is not None and now - last < BACKUP_LATE):
        return None
    sentence = (
        f"No backup was made since {format_time(last)}." if last is not None else "There is no backup of the state."
    )
    return ActiveCondition("DriftdBackupFails", sentence, f"{failed:.0f} tries have failed since the daemon started.")


def blind_spots(metrics: ExportedValues, model: str) -> tuple[str, ...]:
    """What of a model is not watched, not evaluated or put off now, a sentence each; no alert fires on it."""

    def count(family: Family, *labels: str) -> int:
        return int(metrics.value(family, model, *labels) or 0)

    said = []
    unevaluated, failed = count(model_families.COHORTS_NOT_EVALUATED), count(model_families.DETECTORS_FAILED)
    if 0 < unevaluated < alert_rule.NOT_EVALUATED:
        said.append(f"The labels of the last {unevaluated} windows were not evaluated.")
    if count(model_families.LABEL_DELAY_CHANGED):
        said.append("Labels arrive otherwise than they did: windows wait for theirs until the new way is learned.")
    if count(model_families.ESTIMATE_OFF):
        said.append("The estimate without labels raises no alarm: labels have shown that it cannot be believed.")
    if failed:
        said.append(f"{failed} of your own detectors gave no score of the last window.")
    waiting = [kind.replace("_", " ") for kind in ActionKind if count(families.WAITING, kind)]
    if waiting:
        said.append(f"An action is put off until a process is free or a pause ends: {', '.join(waiting)}.")
    return tuple(said)


def all_blind_spots(metrics: ExportedValues, models: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What of some models is not watched, not evaluated or put off; those without any are left out."""
    return {model: said for model in models if (said := blind_spots(metrics, model))}
