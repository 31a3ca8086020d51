"""What the statistics say of one window: verdicts, faults, scores and evidence, and how figures are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

_MOST_TOLD = 1e6
_WHOLE_FROM = 100.0


def number(value: float) -> str:
    """A figure as people read it: 4.2, 1,234, "over a million"."""
    if math.isnan(value):
        return "unknown"
    if value > _MOST_TOLD:
        return "over a million"
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.3g}"


def format_windows(count: int) -> str:
    """So many windows."""
    return "1 window" if count == 1 else f"{count} windows"


def exchange_start(sentence: str, before: str, after: str) -> str:
    """A sentence that begins with `before`, with `after` in its place; both may end with a full stop."""
    rest = sentence.removeprefix(before.rstrip("."))
    return after if rest in {"", "."} else after.rstrip(".") + rest


class Verdict(StrEnum):
    """What a check concluded. "Could not look" and "too little data" are never "ok"."""

    OK = "ok"
    SUSPECTED = "suspected"  # evidence is gathering; not yet worth an alarm
    DRIFT = "drift"  # evidence is over its threshold
    INCONCLUSIVE = "inconclusive"  # too little data to say anything
    ERROR = "error"  # the check itself failed


# The one order of verdicts, from calm to loud. Too little data is less calm than "ok", because nobody has looked. A
# check that failed is louder than gathering evidence, because it will not become an alarm by itself.
CALM_TO_LOUD = (Verdict.OK, Verdict.INCONCLUSIVE, Verdict.SUSPECTED, Verdict.ERROR, Verdict.DRIFT)
LOUD = frozenset({Verdict.SUSPECTED, Verdict.ERROR, Verdict.DRIFT})


def loudness(verdict: Verdict) -> int:
    """The rank of a verdict: 0 is the calmest."""
    return CALM_TO_LOUD.index(verdict)


def loudest(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The loudest of some verdicts, None of none."""
    return max(verdicts, key=loudness, default=None)


class EvidenceKind(StrEnum):
    """The budgets between which the false alarms of a model are shared."""

    DATA = "data"
    PREDICTION = "prediction"
    PERFORMANCE = "performance"
    QUALITY = "quality"
    HARM = "harm"  # performance estimated without labels


SAID: Mapping[str, str] = {  # what people read of a kind; its value is stored and a label of metrics
    "data": "data",
    "prediction": "predictions",
    "performance": "performance",
    "quality": "data quality",
    "harm": "estimated performance",
}


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
class StandingAlarm:
    """An alarm as a level: since when it stands. It clears by its own rule, or ends by a swap or an absorption."""

    raised_at: float  # start of the window that raised it, epoch seconds
    change_start: float  # start of the window at which the change most likely began
    clears_over: int  # windows whose average must be within what is tolerated, for it to clear


class Measure(StrEnum):
    """In which units a change is told."""

    SHARE = "share"  # of the rows with a value, those with `value`: a category or a range of numbers
    MEAN = "mean"  # in the column's own unit; the age in seconds of a timestamp
    SPREAD = "spread"  # the standard deviation, likewise
    MISSING = "missing"  # the share of rows without a value
    NEW = "new"  # the share of values that the reference never held
    LOSS = "loss"  # a metric by labels, in the direction in which people know it
    ESTIMATE = "estimate"  # a metric estimated without labels


@dataclass(frozen=True, slots=True)
class Change:
    """What changed, in the reader's units: a column of a window, or a metric, beside the reference."""

    subject: str  # a column, "prediction", "score" or a metric
    measure: Measure
    before: float  # in the reference
    now: float
    value: str = ""  # of a share: whose
    is_time: bool = False  # both are durations in seconds
    windows: int = 1  # that `now` is of
    rows: int = 0  # likewise; of a loss the labels, 0 where they were not counted
    segment: str = ""  # of a loss: the rows it is of


