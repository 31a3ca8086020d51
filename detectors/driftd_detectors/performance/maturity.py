"""When a cohort may be evaluated: how its labels arrive, and whether that still holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.evidence.evidence import Evidence, StreamWeights
from driftd_detectors.performance.arrivals import FIRST_SHARE, LEAST_SHARE, MATURE_SHARE, ArrivalCurve, learn_arrivals

MATURE_COVERAGE = 0.9  # from here on, nothing is gained by waiting
FEWEST_LABELS = 10
DEFAULT_PATIENCE = 30 * 86_400.0
_PATIENCE_OF_MATURE = 2.0
_FEWEST_TO_LEARN = 300
_MOST_TO_LEARN = 5_000
_MARGIN = 0.1  # on the arcsine scale: about .05 of coverage around one half

Readiness = Literal["wait", "early", "mature", "given_up"]


@dataclass(frozen=True, slots=True)
class Maturity:
    """How labels arrive, learned from the reference or, without delays there, from cohorts that matured. Immutable.

    While a curve holds, a cohort is evaluated early, at the age at which every class has .3 of its labels. Its
    coverage then is a stream of its own: when it leaves what was usual, labels have become slower or faster, the curve
    is forgotten, and only mature cohorts count until a new one is learned.
    """

    curve: ArrivalCurve | None
    pace: Evidence
    patience: float | None
    changed: bool = False  # labels arrive otherwise than they did, and the new way is not learned yet
    delays: Numbers = field(default_factory=lambda: np.empty(0))  # (n, 3): delay, label, prediction

    @classmethod
    def begin(cls, curve: ArrivalCurve | None, threshold: float, patience: float | None) -> Maturity:
        """Nothing seen yet."""
        return cls(curve, _pace(threshold), patience)

    @property
    def first_age(self) -> float:
        """The age in seconds at which a cohort may first be evaluated; 0 where that is not known: then look often."""
        return 0.0 if self.curve is None else self.curve.age_of(FIRST_SHARE)

    @property
    def longest(self) -> float:
        """The age in seconds at which labels are no longer waited for."""
        if self.patience is not None:
            return max(self.patience, self.first_age)
        if self.curve is None:
            return DEFAULT_PATIENCE
        return max(_PATIENCE_OF_MATURE * self.curve.age_of(MATURE_SHARE), 1.0)

    def ready(self, outcomes: Outcomes, age: float) -> Readiness:
        """Whether a cohort of this age, with the labels known so far, is to be evaluated, and how."""
        labels = int(outcomes.labelled.sum())
        if labels >= MATURE_COVERAGE * outcomes.rows:
            return "mature" if labels >= FEWEST_LABELS else "given_up"
        if age >= self.longest:
            return "mature" if labels >= FEWEST_LABELS else "given_up"
        known = self.curve is not None and age >= self.first_age and self.curve.least(age) >= LEAST_SHARE
        return "early" if known and labels >= FEWEST_LABELS else "wait"

    def seen(self, outcomes: Outcomes, known_by: float, readiness: Readiness, start: float) -> Maturity:
        """Learn from a cohort that was evaluated."""
        if readiness == "early" and self.curve is not None:
            return self._keep_pace(self.curve, outcomes, known_by, start)
        return self._learn(outcomes) if self.curve is None and readiness == "mature" else self

    def _keep_pace(self, curve: ArrivalCurve, outcomes: Outcomes, known_by: float, start: float) -> Maturity:
        expected = curve.expected(np.maximum(0.0, known_by - outcomes.at))
        coverage = float(outcomes.labelled.mean())
        off = 2 * np.arcsin(np.sqrt(coverage)) - 2 * np.arcsin(np.sqrt(np.clip(expected, 0.0, 1.0)))
        sd = 1 / np.sqrt(outcomes.rows)
        pace = self.pace.update(np.array([off]), np.array([sd]), np.array([_MARGIN]), start)
        if not pace.crossed:
            return replace(self, pace=pace)
        return replace(self, curve=None, changed=True, pace=_pace(pace.threshold))

    def _learn(self, outcomes: Outcomes) -> Maturity:
        known = outcomes.labelled
        delay = (outcomes.label_at - outcomes.at)[known]
        fresh = np.column_stack([delay, outcomes.label[known], outcomes.prediction[known]])
        delays = np.concatenate([self.delays.reshape(-1, 3), fresh])[-_MOST_TO_LEARN:]
        if len(delays) < _FEWEST_TO_LEARN:
            return replace(self, delays=delays)
        zero = np.zeros(len(delays))
        version = np.zeros(len(delays), dtype=np.int64)
        learned = Outcomes(zero, delays[:, 2], zero, delays[:, 1], delays[:, 0], version, outcomes.classes)
        return replace(self, curve=learn_arrivals(learned), changed=False, delays=np.empty(0))

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays."""
        values, arrays = self.pace.pack()
        curve = None if self.curve is None else self.curve.to_dict()
        return {"curve": curve, "changed": self.changed, "pace": values}, arrays | {"delays": self.delays}

    def taken_up(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Maturity:
        """This, with the state that `pack` gave."""
        pace = Evidence.unpack(self.pace.lanes, self.pace.threshold, values["pace"], arrays)
        return replace(
            self,
            curve=None if values["curve"] is None else ArrivalCurve.from_dict(values["curve"]),
            changed=values["changed"],
            delays=arrays["delays"],
            pace=self.pace if pace is None else pace,
        )


def _pace(threshold: float) -> Evidence:
    lanes = StreamWeights.of(np.ones(1), np.ones(1, dtype=bool))
    return Evidence.begin(lanes, threshold, np.empty(0), np.empty((0, 1)), np.empty((0, 1)), None)
