"""Conditions that need attention besides the evidence: those of the alert rules, by the same figures and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from driftd.observe import families, thresholds
from driftd.observe.metric_family import Family
from driftd.views.formatting import when

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


def pressings(shown: ExportedValues, models: Iterable[str], now: float) -> ActiveConditions:
    """What presses now, of the host and of each model."""
    found = {model: tuple(of_model(shown, model, now)) for model in models}
    return ActiveConditions(tuple(of_host(shown, now)), {model: one for model, one in found.items() if one})


def of_model(shown: ExportedValues, model: str, now: float) -> Iterator[ActiveCondition]:
    """What presses of one model, the most urgent first."""
    one = _Model(lambda family, *labels: shown.value(family, model, *labels), model, now)
    for look in (_damaged, _not_asked, _unchecked, _rolled_back, _no_prediction, _unreadable, _no_label, _refused):
        pressing = look(one)
        if pressing is not None:
            yield pressing


def of_host(shown: ExportedValues, now: float) -> Iterator[ActiveCondition]:
    """What presses of the machine and of what is told outside, not of a model."""
    for look in (_little_room, _no_backup):
        pressing = look(shown, now)
        if pressing is not None:
            yield pressing
    for receiver in shown.owners(families.NOTIFICATIONS_PENDING):
        pending = shown.value(families.NOTIFICATIONS_PENDING, receiver) or 0
        failed = shown.value(families.NOTIFICATIONS_FAILED, receiver) or 0
        last = shown.value(families.NOTIFIED_AT, receiver) or shown.value(families.STARTED) or now
        if pending and failed >= FAILED_OFTEN and now - last > RECEIVER_LATE:
            told = f"The receiver {receiver} is not told what is decided: {failed:.0f} tries have failed."
            yield ActiveCondition("DriftdNotificationsFail", told, "", f"driftd notify-test {receiver}")


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


def _damaged(one: _Model) -> ActiveCondition | None:
    if one.is_on(families.EVENTS_DAMAGED):
        return ActiveCondition("DriftdDamagedDatabase", "Its event store is damaged: no events are read.")
    if one.is_on(families.VERSION_DAMAGED):
        served = one.number(families.SERVED)
        detail = "It serves only where it is in memory: a process that starts has none to load."
        return ActiveCondition(
            "DriftdDamagedVersion", f"The files of version {served:.0f}, which serves, are damaged.", detail
        )
    return None


def _not_asked(one: _Model) -> ActiveCondition | None:
    served, asked = one.value(families.SERVED), one.value(families.ASKED)
    swaps = one.number(families.RUNNING, "swap") + one.number(families.WAITING, "swap")
    if served is None or asked is None or served == asked or swaps:
        return None
    sentence = f"Version {served:.0f} serves, but version {asked:.0f} should."
    return ActiveCondition(
        "DriftdServedVersionNotAsked", sentence, "It cannot be loaded, is gone, or the link was changed."
    )


def _unchecked(one: _Model) -> ActiveCondition | None:
    if one.is_on(families.PHASE, "paused"):
        return None
    every, last = one.value(families.WINDOW_SECONDS), one.value(families.CHECKED_AT, "window")
    if every is None or (not every and not one.number(families.BEHIND)):
        return None
    began = one.value(families.SWAPPED_AT) if one.value(families.NEWEST_PREDICTION) is not None else None
    if not one.is_past(last if last is not None else began, thresholds.GRACE + thresholds.WINDOWS * every):
        return None
    sentence = f"No window was checked since {when(last)} UTC." if last is not None else "No window was ever checked."
    return ActiveCondition(
        "DriftdNoCheckSucceeded", sentence, "Its source cannot be read, its checks fail, or the daemon hangs."
    )


def _rolled_back(one: _Model) -> ActiveCondition | None:
    refused, done = (one.value(families.ROLLED_BACK_AT, outcome) for outcome in ("refused", "done"))
    served, command = one.number(families.SERVED), f"driftd history {one.name}"
    if refused is not None and not one.is_past(refused, thresholds.RECENT):
        sentence = f"A rollback failed at {when(refused)} UTC; version {served:.0f} still serves."
        return ActiveCondition(
            "DriftdRollbackRefused", sentence, "The version to go back to cannot be loaded.", command
        )
    if done is not None and not one.is_past(done, thresholds.RECENT):
        sentence = f"Rolled back to version {served:.0f} at {when(done)} UTC."
        return ActiveCondition("DriftdRolledBack", sentence, "See why before the next build.", command)
    return None


def _no_prediction(one: _Model) -> ActiveCondition | None:
    newest, every = one.value(families.NEWEST_PREDICTION), one.value(families.WINDOW_SECONDS)
    since = newest if newest is not None else one.value(families.SWAPPED_AT)
    if every is None or not one.is_past(since, thresholds.silent_after(every)):
        return None
    sentence = f"No prediction came since {when(since)} UTC."
    return ActiveCondition(
        "DriftdPredictionFeedSilent", sentence, "The application makes none, does not log them, or logs elsewhere."
    )


def _unreadable(one: _Model) -> ActiveCondition | None:
    count = one.number(families.SOURCE_FAULTS)
    if not count:
        return None
    sentence = f"Its source has {count:.0f} fault{'s' if count > 1 else ''}: files, columns or rows cannot be read."
    return ActiveCondition("DriftdSourceFaults", sentence, "Windows wait where a whole folder is away.")


def _no_label(one: _Model) -> ActiveCondition | None:
    if one.number(families.COHORTS) < thresholds.COHORTS:
        return None
    newest, every = one.value(families.NEWEST_FEEDBACK), one.number(families.WINDOW_SECONDS)
    since = newest if newest is not None else one.value(families.SWAPPED_AT)
    late = thresholds.unlabelled_after(every, one.number(families.LABEL_WAIT), ever=newest is not None)
    if not one.is_past(since, late):
        return None
    sentence = f"No label came since {when(since)} UTC." if newest is not None else "No label ever came."
    return ActiveCondition("DriftdLabelFeedSilent", sentence, "Performance is not watched, and no build can be judged.")


def _refused(one: _Model) -> ActiveCondition | None:
    count = one.number(families.REFUSALS)
    if count < thresholds.REFUSALS:
        return None
    detail = "Retraining does not help: the data do not hold what the model needs, or the trainer does not fit them."
    sentence = f"The gate let none of the last {count:.0f} builds through."
    return ActiveCondition("DriftdGateRefusedRepeatedly", sentence, detail, f"driftd history {one.name}")


def _little_room(shown: ExportedValues, _now: float) -> ActiveCondition | None:
    free, size = shown.value(families.DISK_FREE), shown.value(families.DISK_SIZE)
    if free is None or size is None or (free >= thresholds.DISK_SHARE * size and free >= thresholds.DISK_BYTES):
        return None
    sentence = f"Only {free / GIB:.1f} GiB are free for state_dir."
    return ActiveCondition(
        "DriftdDiskAlmostFull", sentence, "When the disk is full, no event, check or build can be kept."
    )


def _no_backup(shown: ExportedValues, now: float) -> ActiveCondition | None:
    last = shown.value(families.BACKED_UP_AT)
    failed = shown.value(families.BACKUP_FAILURES) or 0
    since = last if last is not None else shown.value(families.STARTED)
    if failed < FAILED_OFTEN or since is None or (last is not None and now - last < BACKUP_LATE):
        return None
    sentence = f"No backup was made since {when(last)} UTC." if last is not None else "There is no backup of the state."
    return ActiveCondition("DriftdBackupFails", sentence, f"{failed:.0f} tries have failed since the daemon started.")
