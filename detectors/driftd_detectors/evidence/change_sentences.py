"""Changes in words: what a column or a metric is now, what it was, and since when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from driftd_detectors.assessment import Change, Measure
from driftd_detectors.schema import HIGHER_IS_BETTER, is_own

_UNITS = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0))
_NAMES = {
    "brier": "Brier score",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "log_loss": "log loss",
}
_NAMES |= {"mse": "mean squared error", "roc_auc": "ROC AUC", "f1": "F1", "r2": "R²", "error": "error rate"}
_NAMES |= {"balanced_accuracy": "balanced accuracy", "mape": "mean absolute percentage error"}
_LARGE, _SMALL = 1e15, 1e-4


def format_day(start: float) -> str:
    """The day of an epoch second in UTC: 29 June 2026."""
    day = datetime.fromtimestamp(start, UTC)
    return f"{day.day} {day:%B %Y}"


def metric_name(metric: str) -> str:
    """What a metric is called in a sentence: Brier score, mean absolute error."""
    return _NAMES.get(metric, metric)


def metric_title(metric: str) -> str:
    """The same where a sentence begins with it; the name of a user's own function keeps its spelling."""
    name = metric_name(metric)
    return name if is_own(metric) else name[:1].upper() + name[1:]


def format_number(value: float, digits: int = 3) -> str:
    """A number with thousands separators: 12,300, 0.046, -3.2."""
    if not math.isfinite(value):
        return "unknown"
    size = abs(value)
    if size >= _LARGE or 0 < size < _SMALL:
        return f"{value:.{digits - 1}e}"
    if size == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(size))
    rounded = round(value, places)
    return (
        f"{rounded:,.{max(0, places)}f}".removesuffix("." + "0" * max(0, places)) if places > 0 else f"{rounded:,.0f}"
    )


def format_share(share: float) -> str:
    """A share of rows: 78 %, 0.4 %, under 0.1 %."""
    points = 100 * share
    if 0 < points < 0.1:  # noqa: PLR2004 - a tenth of a percent is what is told
        return "under 0.1 %"
    near_end = 0 < points < 10 or 99 < points < 100  # noqa: PLR2004 - where whole percents say little
    return f"{points:.1f}".removesuffix(".0") + " %" if near_end else f"{points:.0f} %"


def format_pair(before: float, now: float) -> tuple[str, str]:
    """Two numbers to the same place, in as many digits as tell them apart: three of the larger, at most eight."""
    size = max(abs(before), abs(now))
    if not math.isfinite(size) or not _SMALL <= size < _LARGE:
        return format_number(before), format_number(now)
    said = "", ""
    for digits in range(3, 9):  # enough for a difference of a hundredth of a percent
        places = digits - 1 - math.floor(math.log10(size))
        said = _to_place(before, places), _to_place(now, places)
        if said[0] != said[1]:
            break
    while "." in said[0] and all(text[-1] in "0." for text in said):
        said = said[0][:-1], said[1][:-1]
    return said


def _to_place(value: float, places: int) -> str:
    return f"{round(value, places) + 0.0:,.{max(0, places)}f}"


def describe_changes(changes: Sequence[Change], since: float | None, *, also: bool = False) -> str:
    """Some changes in words: the first and since when it is so, then the others."""
    first, *others = changes
    day = f"since {format_day(since)}" if since is not None and since > 0 else ""
    if first.measure in (Measure.LOSS, Measure.ESTIMATE):
        said = _describe_metric(first, day)
    else:
        said = f"{describe_change(first)} ({day})" if day else describe_change(first)
    start = "Most of all: " if also else ""
    more = f" Also: {'; '.join(map(describe_change, others))}." if others else ""
    return f"{start}{said}.{more}"


def describe_change(change: Change) -> str:
    """One change in words, without a full stop."""
    match change.measure:
        case Measure.LOSS | Measure.ESTIMATE:
            return _describe_metric(change, "")
        case Measure.SHARE:
            now, before = _shares(change)
            return f"{change.subject}: {now} {change.value}, was {before}"
        case Measure.MISSING:
            now, before = _shares(change)
            return f"{change.subject}: {now} missing, was {before}"
        case Measure.NEW:
            now, before = _shares(change)
            return f"{change.subject}: {now} with values outside the reference, was {before}"
        case Measure.MEAN | Measure.SPREAD:
            before, now = _numbers(change)
            word = "mean" if change.measure is Measure.MEAN else "standard deviation"
            age = " age" if change.is_time else ""
            return f"{change.subject}: {word}{age} {now}, was {before}"


def _shares(change: Change) -> tuple[str, str]:
    now, before = format_share(change.now), format_share(change.before)
    if now == before:
        now, before = f"{100 * change.now:.1f} %", f"{100 * change.before:.1f} %"
    return now, before


def _numbers(change: Change) -> tuple[str, str]:
    if not change.is_time:
        return format_pair(change.before, change.now)
    size = max(abs(change.before), abs(change.now))
    unit, seconds = next(((name, length) for name, length in _UNITS if size >= length), ("s", 1.0))
    before, now = format_pair(change.before / seconds, change.now / seconds)
    return f"{before} {unit}", f"{now} {unit}"


def _describe_metric(change: Change, since: str) -> str:
    """A metric that got worse or better, and which direction is which."""
    before, now = format_pair(change.before, change.now)
    is_falling = change.subject in HIGHER_IS_BETTER
    is_worse = change.now < change.before if is_falling else change.now > change.before
    name, title = metric_name(change.subject), metric_title(change.subject)
    if change.measure is Measure.ESTIMATE:
        name, title = f"estimated {name}", f"Estimated {name}"
    name = f"{change.segment}: {name}" if change.segment else title
    labels = "" if not change.rows else " on 1 label" if change.rows == 1 else f" on {change.rows:,} labels"
    labels += f" {since}" if since else ""
    if now == before:
        return f"{name} is {now}{labels}, as on the reference"
    direction = "lower" if is_falling else "higher"
    return f"{name} got {'worse' if is_worse else 'better'} from {before} to {now}{labels} ({direction} is worse)"
