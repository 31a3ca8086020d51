"""What a change has cost so far: the loss over what was usual, the predictions it is of, and the builds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from driftd.formatting import format_duration
from driftd.store.state.chart_queries import SeriesReader
from driftd.views.openlineage import BUILDS
from driftd.views.series import CheckedWindows
from driftd_detectors.assessment import format_windows, number
from driftd_detectors.evidence.change_sentences import metric_name
from driftd_detectors.performance.losses import value_of

MOST_COUNTED = 2_000  # windows since the change
WINDOWS_BEFORE = 28  # whose estimate is what it was before the change
THOUSAND = 1_000.0


class CostLine(msgspec.Struct, frozen=True):
    """One thing that it cost."""

    name: str
    value: str


class Price(msgspec.Struct, frozen=True):
    """`retrain.cost` of a stored config."""

    per_hour: float
    unit: str


class Prices(msgspec.Struct, frozen=True):
    """`rehearsal.costs` of a stored config, in a unit of the user's choice that has no name."""

    error: float = 0.0  # of one unit of the loss, on each of a thousand predictions


class _Retrain(msgspec.Struct, frozen=True):
    cost: Price | None = None


class _Model(msgspec.Struct, frozen=True):
    retrain: _Retrain = _Retrain()


class _Rehearsal(msgspec.Struct, frozen=True):
    costs: Prices | None = None


class _Config(msgspec.Struct, frozen=True):
    models: dict[str, _Model] = {}
    rehearsal: _Rehearsal = _Rehearsal()


@dataclass(frozen=True, slots=True)
class Affected:
    """The windows of one version since a change, as they were checked."""

    metric: str | None
    loss: float  # mean over the labels; NaN where there are none
    usual: float  # that of the reference, likewise
    labels: float
    rows: int
    windows: int
    estimates: tuple[float, float] | None = None  # of the metric without labels: before the change, and since

    @property
    def extra(self) -> float:
        """The loss of one prediction beyond what is usual."""
        return self.loss - self.usual


def affected_windows(
    reader: SeriesReader,
    model: str,
    version: int | None,
    first: int,
    *,
    until: float,
    metric: str | None,
    by_time: bool,
) -> Affected:
    """Add up what the checks say of the windows from `first` on in which this version served.

    Those that were made after `until` (epoch seconds), when the alarm had ended, do not count.
    """
    windows, labelled = (
        _read(reader, model, kind, version, (first, first + MOST_COUNTED - 1), by_time=by_time, until=until)
        for kind in ("window", "labels")
    )
    loss, usual, labels = _mean_losses(labelled)
    earlier = _read(reader, model, "window", version, (first - WINDOWS_BEFORE, first - 1), by_time=by_time)
    before, since = _mean_estimate(earlier), _mean_estimate(windows)
    return Affected(
        metric,
        loss,
        usual,
        labels,
        sum(check.rows for check in windows),
        len(windows),
        None if before is None or since is None else (before, since),
    )


def _read(
    reader: SeriesReader,
    model: str,
    kind: str,
    version: int | None,
    span: tuple[int, int],
    *,
    by_time: bool,
    until: float = math.inf,
) -> list[CheckedWindows]:
    rows = reader.checks_from(model, kind, *span)
    return [CheckedWindows.read(row, by_time=by_time) for row in rows if row.version == version and row.at <= until]


def _mean_estimate(checks: Iterable[CheckedWindows]) -> float | None:
    """The mean of what was estimated and believed, by rows."""
    known = [
        (check.figures.estimated, max(1, check.rows))
        for check in checks
        if check.figures.estimated is not None and not check.figures.estimate_off
    ]
    finite = [(value, rows) for value, rows in known if math.isfinite(value)]
    return sum(value * rows for value, rows in finite) / sum(rows for _, rows in finite) if finite else None


def _mean_losses(checks: Iterable[CheckedWindows]) -> tuple[float, float, float]:
    """The mean loss, the mean of what is usual, and the labels that both are of."""
    found = [
        (check.figures.loss, check.figures.baseline, check.figures.labels or 0.0)
        for check in checks
        if check.figures.loss is not None and check.figures.baseline is not None
    ]
    finite = [(loss, usual, labels) for loss, usual, labels in found if math.isfinite(loss) and math.isfinite(usual)]
    labels = sum(each[2] for each in finite)
    if not labels:
        return math.nan, math.nan, 0.0
    return (
        sum(each[0] * each[2] for each in finite) / labels,
        sum(each[1] * each[2] for each in finite) / labels,
        labels,
    )


def loss_lines(found: Affected, prices: Prices | None) -> list[CostLine]:
    """What the change cost in the unit of the metric, and in the user's where the config has one."""
    lines = [CostLine("In the metric", _say_loss(found))]
    if found.windows:
        whole = (
            f"the first {MOST_COUNTED:,} windows" if found.windows >= MOST_COUNTED else format_windows(found.windows)
        )
        lines.append(CostLine("Predictions affected", f"{found.rows:,} in {whole}"))
    if prices is not None and prices.error and found.extra > 0:
        amount = prices.error * found.extra * found.rows / THOUSAND
        lines.append(CostLine("In your unit", f"{amount:,.4g} by rehearsal.costs.error"))
    return lines


def _say_loss(found: Affected) -> str:
    name = "the loss" if found.metric is None else metric_name(found.metric)
    if not found.labels:
        if found.estimates is None:
            return "not known: no label of these predictions was evaluated"
        before, since = found.estimates
        return f"{name} is estimated at {since:.4g} without labels, it was {before:.4g}"
    usual, now = (
        loss if found.metric is None else value_of(found.metric, max(0.0, loss)) for loss in (found.usual, found.loss)
    )
    if found.extra <= 0:
        return f"{name} is no worse: {now:.4g} on {number(found.labels)} labels, usual is {usual:.4g}"
    return (
        f"{name} {now:.4g} in place of {usual:.4g}: {now - usual:+.3g} a prediction, on {number(found.labels)} labels"
    )


def build_lines(reader: SeriesReader, model: str, versions: Iterable[int], price: Price | None) -> list[CostLine]:
    """How long the jobs of some builds took, and what that costs by `retrain.cost`."""
    wanted = set(versions)
    if not wanted:
        return []
    seconds = [
        max(0.0, action.finished_at - action.started_at)
        for action in reader.actions(model, limit=MOST_COUNTED)
        if action.kind in _BUILD_KINDS
        and action.arguments.get("version") in wanted
        and action.started_at is not None
        and action.finished_at is not None
    ]
    if sum(seconds) < 1.0:
        return []
    cost = "" if price is None else f", {price.per_hour * sum(seconds) / 3600.0:,.3g} {price.unit} by retrain.cost"
    return [CostLine("The build", f"{format_duration(sum(seconds))} of jobs{cost}")]


_BUILD_KINDS = frozenset({*BUILDS, "snapshot", "judge"})


def prices_of(reader: SeriesReader, model: str) -> tuple[Prices | None, Price | None]:
    """What errors and builds cost by the config in force; None where it does not say."""
    stored = reader.config_in_force()
    try:
        config = msgspec.convert((stored.content if stored is not None else None) or {}, _Config)
    except msgspec.ValidationError:  # of another driftd
        return None, None
    return config.rehearsal.costs, config.models.get(model, _Model()).retrain.cost
