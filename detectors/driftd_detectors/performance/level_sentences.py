"""What the averages of the last windows say, in one or two sentences."""

from __future__ import annotations

from driftd_detectors.evidence.history import DAY, DAYS_A_WEEK, HOUR
from driftd_detectors.formatting import number
from driftd_detectors.performance.level_evidence import LevelEvidence
from driftd_detectors.performance.losses import HIGHER_IS_BETTER, value_of

_UNITS = {DAY: "day", HOUR: "hour", DAYS_A_WEEK * DAY: "week", 60.0: "minute"}


def unit_of(window_seconds: float | None) -> str:
    """The word for one window: day, hour, week, minute, or just window."""
    return "window" if window_seconds is None else _UNITS.get(window_seconds, "window")


def alarm_sentence(evidence: LevelEvidence, metric: str, name: str) -> str:
    """Why an alarm stands; `name` is what the reader knows the metric by.

    While its averages are beyond their bounds: which one stands out most. Later: what it waits for to clear.
    """
    unit = unit_of(evidence.window_seconds)
    if evidence.judged.evidence >= evidence.threshold:
        vary = f"beyond what {evidence.judged.span}-{unit} averages vary"
        return f"{_average(evidence, metric, name)} That is beyond your {_tolerated(evidence, metric)} and {vary}."
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
        f"{_average(evidence, metric, name)} That is beyond your {_tolerated(evidence, metric)}, but not yet beyond "
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


def _tolerated(evidence: LevelEvidence, metric: str) -> str:
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
