"""What presses besides the evidence: the conditions of the alert rules, worked out from the same figures and limits.

Whoever looks at the page or the terminal while a pager rings must read there what the pager says. A test holds that
every alert is told here, or says where else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from driftd.observe import families, limits
from driftd.observe.family import Family
from driftd.page.words import when

DOCTOR = "driftd doctor"
FAILED_OFTEN = 3  # tries: one that fails is tried again
BACKUP_LATE = 36 * 3600.0  # seconds: backups are daily
RECEIVER_LATE = 600.0
GIB = 1 << 30


class Shown(Protocol):
    """The daemon's metrics, as far as they can be seen from here."""

    def value(self, family: Family, *labels: str) -> float | None:
        """The value of one series; None where there is none."""
        ...

    def owners(self, family: Family) -> Iterable[str]:
        """The models or receivers that have series of this family."""
        ...


@dataclass(frozen=True, slots=True)
class Pressing:
    """One condition that an alert fires on. `command` is what a person would type first."""

    alert: str  # its name in `observe.alerts`
    sentence: str
    detail: str = ""
    command: str = DOCTOR


@dataclass(frozen=True, slots=True)
class Pressings:
    """Everything that presses at one moment, the most urgent first."""

    host: tuple[Pressing, ...] = ()
    of: Mapping[str, tuple[Pressing, ...]] = field(default_factory=dict)


def pressings(shown: Shown, models: Iterable[str], now: float) -> Pressings:
    """What presses now, of the host and of each model."""
    found = {model: tuple(of_model(shown, model, now)) for model in models}
    return Pressings(tuple(of_host(shown, now)), {model: one for model, one in found.items() if one})


def of_model(shown: Shown, model: str, now: float) -> Iterator[Pressing]:
    """What presses of one model, the most urgent first."""
    one = _Model(lambda family, *labels: shown.value(family, model, *labels), model, now)
    for look in (_damaged, _not_asked, _unchecked, _rolled_back, _no_prediction, _unreadable, _no_label, _refused):
        pressing = look(one)
        if pressing is not None:
            yield pressing


def of_host(shown: Shown, now: float) -> Iterator[Pressing]:
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
            yield Pressing("DriftdNotificationsFail", told, "", f"driftd notify-test {receiver}")


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


def _damaged(one: _Model) -> Pressing | None:
    if one.is_on(families.EVENTS_DAMAGED):
        return Pressing("DriftdDamagedDatabase", "Its event store is damaged: no events are read.")
    if one.is_on(families.VERSION_DAMAGED):
        served = one.number(families.SERVED)
        detail = "It serves only where it is in memory: a process that starts has none to load."
        return Pressing(
            "DriftdDamagedVersion", f"The files of version {served:.0f}, which serves, are damaged.", detail
        )
    return None


def _not_asked(one: _Model) -> Pressing | None:
    served, asked = one.value(families.SERVED), one.value(families.ASKED)
    swaps = one.number(families.RUNNING, "swap") + one.number(families.WAITING, "swap")
    if served is None or asked is None or served == asked or swaps:
        return None
    sentence = f"Version {served:.0f} serves, but version {asked:.0f} should."
    return Pressing("DriftdServedVersionNotAsked", sentence, "It cannot be loaded, is gone, or the link was changed.")


def _unchecked(one: _Model) -> Pressing | None:
    if one.is_on(families.PHASE, "paused"):
        return None
    every, last = one.value(families.WINDOW_SECONDS), one.value(families.CHECKED_AT, "window")
    if every is None or (not every and not one.number(families.BEHIND)):
        return None
    began = one.value(families.SWAPPED_AT) if one.value(families.NEWEST_PREDICTION) is not None else None
    if not one.is_past(last if last is not None else began, limits.GRACE + limits.WINDOWS * every):
        return None
    sentence = f"No window was checked since {when(last)} UTC." if last is not None else "No window was ever checked."
    return Pressing(
        "DriftdNoCheckSucceeded", sentence, "Its source cannot be read, its checks fail, or the daemon hangs."
    )


