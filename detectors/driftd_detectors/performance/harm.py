"""Harm without labels: the estimated loss of windows against the reference's, believed while labels bear it out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import Change, EvidenceKind, KindAssessment, Measure, Verdict, number
from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.change_sentences import format_pair, metric_name
from driftd_detectors.evidence.evidence import SUSPECTED
from driftd_detectors.performance.estimated_loss import ExpectedLoss, LossEstimate
from driftd_detectors.performance.level_averages import Stretch, places_of
from driftd_detectors.performance.level_evidence import LevelEvidence, Promise
from driftd_detectors.performance.level_view import (
    LevelView,
    alarm_sentence,
    change_sentence,
    cleared_sentence,
    level_change,
    pack_level,
    suspicion_sentence,
    unpack_level,
)
from driftd_detectors.performance.losses import value_of
from driftd_detectors.profile.profile import Profile
from driftd_detectors.schema import display_name
from driftd_detectors.serialization import JsonObject

_REMEMBERED = 1000  # estimates that wait for their labels
_COMPARED = 20  # matured windows on which the estimate is judged ...
_FEWEST_COMPARED = 10
_LEAST_COVERAGE = 0.8  # ... of which its 95 % band must hold so many


@dataclass(frozen=True, slots=True)
class Harm(LevelView):
    """Evidence that the loss to be expected of the inputs has risen by more than is tolerated. Immutable.

    Parameters
    ----------
    expected
        What a window's loss should be, from its Profile.
    tolerated
        The rise of the loss that is no reason for an alarm.
    evidence
        The averages of the last windows' estimates against the reference's mean loss.
    waiting
        Estimates by the start of their window, that labels have not been compared with yet.
    compared
        For the last matured windows, oldest first, whether the band held what labels said.

    Notes
    -----
    The estimate of a window is a mean over its rows, so without drift it varies by `spread` / sqrt(n), and by what
    windows differ from one another, which is learned; the level is the reference's, and never learned. Under concept
    drift or label shift every label-free estimate is wrong: when the band held fewer than .8 of the last 20 windows
    whose labels came, the estimate is switched off, says so, and raises nothing.

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
    >>> for number in range(8):
    ...     harm = harm.update(profile_of(rows(x[:200] + 2.0), None, layout), 30.0 + number)
    >>> harm.alarmed
    True

    References
    ----------
    .. [1] Kivimaki, Bialek, Kuberski, Nurminen, *Performance estimation in binary classification using calibrated
       confidence*, 2025.
    """

    expected: ExpectedLoss
    tolerated: float
    evidence: LevelEvidence
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
        """Nothing live is known yet; `windows` are the reference's."""
        seen = [(start, profile) for start, profile in windows if profile.rows > 0]
        return cls.begin_estimated(
            expected,
            threshold,
            np.array([start for start, _ in seen], dtype=np.float64),
            np.array([expected.of(profile).loss for _, profile in seen]),
            np.array([profile.rows for _, profile in seen], dtype=np.int64),
            tolerated=tolerated,
            window_seconds=window_seconds,
            waits_for=waits_for,
        )

    @classmethod
    def begin_estimated(
        cls,
        expected: ExpectedLoss,
        threshold: float,
        starts: Numbers,
        values: Numbers,
        rows: NDArray[np.int64],
        *,
        tolerated: float,
        window_seconds: float | None,
        waits_for: int = 0,
    ) -> Harm:
        """The same from the reference's windows as they were estimated, (windows,) each; those without rows not."""
        sampling = expected.spread**2 / rows
        places = places_of(starts, window_seconds)
        evidence = LevelEvidence.begin(
            Promise(expected.mean, Stretch(places, values, sampling), expected.spread**2 / expected.rows),
            threshold,
            tolerance=tolerated,
            window_seconds=window_seconds,
            waits_for=waits_for,
        )
        return cls(expected, tolerated, evidence)

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
            return replace(after, evidence=replace(self.evidence, crossed=False, ended=None))
        return replace(after, evidence=self.evidence.update(found.loss, self.expected.spread**2 / found.rows, start))

    def with_realised_loss(self, start: float, loss: float, labels: float) -> Harm:
        """What labels said of a window that was estimated before; nothing changes for any other."""
        if start not in self.waiting or not np.isfinite(loss):
            return self
        waiting = dict(self.waiting)
        estimate, _ = waiting.pop(start)
        held = abs(loss - estimate) <= 1.96 * self.expected.uncertainty(labels)
        after = replace(self, waiting=waiting, compared=(*self.compared, bool(held))[-_COMPARED:])
        return replace(after, evidence=after.evidence.forget()) if after.is_off and not self.is_off else after

    def rebaseline(self) -> Harm:
        """Take the estimate since the change for what is promised from now on."""
        return replace(self, evidence=self.evidence.rebaseline())

    def assess(self) -> KindAssessment:
        """What the evidence says after the last window, in one sentence."""
        evidence = self.evidence
        if self.is_off:
            held = f"its band held {sum(self.compared)} of the last {len(self.compared)} windows that labels came for"
            return self._silent(f"the estimate without labels is switched off: {held}")
        if self.last is None:
            return self._silent("no window was estimated yet")
        if evidence.is_learning:
            return self._silent("the windows so far have too few rows to tell the estimated loss to 30 %")
        calm = not evidence.alarmed and evidence.value < SUSPECTED
        verdict = Verdict.DRIFT if evidence.alarmed else Verdict.OK if calm else Verdict.SUSPECTED
        return KindAssessment(
            EvidenceKind.HARM,
            verdict,
            evidence.value,
            evidence.threshold,
            self._sentence(verdict, self.last),
            figures=self._figures(verdict, self.last),
            changes=() if calm else (self._change(),),
            leaders=() if calm else ((display_name(self.expected.metric), 1.0),),
            change_start=None if calm else evidence.change_start,
            crossed=evidence.crossed,
            standing=self.standing,
            cleared=self.ended,
        )

    def _change(self) -> Change:
        return level_change(self.evidence, self.expected.metric, Measure.ESTIMATE)

    def _sentence(self, verdict: Verdict, last: LossEstimate) -> str:
        """What the estimate is now, without the evidence."""
        if self.evidence.cleared:
            return self._figures(verdict, last)
        if verdict is not Verdict.OK:
            return change_sentence(self.evidence, self._change())
        estimated, usual = format_pair(*(value_of(self.expected.metric, at) for at in (last.loss, self.expected.mean)))
        return f"Estimated {metric_name(self.expected.metric)}: {estimated}, {usual} on the reference."

    def _figures(self, verdict: Verdict, last: LossEstimate) -> str:
        evidence, metric = self.evidence, self.expected.metric
        estimated, usual = (f"{value_of(metric, value):.4g}" for value in (last.loss, self.expected.mean))
        seen, name = (
            f"estimated without labels {display_name(metric)} is {estimated}, {usual} on the reference",
            f"estimated {display_name(metric)}",
        )
        if verdict is Verdict.DRIFT:
            return f"{seen}. {alarm_sentence(evidence, metric, name)}"
        if evidence.cleared:
            return f"{seen}. {cleared_sentence(evidence, metric, name)}"
        if verdict is Verdict.SUSPECTED:
            return f"{seen}. {suspicion_sentence(evidence, metric, name)}"
        return f"{seen}: evidence {number(evidence.value)} against a threshold of {number(evidence.threshold)}"

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

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        values, arrays = pack_level(self.evidence)
        waiting = [[start, loss, rows] for start, (loss, rows) in self.waiting.items()]
        return values | {"waiting": waiting, "compared": list(self.compared)}, arrays

    def restore_from(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Harm | None:
        """This, with the state that `pack` gave; None when it does not fit."""
        found = unpack_level(self.evidence, values, arrays)
        if found is None:
            return None
        waiting = {float(start): (float(loss), int(rows)) for start, loss, rows in values["waiting"]}
        compared = tuple(bool(outcome) for outcome in values["compared"])
        return replace(self, evidence=found, waiting=waiting, compared=compared)

    def _silent(self, why: str) -> KindAssessment:
        return KindAssessment(
            EvidenceKind.HARM, Verdict.INCONCLUSIVE, self.evidence.value, self.evidence.threshold, why
        )
