"""How much each event of a transition matters to a person: one table, held complete against policy by a test."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The words of Prometheus' rules."""

    CRITICAL = "critical"  # look now: something is broken that driftd cannot mend
    WARNING = "warning"  # look today: driftd acts by itself, or waits for a person
    INFO = "info"  # good to know


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event is called where people read it, and whether they are told without asking for it."""

    severity: Severity
    title: str
    by_default: bool = False


MEANINGS = {
    "adopted": Meaning(Severity.INFO, "Now under watch"),
    "alarm": Meaning(Severity.WARNING, "Drift confirmed", by_default=True),
    "quality_fault": Meaning(Severity.CRITICAL, "Data pipeline broken", by_default=True),
    "quality_restored": Meaning(Severity.INFO, "Data pipeline whole again", by_default=True),
    "build_wanted": Meaning(Severity.INFO, "Build wanted"),
    "build_started": Meaning(Severity.INFO, "Build started"),
    "build_failed": Meaning(Severity.WARNING, "Build failed", by_default=True),
    "gate_inconclusive": Meaning(Severity.INFO, "Gate inconclusive"),
    "judged_again": Meaning(Severity.INFO, "Judged again, against another champion"),
    "challenger_rejected": Meaning(Severity.INFO, "Challenger refused"),
    "challenger_inconclusive": Meaning(Severity.INFO, "Challenger never clearly better"),
    "approval_wanted": Meaning(Severity.WARNING, "Approval wanted", by_default=True),
    "swap_started": Meaning(Severity.INFO, "Swap started"),
    "promoted": Meaning(Severity.INFO, "Promoted", by_default=True),
    "confirmed": Meaning(Severity.INFO, "Confirmed after probation"),
    "rollback_started": Meaning(Severity.INFO, "Rollback started"),
    "rolled_back": Meaning(Severity.WARNING, "Rolled back", by_default=True),
    "rollback_refused": Meaning(Severity.CRITICAL, "Rollback failed", by_default=True),
    "shadow_failed": Meaning(Severity.WARNING, "Comparison during probation failed"),
    "report_failed": Meaning(Severity.INFO, "Report failed"),
    "pin_started": Meaning(Severity.INFO, "Pin started"),
    "pinned": Meaning(Severity.INFO, "Pinned by the override"),
    "pin_refused": Meaning(Severity.WARNING, "Pin refused", by_default=True),
    "unpinned": Meaning(Severity.INFO, "No longer pinned"),
    "restored": Meaning(Severity.WARNING, "State restored from a backup", by_default=True),
    "paused": Meaning(Severity.INFO, "Checks paused"),
    "resumed": Meaning(Severity.INFO, "Checks resumed"),
    "override_began": Meaning(Severity.INFO, "Override in force"),
    "override_changed": Meaning(Severity.INFO, "Override changed"),
    "override_ended": Meaning(Severity.INFO, "Override ended", by_default=True),
    "request_refused": Meaning(Severity.INFO, "Request refused"),
}
UNKNOWN = Meaning(Severity.WARNING, "Decision", by_default=True)  # of a newer or older driftd's store: rather told
DEFAULT, ALL = "default", "all"


def meaning_of(event: str) -> Meaning:
    """What an event means; one that this program does not know is a warning."""
    return MEANINGS.get(event, UNKNOWN)


def is_wanted(event: str, on: tuple[str, ...]) -> bool:
    """Whether an event is among those that `on` names by event, by severity, or by `default` or `all`."""
    meaning = meaning_of(event)
    return event in on or str(meaning.severity) in on or ALL in on or (meaning.by_default and DEFAULT in on)


def event_or_severity(word: str) -> str:
    """A word that may stand in a receiver's `on`. Raises ValueError with a sentence."""
    allowed = [DEFAULT, ALL, *Severity, *MEANINGS]
    if word not in allowed:
        near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        listed = ", ".join([DEFAULT, ALL, *Severity])
        raise ValueError(
            f"{word!r} is no event and no severity{meant} Allowed: {listed}, and the events of docs/notifications.md"
        )
    return word
