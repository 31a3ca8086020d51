"""The faults of one window, and the evidence for them over windows: certain at once, or after several.

Each check of a window is a bet that clean data all but never win.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import EvidenceKind, Fault, KindAssessment, Verdict, number
from driftd_detectors.columns import Numbers
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Profile
from driftd_detectors.quality.faults import (
    FEWEST_ROWS,
    ColumnWindow,
    QualitySettings,
    Suspicion,
    changed_scale,
    constant,
    missing_values,
    new_category,
    out_of_range,
    unreadable,
    vanished_values,
)
from driftd_detectors.scores.comparison import odd_bins

_BEYOND = 0.0051  # of the reference may lie beyond either end of what it "nearly always" held

Check = Callable[[ColumnWindow, QualitySettings], Suspicion | None]
FAULTS: dict[str, Check] = {
    "vanished": vanished_values,
    "unreadable": unreadable,
    "missing": missing_values,
    "new_category": new_category,
    "range": out_of_range,
    "scale": changed_scale,
    "constant": constant,
}
LEVEL_FAULTS = frozenset({"new_category", "range", "scale"})  # rows came whole, with values that were never seen


def quality_faults(
    window: Profile,
    reference: Profile,
    layout: Layout,
    *,
    settings: QualitySettings | None = None,
    usually_outlying: Numbers | None = None,
) -> tuple[Fault, ...]:
    """The faults of a window, the most certain first.

    A fault is reported from the point where its evidence exceeds 1; `alarm` says that one window made it certain.
    The evidence of one window is an e-value (under no fault its expectation is at most 1), so who watches many
    windows may multiply or add it up. `usually_outlying`, (columns,), is what `largest_outlying` says of the reference.

    Raises ValueError when one of the Profiles was made on another layout.
    """
    chosen = settings or QualitySettings()
    for profile in (window, reference):
        if profile.layout != layout.fingerprint:
            raise DetectorError(
                f"the Profile is of layout {profile.layout}, not {layout.fingerprint}; profile it again"
            )
    if window.rows < FEWEST_ROWS:
        return ()
    found = []
    for column in _columns(window, reference, layout, usually_outlying):
        for name, check in FAULTS.items():
            seen = check(column, chosen)
            if seen is not None and seen.evidence > 1:
                certain = seen.evidence >= chosen.certain
                sentence = f"{column.column.name} {seen.sentence}"
                found.append(Fault(column.column.name, name, sentence, seen.share, seen.evidence, certain))
    return tuple(sorted(found, key=lambda fault: (not fault.alarm, -fault.evidence)))


def _columns(
    window: Profile, reference: Profile, layout: Layout, usually_outlying: Numbers | None
) -> Iterator[ColumnWindow]:
    outlying, ends = outlying_rows(window.counts, reference.counts, layout)
    half = 2 * outlying > np.add.reduceat(window.counts, layout.starts[:-1]) if len(outlying) else outlying
    for index in np.flatnonzero(_worth_a_look(window, reference, layout) | half):
        column = layout.columns[index]
        bins = slice(int(layout.starts[index]), int(layout.starts[index + 1]))
        yield ColumnWindow(
            column,
            window.rows,
            window.counts[bins],
            reference.counts[bins],
            int(window.unreadable[index]),
            int(window.absent[index]),
            int(reference.unreadable[index]),
            int(reference.absent[index]),
            int(window.moments.finite[index]),
            float(window.moments.low[index]),
            float(window.moments.high[index]),
            int(outlying[index]),
            (float(ends[0][index]), float(ends[1][index])),
            0.0 if usually_outlying is None else float(usually_outlying[index]),
        )


def outlying_rows(
    window: NDArray[np.int64], reference: NDArray[np.int64], layout: Layout
) -> tuple[NDArray[np.int64], tuple[Numbers, Numbers]]:
    """Values of each numeric column beyond one end of 99 % of the reference, on the side that has more; and the ends.

    `window` and `reference` are counts on the flat vector. All arrays are of shape (columns,); 0 for labels, NaN ends.
    """
    starts, missing = layout.starts[:-1], _missing_bins(layout)
    columns = len(starts)
    if columns == 0:
        return np.zeros(0, dtype=np.int64), (np.zeros(0), np.zeros(0))
    owner = np.repeat(np.arange(columns), np.diff(layout.starts))
    known = np.where(missing, 0, reference)
    up_to = np.cumsum(known)
    before = (up_to - known)[starts]
    present = np.add.reduceat(known, starts)
    most = _BEYOND * present[owner]
    low = up_to - before[owner] <= most
    high = present[owner] - (up_to - before[owner] - known) <= most
    numeric = _numeric(layout)[owner] & ~missing & (present[owner] > 0)
    own = np.where(numeric, window, 0)
    beyond = np.maximum(np.add.reduceat(own * low, starts), np.add.reduceat(own * high, starts))
    edges = _left_ends(layout)
    ends = (
        np.minimum.reduceat(np.where(numeric & ~low, edges, np.inf), starts),
        np.minimum.reduceat(np.where(numeric & high, np.where(edges > -np.inf, edges, np.inf), np.inf), starts),
    )
    return np.asarray(beyond, dtype=np.int64), ends


def largest_outlying(windows: Sequence[NDArray[np.int64]], layout: Layout) -> Numbers:
    """The largest share of outlying values that a window of the reference has against all others, (columns,).

    `windows` are the counts of the reference's windows. The rows of a day may share a value or a level, as weather.
    """
    largest = np.zeros(len(layout.columns))
    whole = np.sum(windows, axis=0) if windows else np.zeros(layout.bins, dtype=np.int64)
    for counts in windows:
        present = np.add.reduceat(np.where(_missing_bins(layout), 0, counts), layout.starts[:-1])
        share = outlying_rows(counts, whole - counts, layout)[0] / np.maximum(present, 1)
        largest = np.maximum(largest, np.where(present >= FEWEST_ROWS, share, 0.0))
    return largest


def moving_columns(windows: Sequence[NDArray[np.int64]], layout: Layout) -> frozenset[str]:
    """Columns whose median leaves what they held before as a rule: in a tenth of the reference's windows, and two.

    `windows` are the counts of the reference's windows in time order. An order number does so every time.
    """
    times, seen = np.zeros(len(layout.columns)), np.zeros(layout.bins, dtype=np.int64)
    for before, counts in enumerate(windows):
        if before >= _FEWEST_BEFORE:
            present = np.add.reduceat(np.where(_missing_bins(layout), 0, counts), layout.starts[:-1])
            times += 2 * outlying_rows(counts, seen, layout)[0] > np.maximum(present, FEWEST_ROWS)
        seen = seen + counts
    fewest = max(_FEWEST_USUAL, _USUAL_SHARE * len(windows))
    return frozenset(column.name for column, count in zip(layout.columns, times, strict=True) if count >= fewest)


def _worth_a_look(window: Profile, reference: Profile, layout: Layout) -> NDArray[np.bool_]:
    """Columns in which any fault is possible, found for all of them at once: a sound window costs next to nothing."""
    starts, ends = layout.starts[:-1], layout.starts[1:]
    if len(starts) == 0:
        return np.zeros(0, dtype=np.bool_)
    counts, usual = window.counts, reference.counts
    delivered = np.add.reduceat(counts, starts)
    gone, usually_gone = counts[ends - 1], usual[ends - 1]
    more_missing = gone * np.add.reduceat(usual, starts) > usually_gone * delivered
    one_bin = np.maximum.reduceat(np.where(_missing_bins(layout), 0, counts), starts) == delivered - gone
    numeric = _numeric(layout)
    new = ~numeric & (counts[ends - 2] > 0)
    strange = numeric & (counts[starts] + counts[starts + 1] + counts[ends - 3] + counts[ends - 2] > 0)
    found: NDArray[np.bool_] = (window.absent > 0) | (window.unreadable > 0) | more_missing | one_bin | new | strange
    return found


@lru_cache(maxsize=64)
def _numeric(layout: Layout) -> NDArray[np.bool_]:
    return np.array([column.numeric for column in layout.columns], dtype=np.bool_)


@lru_cache(maxsize=64)
def _left_ends(layout: Layout) -> Numbers:
    """The left end of every bin of numbers, minus infinity for the first ones; NaN for missing and for labels."""
    parts = []
    for column in layout.columns:
        ends = np.full(column.bins, np.nan)
        if column.numeric:
            ends[:-1] = [-np.inf, -np.inf, *column.all_edges[1:-1]]
        parts.append(ends)
    return np.concatenate(parts) if parts else np.zeros(0)


@lru_cache(maxsize=64)
def _missing_bins(layout: Layout) -> NDArray[np.bool_]:
    """Which bins of the flat vector are those of missing values."""
    found = np.zeros(layout.bins, dtype=np.bool_)
    found[layout.starts[1:] - 1] = True
    return found


_MOST = 1e12
_USUAL_SHARE, _FEWEST_USUAL = 0.1, 2
_FEWEST_BEFORE = 3  # windows of the reference that a later one is compared with
_LEAST_NOVEL = 0.02  # of values that the reference never held, beyond what is usual: below, it is no novelty
_MOST_WINDOWS = 1000
_STEADY, _STEADY_SDS = 0.1, 3.0  # a share that jumps by more from one window to the next is another one


@dataclass(frozen=True, slots=True)
class Novelty:
    """For how many windows a column has held values that the reference never held, without a jump of their share.

    A window without any takes one off, as in weather that comes and goes.
    """

    windows: int
    since: float  # the start of the first of them, epoch seconds
    share: float  # the highest in any of them


def follow_novelty(
    before: Mapping[str, Novelty], window: Profile, reference: Profile, layout: Layout, start: float
) -> dict[str, Novelty]:
    """The novelty of each column that has any, after one window more."""
    odd, starts = odd_bins(layout), layout.starts[:-1]
    if len(starts) == 0:
        return {}
    present = np.add.reduceat(np.where(_missing_bins(layout), 0, window.counts), starts)
    outlying, _ = outlying_rows(window.counts, reference.counts, layout)
    hits = np.maximum(
        np.add.reduceat(np.where(odd.outside, window.counts, 0), starts), np.where(2 * outlying > present, outlying, 0)
    )
    share = hits / np.maximum(present, 1)
    found = {name: replace(last, windows=last.windows - 1) for name, last in before.items() if last.windows > 1}
    for index in np.flatnonzero((share > odd.usual + _LEAST_NOVEL) & (present >= FEWEST_ROWS)):
        name, own = layout.columns[index].name, float(share[index])
        last = before.get(name)
        step = _STEADY + _STEADY_SDS * math.sqrt(0.5 / present[index])
        if last is None or own > last.share + step:
            found[name] = Novelty(1, start, own)
        else:
            found[name] = Novelty(min(last.windows + 1, _MOST_WINDOWS), last.since, max(own, last.share))
    return found


@dataclass(frozen=True, slots=True)
class FaultEvidence:
    """Evidence for each fault of each column, and which of them are certain now. Immutable.

    Parameters
    ----------
    threshold
        A: the average number of clean windows between two false alarms of all columns together.
    columns
        How many columns share it: a fault is certain when its own evidence reaches threshold x columns.
    usual
        What the reference's own windows show too, as "subject: fault": a weekday is constant in every window of a
        day. That is how the data are, and no fault.

    Notes
    -----
    A window's evidence for a fault is an e-value; R <- (R + 1) e as for drift, and 0 as soon as the fault is not seen,
    so that a pipeline that was mended is whole at once. The mean of R over the columns has the expectation of at most
    the number of windows, so its first crossing of A takes A windows on average at least.

    Examples
    --------
    >>> watched = FaultEvidence(threshold=1000.0, columns=5)
    >>> missing = Fault("x", "missing", "x is missing in half of the rows", share=0.5, evidence=200.0)
    >>> for _ in range(2):
    ...     watched, faults = watched.update([missing])
    >>> faults[0].alarm, watched.assess(faults).verdict.value
    (True, 'drift')

    References
    ----------
    .. [1] Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    """

    threshold: float
    columns: int
    usual: frozenset[str] = frozenset()
    gathered: Mapping[str, float] = field(default_factory=dict)  # by "subject: fault"
    standing: frozenset[str] = frozenset()
    crossed: bool = False
    novelty: Mapping[str, Novelty] = field(default_factory=dict)  # by subject
    drifted: tuple[str, ...] = ()  # subjects whose novelty is drift: it lasts, and labels arrive

    @property
    def certain(self) -> float:
        """The evidence at which a single fault is certain."""
        return self.threshold * max(1, self.columns)

    def with_novelty(self, novelty: Mapping[str, Novelty], lasting: int, labelled_at: float | None) -> FaultEvidence:
        """One window's novelty more. Where it lasts `lasting` windows and labels came since it began, it is drift.

        `labelled_at` is the time of the newest label; None where no label is known.
        """
        drifted = tuple(
            name
            for name, seen in novelty.items()
            if seen.windows >= lasting and labelled_at is not None and labelled_at >= seen.since
        )
        return replace(self, novelty=novelty, drifted=drifted)

    def update(self, faults: Iterable[Fault]) -> tuple[FaultEvidence, tuple[Fault, ...]]:
        """One window more: the faults with what they gathered, those that are certain marked as alarms.

        A fault of the level of a column whose novelty is drift is none.
        """
        gathered, judged = {}, []
        for fault in faults:
            if key_of(fault) in self.usual or (fault.fault in LEVEL_FAULTS and fault.subject in self.drifted):
                continue
            evidence = min(_MOST, (self.gathered.get(key_of(fault), 0.0) + 1.0) * fault.evidence)
            gathered[key_of(fault)] = evidence
            judged.append(replace(fault, evidence=evidence, alarm=fault.alarm or evidence >= self.certain))
        standing = frozenset(key_of(fault) for fault in judged if fault.alarm)
        after = replace(self, gathered=gathered, standing=standing, crossed=bool(standing - self.standing))
        return after, tuple(judged)

    def assess(self, faults: tuple[Fault, ...]) -> KindAssessment:
        """What the faults of the last window come to, in one sentence."""
        alarms = tuple(fault for fault in faults if fault.alarm)
        named = alarms or faults
        evidence = max((fault.evidence for fault in named), default=0.0) / max(1, self.columns)
        more = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
        sentence = f": evidence {number(evidence)} against a threshold of {number(self.threshold)}"
        calm = "No fault in any column"
        if self.drifted:
            names, windows = ", ".join(self.drifted[:3]), self.novelty[self.drifted[0]].windows
            calm += f"; {names} held values that the reference never did for {windows} windows, with labels: drift"
        return KindAssessment(
            EvidenceKind.QUALITY,
            Verdict.DRIFT if alarms else Verdict.SUSPECTED if faults else Verdict.OK,
            max(evidence, self.threshold) if alarms else evidence,
            self.threshold,
            f"{named[0].sentence}{more}." if named else f"{calm}.",
            figures=f"{named[0].sentence}{more}{sentence}" if named else "",
            leaders=tuple((fault.subject, 1 / len(named)) for fault in named),
            crossed=self.crossed,
        )


def usual_faults(windows: Sequence[Iterable[Fault]]) -> frozenset[str]:
    """What a tenth of the reference's windows, and at least two, show: one alone may have been a real fault."""
    times = Counter(key for window in windows for key in {key_of(fault) for fault in window})
    fewest = max(_FEWEST_USUAL, _USUAL_SHARE * len(windows))
    return frozenset(key for key, count in times.items() if count >= fewest)


def key_of(fault: Fault) -> str:
    """What a fault is known by from window to window."""
    return f"{fault.subject}: {fault.fault}"
