"""The events of a model's history, and the words that decisions are counted by.

`severities` has the table that says of each event how much it matters, what it counts and what it is called.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """What a transition is called in the history: `transitions.event` of the store."""

    ADOPTED = "adopted"
    ALARM = "alarm"
    ALARM_CLEARED = "alarm_cleared"
    ALARM_UNATTENDED = "alarm_unattended"
    ALARM_ACKNOWLEDGED = "alarm_acknowledged"
    EVIDENCE_RESET = "evidence_reset"
    QUALITY_FAULT = "quality_fault"
    QUALITY_RESTORED = "quality_restored"
    BUILD_WANTED = "build_wanted"
    BUILD_STARTED = "build_started"
    BUILD_FAILED = "build_failed"
    BUILD_RETRIED = "build_retried"
    TESTS_FAILED = "tests_failed"
    GATE_INCONCLUSIVE = "gate_inconclusive"
    JUDGED_AGAIN = "judged_again"
    CHALLENGER_REJECTED = "challenger_rejected"
    CHAMPION_KEPT = "champion_kept"
    REFIT_REFUSED = "refit_refused"
    CHALLENGER_INCONCLUSIVE = "challenger_inconclusive"
    APPROVAL_WANTED = "approval_wanted"
    APPROVED = "approved"
    REVIEW_EXPIRED = "review_expired"
    SWAP_STARTED = "swap_started"
    PROMOTED = "promoted"
    CONFIRMED = "confirmed"
    ROLLBACK_STARTED = "rollback_started"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_REFUSED = "rollback_refused"
    SHADOW_FAILED = "shadow_failed"
    REPORT_FAILED = "report_failed"
    PIN_STARTED = "pin_started"
    PINNED = "pinned"
    PIN_REFUSED = "pin_refused"
    UNPINNED = "unpinned"
    RESTORED = "restored"
    PAUSED = "paused"
    RESUMED = "resumed"
    OVERRIDE_BEGAN = "override_began"
    OVERRIDE_CHANGED = "override_changed"
    OVERRIDE_ENDED = "override_ended"
    ORDER_GIVEN = "order_given"
    ORDER_ENDED = "order_ended"
    CURSOR_RESET = "cursor_reset"
    CHECKS_FORGOTTEN = "checks_forgotten"
    REQUEST_REFUSED = "request_refused"
    HANDED_OVER = "handed_over"
    HAND_OVER_FAILED = "hand_over_failed"
    HAND_OVER_CONFIRMED = "hand_over_confirmed"
    HAND_OVER_TAKEN_BACK = "hand_over_taken_back"
    VERSION_WANTED = "version_wanted"
    PROBATION_ENDED = "probation_ended"
    VERSION_REGISTERED = "version_registered"
    ALIAS_SET = "alias_set"
    ALIAS_MOVED = "alias_moved"
    REGISTRY_FAILED = "registry_failed"


class Trigger(StrEnum):
    """Why a build starts."""

    PERFORMANCE = "performance"
    REFRESH = "refresh"  # labelled rows have grown
    HARM = "harm"  # performance estimated without labels
    DATA_DRIFT = "data_drift"
    SCHEDULE = "schedule"
    NEW_LABELS = "new_labels"
    CODE_CHANGED = "code_changed"  # the trainer's source or its lock file
    PARAMETERS_CHANGED = "parameters_changed"  # what the config says of training
    MANUAL = "manual"
    SUBMITTED = "submitted"  # a version that was made outside, by nobody's order


def trigger_named(word: str) -> Trigger:
    """The trigger that the config names. Raises ValueError for another word."""
    return Trigger.HARM if word == "estimated_performance" else Trigger(word)


class GateDecision(StrEnum):
    """What the gate says of a challenger."""

    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class SwapPurpose(StrEnum):
    """Why another version is to serve."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PIN = "pin"


class HandOverAction(StrEnum):
    """What the system that serves is told to do: `DRIFTD_ACTION`."""

    DEPLOY = "deploy"
    ROLL_BACK = "roll_back"
    TAKE_BACK = "take_back"  # it was not confirmed in time: serve what served before
    ASK = "ask"  # no trainer is configured: a new version is wanted


class RegistryTask(StrEnum):
    """What is done with a registry of models that belongs to others."""

    REGISTER = "register"  # a version, with its model, its lineage and its figures
    MOVE = "move"  # the alias, to a version; it is read back
    LOOK = "look"  # which version the alias names


class Stage(StrEnum):
    """What a build goes through, in order. A refresh has the stage `refresh` where other builds train and judge."""

    TAKE_DATA = "take_data"
    CHECK_DATA = "check_data"
    TRAIN = "train"
    REFRESH = "refresh"
    TEST = "test"
    JUDGE = "judge"
    REVIEW = "review"
    DEPLOY = "deploy"
    WATCH = "watch"


class StageResult(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"  # a judgement that says neither: rows are collected, and it is made again
    SKIPPED = "skipped"


class BuildOutcome(StrEnum):
    """How a build ended."""

    PROMOTED = "promoted"
    REJECTED = "rejected"  # by the gate
    INCONCLUSIVE = "inconclusive"
    TURNED_DOWN = "turned_down"  # by a person
    FAILED = "failed"
    SUPERSEDED = "superseded"  # by another build


class RollbackCause(StrEnum):
    """What asked for a rollback."""

    PROBATION = "probation"
    PERSON = "person"


class RollbackOutcome(StrEnum):
    """What became of a rollback."""

    DONE = "done"
    REFUSED = "refused"  # the version to go back to cannot be served


def known_event(text: str) -> Event | None:
    """The event of this name; None for one of another driftd's store."""
    try:
        return Event(text)
    except ValueError:
        return None