def _rolled_back(one: _Model) -> Pressing | None:
    refused, done = (one.value(families.ROLLED_BACK_AT, outcome) for outcome in ("refused", "done"))
    served, command = one.number(families.SERVED), f"driftd history {one.name}"
    if refused is not None and not one.is_past(refused, limits.RECENT):
        sentence = f"A rollback failed at {when(refused)} UTC; version {served:.0f} still serves."
        return Pressing("DriftdRollbackRefused", sentence, "The version to go back to cannot be loaded.", command)
    if done is not None and not one.is_past(done, limits.RECENT):
        sentence = f"Rolled back to version {served:.0f} at {when(done)} UTC."
        return Pressing("DriftdRolledBack", sentence, "See why before the next build.", command)
    return None


def _no_prediction(one: _Model) -> Pressing | None:
    newest, every = one.value(families.NEWEST_PREDICTION), one.value(families.WINDOW_SECONDS)
    since = newest if newest is not None else one.value(families.SWAPPED_AT)
    if every is None or not one.is_past(since, limits.silent_after(every)):
        return None
    sentence = f"No prediction came since {when(since)} UTC."
    return Pressing(
        "DriftdPredictionFeedSilent", sentence, "The application makes none, does not log them, or logs elsewhere."
    )


def _unreadable(one: _Model) -> Pressing | None:
    count = one.number(families.SOURCE_FAULTS)
    if not count:
        return None
    sentence = f"{count:.0f} of the files or folders of its source cannot be read."
    return Pressing("DriftdSourceFaults", sentence, "Windows wait where a whole folder is away.")


def _no_label(one: _Model) -> Pressing | None:
    if one.number(families.COHORTS) < limits.COHORTS:
        return None
    newest, every = one.value(families.NEWEST_FEEDBACK), one.number(families.WINDOW_SECONDS)
    since = newest if newest is not None else one.value(families.SWAPPED_AT)
    late = limits.unlabelled_after(every, one.number(families.LABEL_WAIT), ever=newest is not None)
    if not one.is_past(since, late):
        return None
    sentence = f"No label came since {when(since)} UTC." if newest is not None else "No label ever came."
    return Pressing("DriftdLabelFeedSilent", sentence, "Performance is not watched, and no build can be judged.")


def _refused(one: _Model) -> Pressing | None:
    count = one.number(families.REFUSALS)
    if count < limits.REFUSALS:
        return None
    detail = "Retraining does not help: the data do not hold what the model needs, or the trainer does not fit them."
    sentence = f"The gate let none of the last {count:.0f} builds through."
    return Pressing("DriftdGateRefusedRepeatedly", sentence, detail, f"driftd history {one.name}")


def _little_room(shown: Shown, _now: float) -> Pressing | None:
    free, size = shown.value(families.DISK_FREE), shown.value(families.DISK_SIZE)
    if free is None or size is None or (free >= limits.DISK_SHARE * size and free >= limits.DISK_BYTES):
        return None
    sentence = f"Only {free / GIB:.1f} GiB are free for state_dir."
    return Pressing("DriftdDiskAlmostFull", sentence, "When the disk is full, no event, check or build can be kept.")


def _no_backup(shown: Shown, now: float) -> Pressing | None:
    last = shown.value(families.BACKED_UP_AT)
    failed = shown.value(families.BACKUP_FAILURES) or 0
    since = last if last is not None else shown.value(families.STARTED)
    if failed < FAILED_OFTEN or since is None or (last is not None and now - last < BACKUP_LATE):
        return None
    sentence = f"No backup was made since {when(last)} UTC." if last is not None else "There is no backup of the state."
    return Pressing("DriftdBackupFails", sentence, f"{failed:.0f} tries have failed since the daemon started.")
