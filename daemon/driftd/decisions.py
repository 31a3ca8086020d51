"""What each event of a transition means: how much it matters, what it counts, what it is called. One table.

A test holds it complete, and against the policy that makes the events.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from driftd.events import BuildOutcome, Event, RollbackOutcome, SwapPurpose, known_event


class Severity(StrEnum):
    """The words of Prometheus' rules."""

    CRITICAL = "critical"  # look now: something is broken that driftd cannot mend
    WARNING = "warning"  # look today: driftd acts by itself, or waits for a person
    INFO = "info"  # good to know


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event is called where people read it, whether they are told of it, and what it counts in the metrics.

    Every event counts in `driftd_transitions_total`. `build` is the outcome that it counts in
    `driftd_builds_ended_total`, `swap` the purpose in `driftd_swaps_total`, `rollback` the outcome in
    `driftd_rollbacks_total`.
    """

    severity: Severity
    title: str
    explanation: str  # for somebody who reads it for the first time
    by_default: bool = False  # whether a receiver that chooses nothing is told of it
    is_marked: bool = False  # whether the page marks it on the axis of time
    build: BuildOutcome | None = None
    swap: SwapPurpose | None = None
    rollback: RollbackOutcome | None = None


MEANINGS: dict[Event, Meaning] = {
    Event.ADOPTED: Meaning(
        Severity.INFO,
        "Monitoring began",
        "The daemon began to monitor a version that was already serving.",
        is_marked=True,
    ),
    Event.ALARM: Meaning(
        Severity.WARNING,
        "Drift confirmed",
        "The evidence gathered over windows reached the threshold that the false-alarm budget gives.",
        by_default=True,
        is_marked=True,
    ),
    Event.ALARM_CLEARED: Meaning(
        Severity.INFO,
        "Alarm cleared",
        "The evidence fell: what was measured is within what is tolerated again. The alarm requests no build any more.",
        by_default=True,
        is_marked=True,
    ),
    Event.ALARM_UNATTENDED: Meaning(
        Severity.WARNING,
        "Alarm without a build",
        "Performance stays below what is tolerated, and for a day no build could start or end in a better version.",
        by_default=True,
        is_marked=True,
    ),
    Event.ALARM_ACKNOWLEDGED: Meaning(
        Severity.INFO,
        "Alarm acknowledged",
        "A person knows of the alarm: nothing is done about it until the time that they gave.",
    ),
    Event.EVIDENCE_RESET: Meaning(
        Severity.INFO,
        "Evidence reset",
        "A person reset the evidence against the version that serves: what was gathered no longer counts.",
        is_marked=True,
    ),
    Event.QUALITY_FAULT: Meaning(
        Severity.CRITICAL,
        "Data pipeline broken",
        "A broken pipeline is not drift: it blocks builds, because a model of such rows would be wrong.",
        by_default=True,
        is_marked=True,
    ),
    Event.QUALITY_RESTORED: Meaning(
        Severity.INFO,
        "Data pipeline repaired",
        "The pipeline delivers again what the reference had; builds may start again.",
        by_default=True,
    ),
    Event.BUILD_WANTED: Meaning(
        Severity.INFO, "Build requested", "Something other than an alarm requests a new version."
    ),
    Event.BUILD_STARTED: Meaning(
        Severity.INFO, "Build started", "A build was requested, and what it waited for is there.", is_marked=True
    ),
    Event.BUILD_FAILED: Meaning(
        Severity.WARNING,
        "Build failed",
        "A step of a build failed. The champion was never touched; the next try waits longer each time.",
        by_default=True,
        is_marked=True,
        build=BuildOutcome.FAILED,
    ),
    Event.BUILD_RETRIED: Meaning(
        Severity.INFO,
        "Build retried",
        "A person had a build that failed begun again from a stage, with what the stages before had made.",
        is_marked=True,
    ),
    Event.TESTS_FAILED: Meaning(
        Severity.WARNING,
        "Tests failed",
        "The model tests of the config did not pass for the new version: it is refused, and the champion serves on.",
        by_default=True,
        is_marked=True,
        build=BuildOutcome.REJECTED,
    ),
    Event.GATE_INCONCLUSIVE: Meaning(
        Severity.INFO,
        "Gate inconclusive",
        "On rows later than its training the challenger is neither surely better nor surely worse.",
    ),
    Event.JUDGED_AGAIN: Meaning(
        Severity.INFO,
        "Judged again, against another champion",
        "Another version serves than the one that the challenger was compared with: it is compared again.",
    ),
    Event.CHALLENGER_REJECTED: Meaning(
        Severity.INFO,
        "Challenger refused",
        "The challenger lost its gate, or a person turned it down.",
        is_marked=True,
        build=BuildOutcome.REJECTED,
    ),
    Event.CHAMPION_KEPT: Meaning(
        Severity.INFO,
        "Champion kept",
        "What the refresh built does not serve: on rows that neither had seen, the version that serves is surely "
        "better (or, under promote.serve: surely_better, nothing is surely better than it).",
        is_marked=True,
        build=BuildOutcome.REJECTED,
    ),
    Event.REFIT_REFUSED: Meaning(
        Severity.WARNING,
        "Refit refused",
        "What the refresh built is broken (always the same answer, far from its sibling, slow or large) or worse for a "
        "segment: the champion serves on.",
        by_default=True,
        is_marked=True,
        build=BuildOutcome.REJECTED,
    ),
    Event.CHALLENGER_INCONCLUSIVE: Meaning(
        Severity.INFO,
        "Challenger never clearly better",
        "The challenger did not become clearly better in the time given to it.",
        build=BuildOutcome.INCONCLUSIVE,
    ),
    Event.APPROVAL_WANTED: Meaning(
        Severity.WARNING,
        "Waiting for approval",
        "The challenger won its gate; the config or the override asks a person before it serves.",
        by_default=True,
    ),
    Event.APPROVED: Meaning(
        Severity.INFO,
        "Approved by one of several people",
        "A person approved the challenger; the config asks for the yes of more people before it serves.",
        by_default=True,
    ),
    Event.REVIEW_EXPIRED: Meaning(
        Severity.WARNING,
        "Review expired",
        "Nobody approved or rejected the challenger within stages.review.expires: it is put aside.",
        by_default=True,
        is_marked=True,
        build=BuildOutcome.TURNED_DOWN,
    ),
    Event.SWAP_STARTED: Meaning(
        Severity.INFO,
        "Swap started",
        "The served version is to be replaced: it is loaded and compared with its own predictions first.",
    ),
    Event.PROMOTED: Meaning(
        Severity.INFO,
        "Promoted",
        "The link `current` was replaced by one rename and read back; the old champion now scores in shadow.",
        by_default=True,
        is_marked=True,
        build=BuildOutcome.PROMOTED,
        swap=SwapPurpose.PROMOTE,
    ),
    Event.CONFIRMED: Meaning(
        Severity.INFO,
        "Confirmed after probation",
        "Probation is over: beside the old champion, on the same rows, the new one was not worse.",
        is_marked=True,
    ),
    Event.ROLLBACK_STARTED: Meaning(Severity.INFO, "Rollback started", "The earlier version is to serve again."),
    Event.ROLLED_BACK: Meaning(
        Severity.WARNING,
        "Rolled back",
        "The earlier version serves again; the one that was left is not promoted again by itself.",
        by_default=True,
        is_marked=True,
        swap=SwapPurpose.ROLLBACK,
        rollback=RollbackOutcome.DONE,
    ),
    Event.ROLLBACK_REFUSED: Meaning(
        Severity.CRITICAL,
        "Rollback failed",
        "The earlier version could not be served; the version that was to be left still serves.",
        by_default=True,
        rollback=RollbackOutcome.REFUSED,
    ),
    Event.SHADOW_FAILED: Meaning(
        Severity.WARNING,
        "Comparison during probation failed",
        "The job that compares the two versions of a probation failed; it is tried again.",
    ),
    Event.REPORT_FAILED: Meaning(
        Severity.INFO, "Report failed", "The page of an alarm could not be rendered; the alarm itself stands."
    ),
    Event.PIN_STARTED: Meaning(
        Severity.INFO,
        "Pin started",
        "The version that the override pins is to serve: it is loaded and compared with its own predictions first.",
    ),
    Event.PINNED: Meaning(
        Severity.INFO,
        "Pinned by the override",
        "The operator's override keeps this version in service.",
        is_marked=True,
        swap=SwapPurpose.PIN,
    ),
    Event.PIN_REFUSED: Meaning(
        Severity.WARNING, "Pin refused", "The pinned version cannot be served; the champion serves on.", by_default=True
    ),
    Event.UNPINNED: Meaning(
        Severity.INFO, "No longer pinned", "The override pins no version any more; the version that serves goes on."
    ),
    Event.RESTORED: Meaning(
        Severity.WARNING,
        "State restored from a backup",
        "The state came from a backup and was compared with the versions on disk.",
        by_default=True,
    ),
    Event.PAUSED: Meaning(Severity.INFO, "Checks paused", "The override or a person stopped the checks."),
    Event.RESUMED: Meaning(Severity.INFO, "Checks resumed", "Nothing stops the checks any more."),
    Event.OVERRIDE_BEGAN: Meaning(
        Severity.INFO,
        "Override in force",
        "The operator's override asks something of this model; it is obeyed while it is in force.",
    ),
    Event.OVERRIDE_CHANGED: Meaning(
        Severity.INFO, "Override changed", "The operator changed what the override asks of this model."
    ),
    Event.OVERRIDE_ENDED: Meaning(
        Severity.INFO,
        "Override ended",
        "The override asks nothing of this model any more: it was lifted, or its time is over.",
        by_default=True,
    ),
    Event.ORDER_GIVEN: Meaning(
        Severity.INFO,
        "Pause or silence by a person",
        "A person paused the model, or silenced a feature of it, until the time that they gave.",
    ),
    Event.ORDER_ENDED: Meaning(
        Severity.INFO,
        "Pause or silence ended",
        "What a person paused or silenced is active again: they ended it, or its time is over.",
        by_default=True,
    ),
    Event.CURSOR_RESET: Meaning(
        Severity.INFO,
        "Cursor reset",
        "The clock had been ahead, and windows were passed over that cannot have been yet; they are checked in time.",
    ),
    Event.CHECKS_FORGOTTEN: Meaning(
        Severity.INFO,
        "Old checks deleted",
        "A person had the checks over their age deleted, which had been kept because of the clock or their number.",
    ),
    Event.REQUEST_REFUSED: Meaning(Severity.INFO, "Request refused", "What a person asked cannot be done now."),
    Event.HANDED_OVER: Meaning(
        Severity.INFO,
        "Handed over, awaits confirmation",
        "Another system is to serve this version: it must be confirmed in time, or it is taken back.",
        by_default=True,
        is_marked=True,
    ),
    Event.HAND_OVER_FAILED: Meaning(
        Severity.WARNING,
        "Hand-over failed",
        "The command, the webhook or the registry by which driftd tells another system failed; it is tried again.",
        by_default=True,
    ),
    Event.HAND_OVER_CONFIRMED: Meaning(
        Severity.INFO, "Hand-over confirmed", "The other system serves the version: a person or its predictions say so."
    ),
    Event.HAND_OVER_TAKEN_BACK: Meaning(
        Severity.WARNING,
        "Hand-over taken back",
        "Nobody confirmed that the version serves: the champion of before stays, and driftd tells the other system so.",
        by_default=True,
        is_marked=True,
        build=BuildOutcome.FAILED,
    ),
    Event.VERSION_WANTED: Meaning(
        Severity.WARNING,
        "New version requested",
        "No trainer is configured for this model: whoever makes its versions is asked for a new one.",
        by_default=True,
        is_marked=True,
    ),
    Event.PROBATION_ENDED: Meaning(
        Severity.WARNING,
        "Worse, and no rollback possible",
        "The version on probation became worse, and the one before it is none that can be handed over.",
        by_default=True,
        is_marked=True,
    ),
    Event.VERSION_REGISTERED: Meaning(
        Severity.INFO,
        "Registered",
        "The registry of models has the version, with its model, its lineage and its figures.",
    ),
    Event.ALIAS_SET: Meaning(
        Severity.INFO, "Alias moved", "The alias in the registry of models names this version; it was read back."
    ),
    Event.ALIAS_MOVED: Meaning(
        Severity.WARNING,
        "Somebody moved the alias",
        "The alias in the registry of models names another version than the one that driftd had it name.",
        by_default=True,
        is_marked=True,
    ),
    Event.REGISTRY_FAILED: Meaning(
        Severity.WARNING,
        "Registry of models fails",
        "The registry of models is away or refuses. It is tried again with growing pauses; promotions wait for it.",
        by_default=True,
    ),
}
UNKNOWN = Meaning(Severity.WARNING, "Decision", "", by_default=True)  # of a newer or older driftd's store: rather told
DEFAULT, ALL = "default", "all"


def meaning_of(event: str) -> Meaning:
    """What an event means; one that this program does not know is a warning."""
    known = known_event(event)
    return UNKNOWN if known is None else MEANINGS[known]


def is_wanted(event: str, on: tuple[str, ...]) -> bool:
    """Whether an event is among those that `on` names by event, by severity, or by `default` or `all`."""
    meaning = meaning_of(event)
    return event in on or str(meaning.severity) in on or ALL in on or (meaning.by_default and DEFAULT in on)


def event_or_severity(word: str) -> str:
    """A word that may stand in a receiver's `on`. Raises ValueError with a sentence."""
    allowed = [DEFAULT, ALL, *map(str, Severity), *map(str, MEANINGS)]
    if word not in allowed:
        near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        listed = ", ".join([DEFAULT, ALL, *Severity])
        raise ValueError(
            f"{word!r} is no event and no severity{meant} Allowed: {listed}, and the events of docs/notifications.md"
        )
    return word
