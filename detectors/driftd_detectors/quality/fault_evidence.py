"""Faults of the pipeline over windows: certain at once where a window says enough, else after several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from driftd_detectors.assessment import EvidenceKind, Fault, KindAssessment, Verdict
from driftd_detectors.formatting import number

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
