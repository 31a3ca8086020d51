"""When a cohort may be evaluated: what is known of the delay of its labels, and whether that still holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.evidence.evidence import Evidence, StreamWeights
from driftd_detectors.performance.label_delay import LEAST_SHARE, MATURE_SHARE, LabelDelay
from driftd_detectors.serialization import JsonObject

FEWEST_LABELS = 10
DEFAULT_PATIENCE = 30 * 86_400.0
_FEWEST_TO_LEARN = 300
_MOST_TO_LEARN = 5_000
_MARGIN = 0.1  # on the arcsine scale: about .05 of coverage around one half
_SETTLED_AGES = 3.0  # times as old as the slowest label so far: the others are hardly to be expected
_SLOWEST = 0.99

Readiness = Literal["wait", "early", "mature", "given_up"]


@dataclass(frozen=True, slots=True)
class Maturity:
    """The delay of labels, from the reference or from live cohorts, and whether cohorts keep to it. Immutable.

    While a delay is known, a cohort is evaluated early, at the age at which every class has .3 of its labels. Its
    coverage then is a stream of its own: when it leaves what was usual, labels have become slower or faster, the delay
    is forgotten, and only mature cohorts count until a new one is learned. While it is unknown, a cohort waits for .9
    of its labels.
    """

    delay: LabelDelay
    pace: Evidence
    patience: float | None
    changed: bool = False  # labels come otherwise than they did, and the new delay is not learned yet
    delays: Numbers = field(default_factory=lambda: np.empty(0))  # (n, 3): delay, label, prediction

    @classmethod
    def begin(cls, delay: LabelDelay, threshold: float, patience: float | None) -> Maturity:
        """Nothing seen yet."""
        return cls(delay, _pace(threshold), patience)

    @property
    def first_age(self) -> float | None:
        """The age in seconds at which a cohort may first be evaluated; None while the delay is unknown."""
        return self.delay.first_age

    @property
    def longest(self) -> float:
        """The age in seconds at which labels are no longer waited for."""
        if self.patience is not None:
            return max(self.patience, self.first_age or 0.0)
        return self.delay.last_age or DEFAULT_PATIENCE

    def ready(self, outcomes: Outcomes, age: float) -> Readiness:
        """Whether a cohort of this age, with the labels known so far, is to be evaluated, and how."""
        labels = int(outcomes.labelled.sum())
        if labels >= MATURE_SHARE * outcomes.rows or age >= self.longest:
            return "mature" if labels >= FEWEST_LABELS else "given_up"
        first = self.first_age
        known = first is not None and age >= first and self.delay.least(age) >= LEAST_SHARE
        return "early" if known and labels >= FEWEST_LABELS else "wait"

    def has_settled(self, outcomes: Outcomes, age: float) -> bool:
        """Whether a cohort waits in vain: labels came, hardly one is to be expected, and no delay says otherwise."""
        delay = (outcomes.label_at - outcomes.at)[np.isfinite(outcomes.label_at)]
        if self.delay.is_known or len(delay) < FEWEST_LABELS:
            return False
        return bool(age >= _SETTLED_AGES * float(np.quantile(delay, _SLOWEST)))

    def learn_ready(self, outcomes: Outcomes, known_by: float, readiness: Readiness, start: float) -> Maturity:
        """Learn from a cohort that was evaluated."""
        if readiness == "early":
            return self._keep_pace(outcomes, known_by, start)
        return self._learn(outcomes) if not self.delay.is_known and readiness == "mature" else self

    def learn_late(self, cohorts: Sequence[Outcomes], known_by: float) -> Maturity:
        """Learn from cohorts that were given up, by the labels that came all the same until `known_by`.

        A delay that says that the youngest of them still waits for labels is not believed: then the oldest is asked
        alone, and if that is so of it too, nothing is learned yet.
        """
        for some in (cohorts, cohorts[:1]):
            delay = (
                self._delay_of(np.concatenate([_samples(cohort) for cohort in some]), some[0].classes) if some else None
            )
            if delay is None or delay.last_age is None:
                continue
            if known_by - max(float(cohort.at.max()) for cohort in some) >= delay.last_age:
                return replace(self, delay=delay, changed=False, delays=np.empty(0), pace=_pace(self.pace.threshold))
        return self

    def _keep_pace(self, outcomes: Outcomes, known_by: float, start: float) -> Maturity:
        expected = self.delay.expected_share(np.maximum(0.0, known_by - outcomes.at))
        coverage = float(outcomes.labelled.mean())
        off = 2 * np.arcsin(np.sqrt(coverage)) - 2 * np.arcsin(np.sqrt(np.clip(expected, 0.0, 1.0)))
        sd = 1 / np.sqrt(outcomes.rows)
        pace = self.pace.update(np.array([off]), np.array([sd]), np.array([_MARGIN]), start)
        if not pace.crossed:
            return replace(self, pace=pace)
        return replace(self, delay=LabelDelay.unknown(), changed=True, pace=_pace(pace.threshold))

    def _learn(self, outcomes: Outcomes) -> Maturity:
        delays = np.concatenate([self.delays.reshape(-1, 3), _samples(outcomes)])[-_MOST_TO_LEARN:]
        if len(delays) < _FEWEST_TO_LEARN:
            return replace(self, delays=delays)
        return replace(self, delay=self._delay_of(delays, outcomes.classes), changed=False, delays=np.empty(0))

    def _delay_of(self, samples: Numbers, classes: tuple[str, ...]) -> LabelDelay:
        """From rows of (delay, label, prediction) of cohorts that have all their labels."""
        values = samples[:, 1] if classes else samples[:, 2]
        return LabelDelay.learn(np.zeros(len(samples)), samples[:, 0], values, len(classes))

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays."""
        values, arrays = self.pace.pack()
        return {"curve": self.delay.to_dict(), "changed": self.changed, "pace": values}, arrays | {
            "delays": self.delays
        }

    def restore_from(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Maturity:
        """This, with the state that `pack` gave."""
        pace = Evidence.unpack(self.pace.lanes, self.pace.threshold, values["pace"], arrays)
        return replace(
            self,
            delay=LabelDelay.from_dict(values["curve"]),
            changed=values["changed"],
            delays=arrays["delays"],
            pace=self.pace if pace is None else pace,
        )


def _samples(outcomes: Outcomes) -> Numbers:
    """Delay, label and prediction of the rows whose label has a time, (n, 3)."""
    timed = np.isfinite(outcomes.label_at)
    delay = (outcomes.label_at - outcomes.at)[timed]
    return np.column_stack([delay, outcomes.label[timed], outcomes.prediction[timed]])


def _pace(threshold: float) -> Evidence:
    lanes = StreamWeights.of(np.ones(1), np.ones(1, dtype=bool))
    return Evidence.begin(lanes, threshold, np.empty(0), np.empty((0, 1)), np.empty((0, 1)), None)