@dataclass(frozen=True, slots=True)
class KindAssessment:
    """The evidence of one kind after a window, against the threshold that its budget gives."""

    kind: EvidenceKind
    verdict: Verdict
    evidence: float
    threshold: float
    sentence: str  # what changed or why nothing can be said, without the evidence
    leaders: tuple[tuple[str, float], ...] = ()  # subjects with their shares of the evidence, largest first
    change_start: float | None = None  # the start of the window at which the change most likely began
    crossed: bool = False  # whether this window raised the alarm; it stands until a swap or until it is absorbed
    standing: StandingAlarm | None = None  # of a kind whose alarm is a level (performance, harm): the one that stands
    cleared: StandingAlarm | None = None  # the one that this window ended, because its evidence fell
    figures: str = ""  # the same for who checks it: evidence, threshold, effect sizes
    streams: tuple[tuple[str, str], ...] = ()  # subject and component of what leads, as `leaders` has them
    changes: tuple[Change, ...] = ()  # what changed, the first first
    note: str = ""  # what else a reader must know, one sentence
    chance_years: float | None = None  # of an alarm: chance alone gives so much evidence once in so many years at most


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
    failed_detectors: tuple[str, ...] = ()  # of the user, that gave no score of this window
    waits: bool = False  # inconclusive for now: the cohort's labels are still coming, so ask again later

    def of(self, kind: EvidenceKind) -> KindAssessment | None:
        """The assessment of one kind, if this check looked at it."""
        return next((found for found in self.kinds if found.kind is kind), None)


def summary_of(kinds: tuple[KindAssessment, ...]) -> tuple[Verdict, str]:
    """The verdict of a window, and why in one sentence, from its kinds of evidence.

    An estimate without labels that is not believed (yet) makes nothing unclear.
    """
    silent = (EvidenceKind.HARM, Verdict.INCONCLUSIVE)
    believed = [kind for kind in kinds if (kind.kind, kind.verdict) != silent]
    first = max(believed, key=lambda kind: loudness(kind.verdict))
    if first.verdict is not Verdict.OK:
        return first.verdict, first.sentence
    return Verdict.OK, "No alarm."


def figures_of(kinds: Iterable[KindAssessment]) -> str:
    """How far the evidence of each kind has come, in one clause; empty where there is none."""
    gathered = [f"{SAID[kind.kind]} {number(kind.evidence)} of {number(kind.threshold)}" for kind in kinds]
    return f"Evidence, and the threshold of an alarm: {', '.join(gathered)}." if gathered else ""


def share_of_limit(evidence: float, threshold: float) -> float:
    """How far evidence has come from 1 to its threshold, in 0 .. 1, by logarithms: evidence multiplies."""
    if threshold <= 1 or evidence <= 1:
        return 0.0
    return min(1.0, math.log(evidence) / math.log(threshold))


@dataclass(frozen=True, slots=True)
class LatestVerdicts:
    """What the last checks of the served version concluded.

    Each of the two kinds of check has its own verdict, and the verdicts on the kinds of evidence from the last check of
    that kind that evaluated any.
    """

    window: Verdict | None = None
    labels: Verdict | None = None
    window_kinds: tuple[Verdict, ...] = ()
    labels_kinds: tuple[Verdict, ...] = ()

    def after_window(self, assessment: Assessment) -> LatestVerdicts:
        """These verdicts after another window was checked."""
        kinds = tuple(found.verdict for found in assessment.kinds) or self.window_kinds
        return replace(self, window=assessment.verdict, window_kinds=kinds)

    def after_labels(self, assessment: Assessment) -> LatestVerdicts:
        """These verdicts after the labels of another cohort were checked."""
        kinds = tuple(found.verdict for found in assessment.kinds) or self.labels_kinds
        return replace(self, labels=assessment.verdict, labels_kinds=kinds)

    @property
    def overall(self) -> Verdict | None:
        """The verdict on a model; None before the first check.

        Whatever is loud comes first. Else it is that of the last window: what was well before says nothing of a window
        that could not be judged, and labels that are still coming say nothing of one that could.
        """
        kinds = (*self.window_kinds, *self.labels_kinds)
        known = [found for found in (*kinds, self.window, self.labels) if found is not None]
        return loudest(found for found in known if found in LOUD) or self.window or loudest(kinds) or self.labels
