"""How late labels come, learned from arrivals, and when a cohort may be evaluated (STATISTICS 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.evidence.evidence import Evidence, StreamWeights
from driftd_detectors.serialization import JsonObject

FIRST_SHARE = 0.3  # of each group's labels: from this age on a cohort is evaluated and a row may be trained on
LEAST_SHARE = 0.2  # below, a weight of more than five would multiply too few rows
MATURE_SHARE = 0.9  # rows of this age stand for themselves: nothing is gained by waiting
LAST_SHARE = 0.98  # the labels that are missing at twice this age will not come
_LAST_AGES = 2.0
_LONGEST = 0.99  # quantile of the delays: older rows have all their labels
_POINTS = 64
_FEW_GROUPS = 8  # up to so many have quantiles of their own among the ages: a rare slow class is then seen
_FEWEST = 30  # labels, to know a delay; a group with fewer shares the curve of all
_FEWEST_COMPLETE = 100  # rows that are old enough for their labels to be complete
_WORTH_WEIGHING = 1.05
_PARTS_OF_A_WINDOW = 16  # at whose middles the share of a window's labels is read


@dataclass(frozen=True, slots=True, eq=False)
class LabelDelay:
    """G_y(a): the share of the labels of group y that are there at age a, of those that come at all. Immutable.

    Groups are classes; for a regression, the thirds of its values with `edges` between them. Without any age the delay
    is unknown: that is a state of its own, and never read as "at once".
    """

    ages: Numbers  # (A,) seconds, ascending; empty: unknown
    shares: Numbers  # (groups, A)
    edges: Numbers  # (2,) for regression, else empty

    @classmethod
    def unknown(cls) -> LabelDelay:
        """Nobody has said when labels came."""
        return cls(np.empty(0), np.empty((0, 0)), np.empty(0))

    @classmethod
    def learn(
        cls, at: Numbers, label_at: Numbers, values: Numbers, classes: int, *, until: float = np.inf
    ) -> LabelDelay:
        """Learn from labelled rows as they are known at `until`.

        Parameters
        ----------
        at, label_at
            When each row was predicted and when its label became known, (rows,) in epoch seconds. A row whose
            `label_at` is not finite has a label without a time and teaches nothing.
        values
            What the groups are made of, (rows,): codes of classes, or numbers.
        classes
            How many classes there are; 0 for a regression.
        until
            When the labels were read, epoch seconds; infinite: every label that comes is there.

        Returns
        -------
        LabelDelay
            Unknown from fewer than 30 labels with a time, and where none came later than its prediction: such times
            are copies of the prediction's.

        Notes
        -----
        The newest labelled rows are those whose labels were quick. Counted alike they would make all labels look
        quick, so only rows are used that are older than the 99 % quantile of the delays of the older half.
        """
        timed = np.isfinite(label_at)
        at, values, delay = at[timed], values[timed], np.maximum(0.0, (label_at - at)[timed])
        if len(delay) < _FEWEST or not delay.any():
            return cls.unknown()
        complete = _complete(at, delay, until)
        delay, values = delay[complete], values[complete]
        edges = np.empty(0) if classes else np.nanquantile(values, [1 / 3, 2 / 3])
        groups = values.astype(np.intp) if classes else np.searchsorted(edges, values)
        own = [delay[groups == group] for group in range(classes or len(edges) + 1)]
        own = [some if len(some) >= _FEWEST else delay for some in own]
        samples = [delay, *own] if len(own) <= _FEW_GROUPS else [delay]
        ages = np.unique(np.concatenate([_ages(some) for some in samples]))
        curves = [_curve(some, ages) for some in own]
        return cls(ages, np.array(curves), edges)

    @classmethod
    def learn_outcomes(cls, outcomes: Outcomes, *, until: float | None = None) -> LabelDelay:
        """Learn from predictions with their labels; `until` is the time of the newest label unless given."""
        known = np.isfinite(outcomes.label_at)
        if until is None:
            until = float(outcomes.label_at[known].max()) if known.any() else np.inf
        values, classes = group_values(outcomes), len(outcomes.classes)
        return cls.learn(outcomes.at[known], outcomes.label_at[known], values[known], classes, until=until)

    @property
    def is_known(self) -> bool:
        """Whether it was learned."""
        return len(self.ages) > 0

    @property
    def first_age(self) -> float | None:
        """The age in seconds at which a cohort may first be evaluated; None while the delay is unknown."""
        return self.age_of(FIRST_SHARE)

    @property
    def mature_age(self) -> float | None:
        """The age in seconds from which on rows stand for themselves; None while the delay is unknown."""
        return self.age_of(MATURE_SHARE)

    @property
    def last_age(self) -> float | None:
        """The age in seconds at which labels are no longer waited for; None while the delay is unknown."""
        last = self.age_of(LAST_SHARE)
        return None if last is None else max(1.0, _LAST_AGES * last)

    def mature_until(self, until: float, window: float | None = None) -> float:
        """Up to when (epoch seconds) predictions have nearly all their labels at `until`.

        Of windows of so many seconds the last whole one counts of whose labels .9 are there, if its predictions came
        evenly and are of the slowest group. While the delay is unknown, all are taken to be there.
        """
        mature_age = self.mature_age
        if mature_age is None:
            return until
        if window is None:
            return until - mature_age
        last = np.floor(until / window) * window
        ends = last - window * np.arange(int(mature_age // window) + 2)
        middles = (np.arange(_PARTS_OF_A_WINDOW) + 0.5) / _PARTS_OF_A_WINDOW * window
        shares = self._at(self.shares.min(axis=0), (until - ends)[:, None] + middles).mean(axis=1)
        return float(ends[int(np.argmax(shares >= MATURE_SHARE))] if (shares >= MATURE_SHARE).any() else ends[-1])

    def age_of(self, share: float) -> float | None:
        """The smallest age at which every group has `share` of its labels; None while the delay is unknown."""
        if not self.is_known:
            return None
        lowest = self.shares.min(axis=0)
        reached = np.flatnonzero(lowest >= share)
        if len(reached) == 0:
            return float(self.ages[-1])
        at = int(reached[0])
        if at == 0:
            return float(self.ages[0])
        part = (share - lowest[at - 1]) / max(1e-12, lowest[at] - lowest[at - 1])
        return float(self.ages[at - 1] + part * (self.ages[at] - self.ages[at - 1]))

    def share(self, values: Numbers, ages: Numbers) -> Numbers:
        """G of each row at its age, (rows,), by its group; the mean of all groups where that is not known."""
        if not self.is_known:
            return np.ones(len(ages))
        groups = self._groups(values)
        found = self._at(self.shares.mean(axis=0), ages)
        for group in np.unique(groups[groups >= 0]).tolist():
            own = groups == group
            found[own] = self._at(self.shares[group], ages[own])
        return found

    def expected_share(self, ages: Numbers) -> float:
        """The share of a cohort's labels that is there, when rows have these ages and the groups occur alike."""
        return float(self._at(self.shares.mean(axis=0), ages).mean())

    def least(self, age: float) -> float:
        """Min over y of G_y(age)."""
        return float(self._at(self.shares.min(axis=0), np.array([age]))[0])

    def weights(self, at: Numbers, values: Numbers, until: float) -> Numbers:
        """What each labelled row counts at `until`, (rows,): 1 / G, and 0 for rows that are too young to say.

        A cancelled booking is known at once, a kept one after months: trained on as they are, last week's labelled
        bookings teach that everybody cancels (Horvitz, Thompson 1952, by group). All rows count alike while the delay
        is unknown.
        """
        if not self.is_known:
            return np.ones(len(at))
        ages = until - at
        young = self._at(self.shares.min(axis=0), ages) < FIRST_SHARE
        own = self.share(values, ages)
        return np.where(young, 0.0, 1.0 / np.where(young, 1.0, own))

    def to_dict(self) -> JsonObject | None:
        """A JSON-ready form that `from_dict` reads back; None while the delay is unknown."""
        if not self.is_known:
            return None
        return {"ages": self.ages.tolist(), "shares": self.shares.tolist(), "edges": self.edges.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> LabelDelay:
        """Read what `to_dict` wrote.

        Earlier versions wrote a delay of exactly 0 for labels without a time: that is read as unknown.
        """
        if stored is None or not np.any(stored["ages"]):
            return cls.unknown()
        return cls(np.array(stored["ages"]), np.array(stored["shares"]), np.array(stored["edges"]))

    def _at(self, curve: Numbers, ages: Numbers) -> Numbers:
        return np.asarray(np.interp(ages, self.ages, curve, left=0.0), dtype=np.float64)

    def _groups(self, values: Numbers) -> NDArray[np.intp]:
        if len(self.edges):
            return np.searchsorted(self.edges, values).astype(np.intp)
        groups = np.where(np.isfinite(values), values, -1).astype(np.intp)
        return np.where(groups < len(self.shares), groups, -1)


def group_values(outcomes: Outcomes) -> Numbers:
    """What the groups of a cohort are made of: the label's class (-1 where there is none), or the predicted number."""
    return np.where(outcomes.labelled, outcomes.label, -1.0) if outcomes.classes else outcomes.prediction


def worth_weighing(weights: Numbers) -> Numbers | None:
    """The weights, or None where they are all alike for every practical purpose."""
    return weights if len(weights) and weights.max() > _WORTH_WEIGHING * weights.min() else None


def _complete(at: Numbers, delay: Numbers, until: float) -> NDArray[np.bool_]:
    """The rows that are old enough at `until` to have all their labels; the older half, or all, where those are few."""
    older = at <= np.median(at)
    if not np.isfinite(until):
        return np.ones(len(at), dtype=np.bool_)
    complete = at <= until - float(np.quantile(delay[older], _LONGEST))
    if complete.sum() >= _FEWEST_COMPLETE:
        return np.asarray(complete)
    return np.asarray(older) if older.sum() >= _FEWEST else np.ones(len(at), dtype=np.bool_)


def _ages(delay: Numbers) -> Numbers:
    """Quantiles of the delays; where many are the same, also the age just before, so that the curve jumps there."""
    ages, counts = np.unique(np.quantile(delay, np.linspace(0, 1, _POINTS)), return_counts=True)
    before = np.nextafter(ages[(counts > 1) & (ages > ages[0])], -np.inf)
    return np.unique(np.concatenate([ages, before]))


def _curve(delay: Numbers, ages: Numbers) -> Numbers:
    return np.asarray(np.searchsorted(np.sort(delay), ages, side="right") / len(delay))


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
