"""Harm without labels: the one-sided e-detector on the estimated loss of windows, believed while labels bear it out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import EvidenceKind, KindAssessment, Verdict
from driftd_detectors.evidence.evidence import SUSPECTED, Evidence, EvidenceView, StreamWeights
from driftd_detectors.formatting import format_windows, number
from driftd_detectors.performance.estimated_loss import ExpectedLoss, LossEstimate
from driftd_detectors.performance.losses import value_of
from driftd_detectors.profile.profile import Profile

_REMEMBERED = 1000  # estimates that wait for their labels
_COMPARED = 20  # matured windows on which the estimate is judged ...
_FEWEST_COMPARED = 10
_LEAST_COVERAGE = 0.8  # ... of which its 95 % band must hold so many
_QUARANTINE = 1.5  # as for losses with labels: what creeps up must not be learned as normal


@dataclass(frozen=True, slots=True)
class Harm(EvidenceView):
    """Evidence that the loss to be expected of the inputs has risen by more than is tolerated. Immutable.

    Parameters
    ----------
    expected
        What a window's loss should be, from its Profile.
    tolerated
        The rise of the loss that is no reason for an alarm.
    evidence
        The e-detector on (estimate - reference), upward only.
    waiting
        Estimates by the start of their window, that labels have not been compared with yet.
    compared
        For the last matured windows, oldest first, whether the band held what labels said.

    Notes
    -----
    The estimate of a window is a mean over its rows, so without drift it varies by `spread` / sqrt(n), and by what
    windows differ from one another, which is learned as for every stream. Under concept drift or label shift every
    label-free estimate is wrong: when the band held fewer than .8 of the last 20 windows whose labels came, the
    estimate is switched off, says so, and raises nothing.

    Examples
    --------
    >>> from driftd_detectors.columns import Columns, Outcomes
    >>> from driftd_detectors.profile.layout import learn_layout
    >>> from driftd_detectors.profile.profile import profile_of
    >>> from driftd_detectors.schema import Feature, Kind, Schema, Task
    >>> x = np.random.default_rng(1).normal(size=6000)
    >>> rows = lambda part: Columns(len(part), {"x": part}, {})
    >>> layout = learn_layout(rows(x), None, Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),)))
    >>> weights = np.linspace(-1.0, 1.0, layout.bins)  # the loss grows with x
    >>> expected = ExpectedLoss("mae", 2.0, 2.0, 6000, weights, 0.6, 1.0, 0.0, 0.3)
    >>> windows = tuple((float(n), profile_of(rows(part), None, layout)) for n, part in enumerate(np.split(x, 30)))
    >>> harm = Harm.begin(expected, 1000.0, windows, tolerated=0.1, window_seconds=None)
    >>> for number in range(5):
    ...     harm = harm.update(profile_of(rows(x[:200] + 1.0), None, layout), 30.0 + number)
    >>> harm.alarmed
    True

    References
    ----------
    .. [1] Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    .. [2] Kivimaki, Bialek, Kuberski, Nurminen, *Performance estimation in binary classification using calibrated
       confidence*, 2025.
    """

    expected: ExpectedLoss
    tolerated: float
    evidence: Evidence
    waiting: dict[float, tuple[float, int]] = field(default_factory=dict)
    compared: tuple[bool, ...] = ()
    last: LossEstimate | None = None

    @classmethod
    def begin(
        cls,
        expected: ExpectedLoss,
        threshold: float,
        windows: tuple[tuple[float, Profile], ...],
        *,
        tolerated: float,
        window_seconds: float | None,
        waits_for: int = 0,
    ) -> Harm:
        """Learn from the reference's windows; for evidence that is about to be taken up again these may be left out."""
        seen = [(start, profile) for start, profile in windows if profile.rows > 0]
        values = np.array([expected.of(profile).loss - expected.mean for _, profile in seen]).reshape(-1, 1)
        sds = np.array([expected.spread / np.sqrt(profile.rows) for _, profile in seen]).reshape(-1, 1)
        lanes = StreamWeights.of(np.ones(1), np.zeros(1, dtype=bool))
        starts = np.array([start for start, _ in seen], dtype=np.float64)
        evidence = Evidence.begin(lanes, threshold, starts, values, sds, window_seconds)
        return cls(expected, tolerated, replace(evidence, quarantine=_QUARANTINE, waits_for=waits_for))

    @property
    def coverage(self) -> float:
        """The share of the last matured windows whose loss the band held; NaN while they are too few to say."""
        return float(np.mean(self.compared)) if len(self.compared) >= _FEWEST_COMPARED else float("nan")

    @property
    def is_off(self) -> bool:
        """Whether labels have shown that the estimate cannot be believed."""
        return self.coverage < _LEAST_COVERAGE

    def update(self, profile: Profile, start: float) -> Harm:
        """One window more."""
        found = self.expected.of(profile)
        waiting = dict(list({**self.waiting, start: (found.loss, found.rows)}.items())[-_REMEMBERED:])
        after = replace(self, waiting=waiting, last=found)
        if self.is_off:
            return replace(after, evidence=replace(self.evidence, crossed=False))
        value, sd = found.loss - self.expected.mean, self.expected.spread / np.sqrt(found.rows)
        moved = self.evidence.update(np.array([value]), np.array([sd]), np.array([self.tolerated]), start)
        return replace(after, evidence=moved)

    def with_realised_loss(self, start: float, loss: float, labels: float) -> Harm:
        """What labels said of a window that was estimated before; nothing changes for any other."""
        if start not in self.waiting or not np.isfinite(loss):
            return self
        waiting = dict(self.waiting)
        estimate, _ = waiting.pop(start)
        held = abs(loss - estimate) <= 1.96 * self.expected.uncertainty(labels)
        after = replace(self, waiting=waiting, compared=(*self.compared, bool(held))[-_COMPARED:])
        return after.absorb() if after.is_off and not self.is_off else after

    def absorb(self) -> Harm:
        """Take the estimate since the change for normal."""
        return replace(self, evidence=self.evidence.absorb())

    def assess(self) -> KindAssessment:
        """What the evidence says after the last window, in one sentence."""
        evidence, metric = self.evidence, self.expected.metric
        value, threshold = evidence.value, evidence.threshold
        if self.is_off:
            held = f"its band held {sum(self.compared)} of the last {len(self.compared)} windows that labels came for"
            return self._silent(f"the estimate without labels is switched off: {held}")
        if evidence.is_learning or self.last is None:
            return self._silent(evidence.learning or "no window was estimated yet")
        verdict = Verdict.DRIFT if evidence.alarmed else Verdict.SUSPECTED if value >= SUSPECTED else Verdict.OK
        loss_now, usual = (f"{value_of(metric, mean):.4g}" for mean in (self.last.loss, self.expected.mean))
        seen = f"estimated without labels {metric} is {loss_now}, {usual} on the reference"
        against = f"evidence {number(value)} against a threshold of {number(threshold)}"
        calm = verdict is Verdict.OK
        return KindAssessment(
            EvidenceKind.HARM,
            verdict,
            value,
            threshold,
            f"{seen}: {against}" if calm else f"{seen}: {against}, over {format_windows(max(1, evidence.since))}",
            leaders=() if calm else ((metric, 1.0),),
            change_start=None if calm else evidence.change_start(),
            crossed=evidence.crossed,
        )

    def figures(self) -> dict[str, float]:
        """The last window's estimate, as a loss and in the metric's usual direction, with its band and its trust."""
        if self.last is None:
            return {}
        metric, ends = self.expected.metric, (self.last.low, self.last.high)
        low, high = sorted(value_of(metric, max(0.0, end)) for end in ends)
        figures = {
            "estimated_loss": self.last.loss,
            "estimated_loss_low": self.last.low,
            "estimated_loss_high": self.last.high,
            "estimated": value_of(metric, max(0.0, self.last.loss)),
            "estimated_low": low,
            "estimated_high": high,
            "estimate_off": float(self.is_off),
        }
        return figures if np.isnan(self.coverage) else figures | {"estimate_coverage": self.coverage}

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        values, arrays = self.evidence.pack()
        waiting = [[start, loss, rows] for start, (loss, rows) in self.waiting.items()]
        return values | {"waiting": waiting, "compared": list(self.compared)}, arrays

    def taken_up(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Harm | None:
        """This, with the state that `pack` gave; None when it does not fit."""
        waiting = {float(start): (float(loss), int(rows)) for start, loss, rows in values.pop("waiting")}
        compared = tuple(bool(outcome) for outcome in values.pop("compared"))
        found = self.evidence.taken_up(values, arrays)
        return None if found is None else replace(self, evidence=found, waiting=waiting, compared=compared)

    def _silent(self, why: str) -> KindAssessment:
        return KindAssessment(
            EvidenceKind.HARM, Verdict.INCONCLUSIVE, self.evidence.value, self.evidence.threshold, why
        )
