"""What the statistics say of one window: verdicts, faults, scores and evidence, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What a check concluded. "Could not look" and "too little data" are never "ok"."""

    OK = "ok"
    SUSPECTED = "suspected"  # evidence is gathering; not yet worth an alarm
    DRIFT = "drift"  # evidence is over its threshold
    INCONCLUSIVE = "inconclusive"  # too little data to say anything
    ERROR = "error"  # the check itself failed


class EvidenceKind(StrEnum):
    """The budgets between which the false alarms of a model are shared."""

    DATA = "data"
    PREDICTION = "prediction"
    PERFORMANCE = "performance"
    QUALITY = "quality"
    HARM = "harm"  # performance estimated without labels


@dataclass(frozen=True, slots=True)
class Score:
    """The effect size of one stream in one window.

    `value` is how far it went beyond what windows normally do: in reference standard deviations for location and
    spread, in sds of chance for chi-squares (never negative); for performance it is the loss itself. `subject` is a
    feature's name, "prediction", "joint" or a metric.
    """

    kind: EvidenceKind
    subject: str
    component: str
    value: float
    sampling_sd: float
    evidence: float = 0.0  # what this stream alone has accumulated


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken pipeline seen in one window: not drift, and no model is built on it."""

    subject: str
    fault: str  # missing | constant | vanished | unreadable | new_category | range | unseen_label
    sentence: str
    share: float  # of the window's rows
    evidence: float = 0.0
    alarm: bool = False  # whether it is certain enough to alarm and to block builds


@dataclass(frozen=True, slots=True)
class KindAssessment:
    """The evidence of one kind after a window, against the threshold that its budget gives."""

    kind: EvidenceKind
    verdict: Verdict
    evidence: float
    threshold: float
    sentence: str  # why, with the figures in it
    leaders: tuple[tuple[str, float], ...] = ()  # subjects with their shares of the evidence, largest first
    change_start: float | None = None  # the start of the window at which the change most likely began
    crossed: bool = False  # whether this window raised the alarm; it stands until a swap or until it is absorbed


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that one check of one window has to say."""

    verdict: Verdict
    sentence: str
    rows: int
    kinds: tuple[KindAssessment, ...] = ()
    scores: tuple[Score, ...] = ()
    faults: tuple[Fault, ...] = ()
    learning: str | None = None  # what is not learned yet, in one phrase
    figures: dict[str, float] = field(default_factory=dict)  # loss, baseline, coverage, ...
    waits: bool = False  # inconclusive for now: the cohort's labels are still coming, so ask again later

    def of(self, kind: EvidenceKind) -> KindAssessment | None:
        """The assessment of one kind, if this check looked at it."""
        return next((one for one in self.kinds if one.kind is kind), None)
