"""Scores of the user's own detectors as streams of data drift: calibrated on reference windows, within the budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import (
    Assessment,
    EvidenceKind,
    KindAssessment,
    Score,
    Verdict,
    format_windows,
    loudness,
    number,
    summary_of,
)
from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.change_sentences import format_day, format_pair
from driftd_detectors.evidence.evidence import SUSPECTED, Evidence, EvidenceView, StreamWeights
from driftd_detectors.serialization import pack, unpack
from driftd_detectors.settings import DETECTORS_SHARE

_LEAST = 1e-3  # of the largest score: what windows vary by where the reference's are all alike


@dataclass(frozen=True, slots=True)
class Calibration:
    """One detector and its scores of the reference's own windows, each against the rest of the reference."""

    name: str
    key: str  # what it is made with: other parameters are another detector
    two_sided: bool  # whether a score that falls is drift too
    starts: Numbers  # of the windows
    scores: Numbers


@dataclass(frozen=True, slots=True)
class DetectorDrift(EvidenceView):
    """Evidence that scores of the user's detectors have left what the reference's windows gave. Immutable.

    Notes
    -----
    A detector is one stream, one number a window, of unknown level and spread, both learned from the reference's
    windows and on (`evidence.Evidence`): whatever a score says on its own scale, it alarms at the rate that the budget
    grants. Distances are skewed to the right, as chi-squares are; where no score of the reference is negative the cube
    root is followed instead, which makes chi-squares nearly normal (Wilson, Hilferty 1931) and keeps their order.
    A window that a detector gives no score of changes nothing of its stream.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    roots: NDArray[np.bool_]  # (S,) whose cube root is followed
    usual: Numbers  # (S,) the mean score of the reference's windows
    floor: Numbers  # (S,) what a window's followed score varies by at least
    two_sided: NDArray[np.bool_]
    evidence: Evidence
    last: Numbers  # (S,) the scores of the last window; NaN where there was none

    @classmethod
    def begin(
        cls,
        calibrations: Sequence[Calibration],
        threshold: float,
        *,
        window_seconds: float | None,
        waits_for: int = 0,
    ) -> DetectorDrift:
        """Learn from the scores of the reference's windows; `threshold` is that of data drift as a whole."""
        starts = np.unique(np.concatenate([calibration.starts for calibration in calibrations]))
        values = np.full((len(starts), len(calibrations)), np.nan)
        for stream, calibration in enumerate(calibrations):
            values[np.searchsorted(starts, calibration.starts), stream] = calibration.scores
        two_sided = np.array([calibration.two_sided for calibration in calibrations], dtype=np.bool_)
        roots = ~two_sided & np.array([bool((calibration.scores >= 0).all()) for calibration in calibrations])
        followed = _follow(values, roots)
        size = np.nanmax(np.abs(followed), axis=0, initial=0.0, where=np.isfinite(followed))
        floor = np.maximum(np.nan_to_num(np.nanstd(followed, axis=0)), np.maximum(_LEAST * size, 1e-9))
        lanes = StreamWeights.of(np.ones(len(calibrations)), two_sided)
        sds = np.broadcast_to(floor, followed.shape)
        evidence = Evidence.begin(lanes, threshold / DETECTORS_SHARE, starts, followed, sds, window_seconds)
        return cls(
            tuple(calibration.name for calibration in calibrations),
            tuple(calibration.key for calibration in calibrations),
            roots,
            np.nanmean(values, axis=0),
            floor,
            two_sided,
            replace(evidence, waits_for=waits_for),
            np.full(len(calibrations), np.nan),
        )

    def with_more(self, calibrations: Sequence[Calibration]) -> DetectorDrift:
        """These detectors with all that they know and have gathered, and further ones that begin beside them."""
        old = self.evidence
        new = DetectorDrift.begin(calibrations, self.threshold_of_data, window_seconds=old.fit.window_seconds)
        two_sided = np.concatenate([self.two_sided, new.two_sided])
        known = np.arange(len(two_sided)) < len(self.names)
        reference = new.evidence.history.scatter(~known)
        lanes = StreamWeights.of(np.ones(len(two_sided)), two_sided)
        bare = Evidence.begin(
            lanes,
            old.threshold,
            reference.starts,
            reference.values.astype(np.float64),
            reference.sampling_sd.astype(np.float64),
            old.fit.window_seconds,
        )
        evidence = bare.with_stored(old, known)
        evidence = replace(evidence, history=evidence.history.filled_from(reference), waits_for=old.waits_for)
        return DetectorDrift(
            self.names + new.names,
            self.keys + new.keys,
            np.concatenate([self.roots, new.roots]),
            np.concatenate([self.usual, new.usual]),
            np.concatenate([self.floor, new.floor]),
            two_sided,
            evidence,
            np.concatenate([self.last, new.last]),
        )

    def without(self, keys: Collection[str]) -> DetectorDrift | None:
        """The detectors but those of `keys`, with what they know; None where none is left.

        An alarm that the evidence of those that stay does not bear ends.
        """
        stays = np.array([key not in keys for key in self.keys], dtype=np.bool_)
        if not stays.any():
            return None
        old = self.evidence
        lanes = StreamWeights.of(np.ones(int(stays.sum())), self.two_sided[stays])
        logs = old.logs[stays[old.lanes.stream]]
        rest = replace(
            old, lanes=lanes, logs=logs, fit=old.fit.only(stays), history=old.history.only(stays), alarmed=False
        )
        rest = replace(rest, alarmed=old.alarmed and rest.value >= rest.threshold, crossed=False)
        chosen = np.flatnonzero(stays)
        return DetectorDrift(
            tuple(self.names[at] for at in chosen),
            tuple(self.keys[at] for at in chosen),
            self.roots[stays],
            self.usual[stays],
            self.floor[stays],
            self.two_sided[stays],
            rest,
            self.last[stays],
        )

    @property
    def threshold_of_data(self) -> float:
        """The threshold of data drift as a whole."""
        return DETECTORS_SHARE * self.evidence.threshold

    def update(self, scores: Mapping[str, float], start: float) -> DetectorDrift:
        """One window more, with the scores of those detectors that gave one."""
        values = np.array([scores.get(name, np.nan) for name in self.names])
        evidence = self.evidence.update(_follow(values, self.roots), self.floor, np.zeros(len(values)), start)
        return replace(self, evidence=evidence, last=values)

    def rebaseline(self) -> DetectorDrift:
        """Take the new level into what is normal."""
        return replace(self, evidence=self.evidence.rebaseline())

    def assess(self) -> KindAssessment:
        """What the evidence says after the last window, on the scale of data drift as a whole."""
        evidence = self.evidence
        value, threshold = DETECTORS_SHARE * evidence.value, DETECTORS_SHARE * evidence.threshold
        if evidence.is_learning:
            return KindAssessment(EvidenceKind.DATA, Verdict.INCONCLUSIVE, value, threshold, evidence.learning or "")
        verdict = Verdict.DRIFT if evidence.alarmed else Verdict.SUSPECTED if value >= SUSPECTED else Verdict.OK
        calm = verdict is Verdict.OK
        return KindAssessment(
            EvidenceKind.DATA,
            verdict,
            value,
            threshold,
            "No alarm." if calm else self._sentence(),
            figures=f"evidence {number(value)} of {number(threshold)}" if calm else self._figures(),
            leaders=() if calm else self._leaders(),
            change_start=None if calm else evidence.change_start(),
            crossed=evidence.crossed,
        )

    def complete(self, assessment: Assessment) -> Assessment:
        """The assessment of a window with what the detectors say."""
        others = tuple(kind for kind in assessment.kinds if kind.kind is not EvidenceKind.DATA)
        kinds = (self.join(assessment.of(EvidenceKind.DATA)), *others)
        verdict, sentence = summary_of(kinds)
        if verdict is Verdict.OK:
            sentence = assessment.sentence
        scores = (*assessment.scores, *self.scores())
        return replace(assessment, verdict=verdict, sentence=sentence, kinds=kinds, scores=scores)

    def join(self, features: KindAssessment | None) -> KindAssessment:
        """The assessment of data drift: of the features, or of the detectors where these say more."""
        own = self.assess()
        if features is None:
            return own
        louder = own.verdict is not Verdict.INCONCLUSIVE and loudness(own.verdict) > loudness(features.verdict)
        stood = features.verdict is Verdict.DRIFT and not features.crossed
        stood = stood or (self.alarmed and not self.crossed)
        crossed = (own.crossed or features.crossed) and not stood
        scale = features.threshold / own.threshold
        scaled = replace(own, evidence=scale * own.evidence, threshold=features.threshold)
        return replace(scaled if louder else features, crossed=crossed)

    def scores(self) -> tuple[Score, ...]:
        """The scores of the last window, as they were given."""
        return tuple(
            Score(EvidenceKind.DATA, name, "detector", float(value), float(sd), float(own))
            for name, value, sd, own in zip(self.names, self.last, self.floor, self.evidence.of_streams, strict=True)
            if np.isfinite(value)
        )

    def _leaders(self) -> tuple[tuple[str, float], ...]:
        ranked = sorted(zip(self.names, self.evidence.shares.tolist(), strict=True), key=lambda leader: -leader[1])
        return tuple((name, round(share, 4)) for name, share in ranked if share > 0)

    def _sentence(self) -> str:
        stream = int(np.argmax(self.evidence.shares))
        before, now = format_pair(float(self.usual[stream]), self._recent(stream))
        start = self.evidence.change_start()
        day = f" (since {format_day(start)})" if start is not None and start > 0 else ""
        return f"{self.names[stream]}: {now}, was {before}{day}."

    def _recent(self, stream: int) -> float:
        """The score of a detector over the windows since it is suspected."""
        recent = np.asarray(self.evidence.history.values[-max(1, self.evidence.since) :, stream], dtype=np.float64)
        now = float(np.nanmean(recent)) if np.isfinite(recent).any() else float("nan")
        return now**3 if self.roots[stream] else now

    def _figures(self) -> str:
        evidence = self.evidence
        stream = int(np.argmax(evidence.shares))
        since = max(1, evidence.since)
        return (
            f"{self.names[stream]} is {self._recent(stream):.3g}, {self.usual[stream]:.3g} on the reference's windows: "
            f"evidence {number(DETECTORS_SHARE * evidence.value)} against a threshold of "
            f"{number(DETECTORS_SHARE * evidence.threshold)}, over {format_windows(since)}"
        )

    def to_bytes(self) -> bytes:
        """The whole state, calibration included, without the threshold."""
        values, arrays = self.evidence.pack()
        values |= {"names": list(self.names), "keys": list(self.keys), "waits_for": self.evidence.waits_for}
        own = {"roots": self.roots, "usual": self.usual, "floor": self.floor, "two_sided": self.two_sided}
        return pack(values, arrays | {f"own_{name}": array for name, array in own.items()})

    @classmethod
    def from_bytes(cls, threshold: float, stored: bytes) -> DetectorDrift | None:
        """Read what `to_bytes` wrote; None when it is something else."""
        values, arrays = unpack(stored)
        if "keys" not in values:
            return None
        roots, usual, floor, two_sided = (arrays[f"own_{name}"] for name in ("roots", "usual", "floor", "two_sided"))
        lanes = StreamWeights.of(np.ones(len(usual)), two_sided.astype(np.bool_))
        evidence = Evidence.unpack(lanes, threshold / DETECTORS_SHARE, values, arrays)
        if evidence is None:
            return None
        return cls(
            tuple(values["names"]),
            tuple(values["keys"]),
            roots.astype(np.bool_),
            usual,
            floor,
            two_sided.astype(np.bool_),
            replace(evidence, waits_for=values["waits_for"]),
            np.full(len(usual), np.nan),
        )


def _follow(values: Numbers, roots: NDArray[np.bool_]) -> Numbers:
    return np.asarray(np.where(roots, np.cbrt(values), values))
