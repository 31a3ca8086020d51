"""The faults of one window, and the evidence for them over windows: certain at once, or after several.

Each check of a window is a bet that clean data all but never win.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import EvidenceKind, Fault, KindAssessment, Verdict, number
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Profile
from driftd_detectors.quality.faults import (
    FEWEST_ROWS,
    ColumnWindow,
    QualitySettings,
    Suspicion,
    constant,
    missing_values,
    new_category,
    out_of_range,
    unreadable,
    vanished_values,
)

Check = Callable[[ColumnWindow, QualitySettings], Suspicion | None]
FAULTS: dict[str, Check] = {
    "vanished": vanished_values,
    "unreadable": unreadable,
    "missing": missing_values,
    "new_category": new_category,
    "range": out_of_range,
    "constant": constant,
}


def quality_faults(
    window: Profile, reference: Profile, layout: Layout, *, settings: QualitySettings | None = None
) -> tuple[Fault, ...]:
    """The faults of a window, the most certain first.

    A fault is reported from the point where its evidence exceeds 1; `alarm` says that one window made it certain.
    The evidence of one window is an e-value (under no fault its expectation is at most 1), so who watches many
    windows may multiply or add it up.

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
    for column in _columns(window, reference, layout):
        for name, check in FAULTS.items():
            seen = check(column, chosen)
            if seen is not None and seen.evidence > 1:
                certain = seen.evidence >= chosen.certain
                sentence = f"{column.column.name} {seen.sentence}"
                found.append(Fault(column.column.name, name, sentence, seen.share, seen.evidence, certain))
    return tuple(sorted(found, key=lambda fault: (not fault.alarm, -fault.evidence)))


def _columns(window: Profile, reference: Profile, layout: Layout) -> Iterator[ColumnWindow]:
    for index in np.flatnonzero(_worth_a_look(window, reference, layout)):
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
        )


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
    numeric = np.array([column.numeric for column in layout.columns])
    new = ~numeric & (counts[ends - 2] > 0)
    strange = numeric & (counts[starts] + counts[starts + 1] + counts[ends - 3] + counts[ends - 2] > 0)
    found: NDArray[np.bool_] = (window.absent > 0) | (window.unreadable > 0) | more_missing | one_bin | new | strange
    return found


def _missing_bins(layout: Layout) -> NDArray[np.bool_]:
    """Which bins of the flat vector are those of missing values."""
    found = np.zeros(layout.bins, dtype=np.bool_)
    found[layout.starts[1:] - 1] = True
    return found


_MOST = 1e12
_USUAL_SHARE, _FEWEST_USUAL = 0.1, 2


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

    @property
    def certain(self) -> float:
        """The evidence at which a single fault is certain."""
        return self.threshold * max(1, self.columns)

    def update(self, faults: Iterable[Fault]) -> tuple[FaultEvidence, tuple[Fault, ...]]:
        """One window more: the faults with what they gathered, those that are certain marked as alarms."""
        gathered, judged = {}, []
        for fault in faults:
            if key_of(fault) in self.usual:
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
        return KindAssessment(
            EvidenceKind.QUALITY,
            Verdict.DRIFT if alarms else Verdict.SUSPECTED if faults else Verdict.OK,
            max(evidence, self.threshold) if alarms else evidence,
            self.threshold,
            f"{named[0].sentence}{more}{sentence}" if named else "no fault in any column",
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
