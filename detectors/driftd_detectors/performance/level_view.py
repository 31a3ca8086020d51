"""Level evidence as the detectors show it, as sentences tell it, and as it is stored."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import Change, Measure, StandingAlarm, number
from driftd_detectors.evidence.change_sentences import describe_changes, metric_name
from driftd_detectors.evidence.history import DAY, DAYS_A_WEEK, HOUR
from driftd_detectors.performance.level_averages import Judged, SpreadPrior, Stretch
from driftd_detectors.performance.level_evidence import LevelAlarm, LevelEvidence, Promise
from driftd_detectors.performance.losses import value_of
from driftd_detectors.schema import HIGHER_IS_BETTER
from driftd_detectors.serialization import JsonObject

_UNITS = {DAY: "day", HOUR: "hour", DAYS_A_WEEK * DAY: "week", 60.0: "minute"}


def unit_of(window_seconds: float | None) -> str:
    """The word for one window: day, hour, week, minute, or just window."""
    return "window" if window_seconds is None else _UNITS.get(window_seconds, "window")


def level_change(evidence: LevelEvidence, metric: str, measure: Measure = Measure.LOSS, segment: str = "") -> Change:
    """What the average that stands out most is, beside the level of the reference, as people know the metric."""
    now, usual = value_of(metric, evidence.judged.average), value_of(metric, evidence.promise.mean)
    return Change(metric, measure, usual, now, windows=max(1, evidence.judged.span), segment=segment)


def change_sentence(evidence: LevelEvidence, change: Change) -> str:
    """What changed, as one sentence; of an alarm whose averages have come back, that it waits to clear."""
    if evidence.alarmed and evidence.judged.evidence < evidence.threshold:
        name = f"{change.segment}: {metric_name(change.subject)}" if change.segment else metric_name(change.subject)
        name = f"estimated {name}" if change.measure is Measure.ESTIMATE else name
        return alarm_sentence(evidence, change.subject, name)
    return describe_changes((change,), evidence.change_start)


def alarm_sentence(evidence: LevelEvidence, metric: str, name: str) -> str:
    """Why an alarm stands; `name` is what the reader knows the metric by.

    While its averages are beyond their bounds: which one stands out most. Later: what it waits for to clear.
    """
    unit = unit_of(evidence.window_seconds)
    if evidence.judged.evidence >= evidence.threshold:
        vary = f"beyond what {evidence.judged.span}-{unit} averages vary"
        return f"{_average(evidence, metric, name)} That is beyond your {_tolerance(evidence, metric)} and {vary}."
    over = evidence.alarm.clears_over if evidence.alarm is not None else evidence.judged.span
    now = f"{value_of(metric, evidence.recovery):.4g}"
    return (
        f"The {name} of the last {_count(over, unit)} averages {now}. The alarm clears when they all lie after the "
        f"change and average {_limit(evidence, metric)}."
    )


def suspicion_sentence(evidence: LevelEvidence, metric: str, name: str) -> str:
    """Which average stands out, though it is no alarm yet."""
    unit, span = unit_of(evidence.window_seconds), evidence.judged.span
    gathered = f"evidence {number(evidence.value)} against a threshold of {number(evidence.threshold)}"
    return (
        f"{_average(evidence, metric, name)} That is beyond your {_tolerance(evidence, metric)}, but not yet beyond "
        f"what {span}-{unit} averages vary: {gathered}."
    )


def cleared_sentence(evidence: LevelEvidence, metric: str, name: str) -> str:
    """That the alarm has cleared, and by which average."""
    over = evidence.ended.clears_over if evidence.ended is not None else 0
    span = _count(over, unit_of(evidence.window_seconds))
    return (
        f"The alarm has cleared: the {name} of the last {span} averages "
        f"{value_of(metric, evidence.recovery):.4g}, {_limit(evidence, metric)} is tolerated."
    )


def _average(evidence: LevelEvidence, metric: str, name: str) -> str:
    span = _count(evidence.judged.span, unit_of(evidence.window_seconds))
    now, usual = value_of(metric, evidence.judged.average), value_of(metric, evidence.promise.mean)
    if metric in HIGHER_IS_BETTER or usual <= 0:
        return f"The average {name} of the last {span} is {now:.4g}, {usual:.4g} on the reference."
    above = f"{100 * (now / usual - 1):.0f} % above the reference"
    return f"The average {name} of the last {span} is {above} ({now:.4g} against {usual:.4g})."


def _tolerance(evidence: LevelEvidence, metric: str) -> str:
    usual = value_of(metric, evidence.promise.mean)
    worst = value_of(metric, evidence.promise.mean + evidence.tolerance)
    if metric in HIGHER_IS_BETTER or usual <= 0:
        return f"tolerance of {abs(worst - usual):.2g}"
    return f"{100 * (worst / usual - 1):.3g} %"


def _limit(evidence: LevelEvidence, metric: str) -> str:
    worst = value_of(metric, evidence.promise.mean + evidence.tolerance)
    return f"at {'least' if metric in HIGHER_IS_BETTER else 'most'} {worst:.4g}"


def _count(count: int, unit: str) -> str:
    return unit if count == 1 else f"{count} {unit}s"


class LevelView:
    """A detector that holds a stream against a promised level: its evidence, its limit, and the alarm that stands."""

    __slots__ = ()
    evidence: LevelEvidence

    @property
    def value(self) -> float:
        """The evidence; at least the threshold while an alarm stands."""
        return self.evidence.value

    @property
    def threshold(self) -> float:
        """The evidence at which it alarms."""
        return self.evidence.threshold

    @property
    def span(self) -> int:
        """Windows of the average that stands out most."""
        return self.evidence.judged.span

    @property
    def alarmed(self) -> bool:
        """Whether an alarm stands."""
        return self.evidence.alarmed

    @property
    def crossed(self) -> bool:
        """Whether the last window raised it."""
        return self.evidence.crossed

    @property
    def cleared(self) -> bool:
        """Whether the last window ended it."""
        return self.evidence.cleared

    @property
    def standing(self) -> StandingAlarm | None:
        """The alarm that stands."""
        return None if self.evidence.alarm is None else self.evidence.alarm.standing

    @property
    def ended(self) -> StandingAlarm | None:
        """The alarm that the last window ended."""
        return None if self.evidence.ended is None else self.evidence.ended.standing

    @property
    def change_start(self) -> float | None:
        """The start of the window at which the change most likely began."""
        return self.evidence.change_start

    @property
    def is_learning(self) -> bool:
        """Whether the labels so far say too little for any average to be judged."""
        return self.evidence.is_learning

    @property
    def learning(self) -> str | None:
        """What is not learned yet, in one phrase."""
        return self.evidence.learning


_COUNTED = ("seen", "since_seen", "completed", "suspected", "absorbed", "unit")
_LIVE, _PROMISED = "level", "promised"  # prefixes of arrays
_MARK = f"{_LIVE}_values"  # an array that only this detector writes


def pack_level(evidence: LevelEvidence) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
    """The state without what follows from the reference and the settings: about 40 bytes a window."""
    values: JsonObject = {name: getattr(evidence, name) for name in _COUNTED}
    values["prior"] = asdict(evidence.prior)
    values["alarm"] = None if evidence.alarm is None else asdict(evidence.alarm)
    values["judged"] = [evidence.judged.evidence, evidence.judged.span, _or_none(evidence.judged.average)]
    arrays = _arrays(_LIVE, evidence.live)
    arrays |= {"level_starts": evidence.starts, "level_spreads": evidence.spreads.astype(np.float32)}
    if evidence.absorbed:
        values["promised"] = [evidence.promise.mean, evidence.promise.sampling]
        arrays |= _arrays(_PROMISED, evidence.promise.windows)
    return values, arrays


def unpack_level(bare: LevelEvidence, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> LevelEvidence | None:
    """`bare`, with the state that `pack_level` gave; None when the state is of another detector."""
    if _MARK not in arrays:
        return None
    promise = bare.promise
    if values["absorbed"]:
        mean, sampling = values["promised"]
        promise = Promise(mean, _stretch(_PROMISED, arrays), sampling)
    evidence, span, average = values["judged"]
    return replace(
        bare,
        promise=promise,
        prior=SpreadPrior(**values["prior"]),
        alarm=None if values["alarm"] is None else LevelAlarm(**values["alarm"]),
        judged=Judged(evidence, span, float("nan") if average is None else average),
        live=_stretch(_LIVE, arrays),
        starts=arrays["level_starts"],
        spreads=arrays["level_spreads"].astype(np.float64),
        **{name: values[name] for name in _COUNTED},
    )


def _arrays(prefix: str, stretch: Stretch) -> dict[str, NDArray[Any]]:
    return {
        f"{prefix}_places": stretch.places,
        f"{prefix}_values": stretch.values,
        f"{prefix}_sampling": stretch.sampling,
    }


def _stretch(prefix: str, arrays: dict[str, NDArray[Any]]) -> Stretch:
    return Stretch(*(arrays[f"{prefix}_{name}"] for name in ("places", "values", "sampling")))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
