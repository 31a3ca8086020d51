"""Lives of one model, day by day, in which a column breaks, counts, turns over or moves: for the tests of streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from driftd_detectors.assessment import Assessment, EvidenceKind
from driftd_detectors.columns import Coded, Column, Columns, Outcomes
from driftd_detectors.evidence.history import level_windows
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY, FIRST = 86_400.0, 19_723  # the first day is 1 January 2024
REFERENCE_DAYS, ROWS = 28, 500
KINDS = {
    "x": Kind.NUMBER,
    "b": Kind.NUMBER,
    "sex": Kind.CATEGORY,
    "vip": Kind.BOOLEAN,
    "fee": Kind.NUMBER,
    "no": Kind.NUMBER,
}
SCHEMA = Schema(Task.REGRESSION, "y", tuple(Feature(name, kind) for name, kind in KINDS.items()))
SETTINGS = MonitorSettings(windows_per_year=365.25, window_seconds=DAY)

Day = tuple[Columns, Outcomes]
Change = Callable[[int, np.random.Generator, dict[str, Column]], dict[str, Column]]


def unchanged(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
    """A day like all others."""
    return values


def day_of(number: int, rng: np.random.Generator, change: Change = unchanged, rows: int = ROWS) -> Day:
    """One day: two numbers, two columns of two values, one constant, one number that a case may count with."""
    sex, vip = ((rng.random(rows) < share).astype(np.int32) for share in (0.5, 0.3))
    values: dict[str, Column] = {
        "x": rng.standard_normal(rows),
        "b": rng.standard_normal(rows),
        "sex": Coded(sex, ("f", "m")),
        "vip": Coded(vip, ("0", "1")),
        "fee": np.zeros(rows),
        "no": rng.random(rows),
    }
    values = change(number, rng, values)
    prediction = values["x"]
    assert isinstance(prediction, np.ndarray)
    at = (FIRST + number) * DAY + np.sort(rng.random(rows)) * DAY
    label = prediction + rng.standard_normal(rows)
    ones = np.ones(rows, dtype=np.int64)
    return Columns(rows, values, {}), Outcomes(at, prediction, np.full(rows, np.nan), label, at + 60, ones, ())


def reference_of(days: list[Day]) -> Reference:
    """The reference learned from the rows of some days."""
    values: dict[str, Column] = {}
    for name in days[0][0].values:
        parts = [columns.values[name] for columns, _ in days]
        values[name] = _joined(parts)
    names = ("at", "prediction", "score", "label", "label_at", "version")
    outcomes = Outcomes(*[np.concatenate([getattr(own, name) for _, own in days]) for name in names], ())
    starts = np.floor(outcomes.at / DAY) * DAY
    importance = dict.fromkeys(SCHEMA.names, 1 / len(KINDS))
    columns = Columns(outcomes.rows, values, {})
    return learn_reference(columns, outcomes, SCHEMA, starts=starts, importance=importance, loss="mae")


def _joined(parts: list[Column]) -> Column:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    coded = [part for part in parts if isinstance(part, Coded)]
    labels = tuple(dict.fromkeys(label for part in coded for label in part.labels))
    places = {label: place for place, label in enumerate(labels)}
    codes = [np.array([*(places[label] for label in part.labels), -1], dtype=np.int32)[part.codes] for part in coded]
    return Coded(np.concatenate(codes), labels)


@dataclass
class Life:
    """A monitor that is fed day after day; alarms of data and prediction are absorbed as the daemon does it."""

    seed: int
    change: Change = unchanged
    rows: int = ROWS
    labels_until: float = np.inf  # epoch seconds
    alarms: list[tuple[int, str, str]] = field(default_factory=list)  # day, kind, sentence
    blocked: list[int] = field(default_factory=list)  # days with a fault that blocks builds
    raised: dict[str, int] = field(default_factory=dict)
    last: Assessment | None = None

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        days = [day_of(number, self.rng, self.change, self.rows) for number in range(REFERENCE_DAYS)]
        self.reference = reference_of(days)
        self.monitor = Monitor.begin(self.reference, SETTINGS)

    def until(self, last: int, first: int = REFERENCE_DAYS) -> Life:
        """Check the days up to `last`."""
        for number in range(first, last):
            self.check(number)
        return self

    def check(self, number: int) -> None:
        """Check one day; labels of the day before have come."""
        wait = 2 * level_windows(DAY)
        for kind in [kind for kind, day in self.raised.items() if number - day >= wait]:
            self.monitor = self.monitor.rebaseline(EvidenceKind(kind))
            del self.raised[kind]
        profile = profile_of(*day_of(number, self.rng, self.change, self.rows), self.reference.layout)
        start = (FIRST + number) * DAY
        self.monitor, self.last = self.monitor.check(profile, start, min(start, self.labels_until))
        for kind in self.last.kinds:
            if kind.crossed:
                self.alarms.append((number, str(kind.kind), kind.sentence))
                if kind.kind is not EvidenceKind.QUALITY:
                    self.raised[str(kind.kind)] = number
        if any(fault.alarm for fault in self.last.faults):
            self.blocked.append(number)

    def of(self, kind: str, days: Iterable[int] = range(10_000)) -> list[tuple[int, str]]:
        """The alarms of one kind: day and sentence."""
        return [(day, sentence) for day, own, sentence in self.alarms if own == kind and day in days]
