"""The fleet: every model with what it needs, its last performance, and the last decisions of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from driftd.records import ModelState
from driftd.registry import Registry
from driftd.sentences.decisions import parts_of
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.records import KindEvidence, StoredTransition
from driftd.views.attention import Attention, Urgency, attention, unwatched_attention
from driftd.views.choices import Choices, choices_of
from driftd.views.conditions import ActiveCondition, ActiveConditions
from driftd.views.config import ConfigInForce, ConfigSummary, config_in_force
from driftd.views.row_counts import RowCounts
from driftd.views.series import CheckedWindows, Grouping, WindowSeries, performance_series, window_series
from driftd.views.status import ModelStatus, model_status

SPARK_WINDOWS, SPARK_POINTS = 240, 60
DECISIONS = 12
NOT_WATCHED = "not_watched"  # the phase of a model that has no state


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the daemon itself says at this moment, besides the state on disk. Nothing in here changes every second."""

    obstacles: Mapping[str, str] = field(default_factory=dict)  # why models of the config are not under watch
    pressing: ActiveConditions = field(default_factory=ActiveConditions)
    rows: Mapping[str, RowCounts] = field(default_factory=dict)  # where the rows of each model's source ended
    blind_spots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what of a model is not watched now


class Headline(msgspec.Struct, frozen=True):
    """The whole fleet in one sentence."""

    level: str
    sentence: str


class DecisionLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of history, as lists show it."""

    id: int
    at: float
    model: str
    event: str
    reason: str  # as it is recorded
    sentence: str  # what is said of it
    alarm: int | None
    version: int | None
    by: str


class VerdictSpark(WindowSeries, frozen=True, tag_field="kind", tag="verdicts"):
    """The last verdicts of a model that has no labels."""


class LastCohort(msgspec.Struct, frozen=True):
    """The performance on the newest labels alone: a point of the line is the mean of some."""

    value: float | None
    baseline: float | None
    over: bool  # whether it is worse than what is tolerated
    version: int | None  # whose it is: right after a swap that of the version before


class PerformanceSpark(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="performance"):
    """The last performance of a model, in its metric."""

    now: LastCohort
    metric: str | None
    at: list[float]
    value: list[float]
    baseline: list[float]
    tolerated: list[float]


class ModelHead(ModelStatus, frozen=True, kw_only=True):
    """What stands at the head of a model: on the first screen and on its own page."""

    attention: Attention
    choices: Choices
    window_seconds: float | None
    rows: RowCounts
    rows_sentence: str


class WatchedModel(ModelHead, frozen=True, kw_only=True):
    """A model on the first screen."""

    spark: VerdictSpark | PerformanceSpark


class UnwatchedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the config that has no state, on the first screen."""

    model: str
    phase: str = NOT_WATCHED
    version: int | None
    verdict: None = None
    worst: str = "-"
    evidence: Mapping[str, KindEvidence] = {}
    attention: Attention
    last_check: None = None
    spark: None = None


FleetModel = WatchedModel | UnwatchedModel
Spark = VerdictSpark | PerformanceSpark


@dataclass(slots=True)
class SparkCache:
    """The lines of models with labels, each kept until another cohort of its model is evaluated.

    They are most of what a first screen of a thousand models costs, and only a few of them change at once.
    """

    _kept: dict[str, tuple[object, Spark]] = field(default_factory=dict)

    def spark(self, model: str, mark: object, draw: Callable[[], Spark]) -> Spark:
        """What was drawn at this mark, or what `draw` draws now."""
        kept = self._kept.get(model)
        if kept is None or kept[0] != mark:
            kept = self._kept[model] = (mark, draw())
        return kept[1]


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the first screen."""

    config: ConfigSummary
    host: tuple[ActiveCondition, ...]
    headline: Headline
    models: list[FleetModel]  # the most urgent first
    decisions: list[DecisionLine]  # the newest first


def fleet_view(
    reader: SeriesReader,
    registry: Registry,
    beside: LiveState,
    summary: ConfigSummary,
    sparks: SparkCache | None = None,
) -> FleetView:
    """Everything of the first screen, the most urgent model first; `sparks` are those of the last one."""
    config, sparks = config_in_force(reader), sparks or SparkCache()
    states = [state for state in reader.models() if config.knows(state.model)]
    watched = [_watched_model(reader, state, config, beside, sparks) for state in states]
    known = {status.model for status in watched}
    absent = [name for name in config.models if name not in known]
    unwatched = [_unwatched_model(name, registry.current(name), beside.obstacles.get(name)) for name in absent]
    models: list[FleetModel] = sorted([*watched, *unwatched], key=by_need)
    return FleetView(
        config=summary,
        host=beside.pressing.host,
        headline=headline(models, beside.pressing.host),
        models=models,
        decisions=[decision_line(decision) for decision in reader.history(limit=DECISIONS)],
    )


def by_need(model: FleetModel) -> tuple[int, float, str]:
    """Sorts models: the most urgent first, then what is nearest to an alarm, then by name."""
    nearest = max((found.share for found in model.evidence.values()), default=0.0)
    return model.attention.rank, -nearest, model.model


def headline(models: Sequence[FleetModel], host: Sequence[ActiveCondition] = ()) -> Headline:
    """The whole fleet in one sentence; the most urgent model comes first."""
    ranks = [model.attention.rank for model in models]
    if host and min(ranks, default=Urgency.OK) > Urgency.ACT:
        return Headline("act", "The machine needs you.")
    if not models:
        return Headline("wait", "No model is under watch yet.")
    loudest = min(ranks)
    count = ranks.count(loudest)
    which = models[0].model if count == 1 else f"{count} models"
    sentences = {
        Urgency.ACT: f"{which} {'needs' if count == 1 else 'need'} you.",
        Urgency.DRIFT: f"{which} {'has' if count == 1 else 'have'} drifted.",
        Urgency.WATCH: f"Evidence gathers in {which}. Nothing needs you.",
        Urgency.BUSY: f"{which} {'is' if count == 1 else 'are'} being worked on. Nothing needs you.",
        Urgency.WAIT: f"Nothing can be said of {which} at this moment.",
        Urgency.OK: "All is well.",
    }
    return Headline(loudest.name.lower(), sentences[loudest])


def what_of(decision: StoredTransition) -> str:
    """What changed or was done, as lists of decisions say it."""
    return parts_of(decision.model, decision.event, decision.reason, decision.decision_figures).what


def decision_line(decision: StoredTransition) -> DecisionLine:
    """A line of history, as lists show it."""
    figures = decision.decision_figures
    return DecisionLine(
        id=decision.id,
        at=decision.at,
        model=decision.model,
        event=decision.event,
        reason=decision.reason,
        sentence=what_of(decision),
        alarm=figures.alarm,
        version=figures.version,
        by=decision.actor,
    )


def model_head(reader: SeriesReader, state: ModelState, config: ConfigInForce, beside: LiveState) -> ModelHead:
    """What stands at the head of a model. One that cannot be watched says so, whatever its state is."""
    status = model_status(
        reader, state, beside.pressing.of.get(state.model, ()), is_external=config.is_external(state.model)
    )
    needed = attention(status, beside.obstacles.get(state.model), beside.blind_spots.get(state.model, ()))
    rows = beside.rows.get(state.model, RowCounts())
    return ModelHead(
        **msgspec.structs.asdict(status),
        attention=needed,
        choices=choices_of(
            reader, state, by_time=not config.by_rows(state.model), can_train=config.can_train(state.model)
        ),
        window_seconds=config.window_seconds(state.model),
        rows=rows,
        rows_sentence=rows.sentence,
    )


def _watched_model(
    reader: SeriesReader, state: ModelState, config: ConfigInForce, beside: LiveState, sparks: SparkCache
) -> WatchedModel:
    head = model_head(reader, state, config, beside)
    return WatchedModel(**msgspec.structs.asdict(head), spark=_spark(reader, state.model, config, sparks))


def _unwatched_model(name: str, version: int | None, obstacle: str | None) -> UnwatchedModel:
    return UnwatchedModel(model=name, version=version, attention=unwatched_attention(version, obstacle))


def _spark(reader: SeriesReader, model: str, config: ConfigInForce, sparks: SparkCache) -> Spark:
    by_time = config.window_seconds(model) is not None
    last = reader.last_window(model, "labels")
    if last is None:
        newest_window = reader.last_window(model, "window") or 0
        rows = reader.checks_from(model, "window", newest_window - SPARK_POINTS + 1)
        windows = [CheckedWindows.read(row, by_time=by_time) for row in rows]
        return VerdictSpark(**msgspec.structs.asdict(window_series(windows, _over(windows))))
    metric, newest = config.metric(model, reader), tuple(reader.checks_from(model, "labels", last))
    mark = (by_time, metric, newest)
    return sparks.spark(model, mark, lambda: _performance_spark(reader, model, last, metric, by_time=by_time))


def _performance_spark(
    reader: SeriesReader, model: str, last: int, metric: str | None, *, by_time: bool
) -> PerformanceSpark:
    rows = reader.checks_from(model, "labels", last - SPARK_WINDOWS + 1)
    checks = [CheckedWindows.read(row, by_time=by_time) for row in rows]
    series = performance_series(checks, _over(checks), metric)
    return PerformanceSpark(
        now=_last_cohort(checks[-1], series.metric),
        metric=series.metric,
        at=series.at,
        value=series.value,
        baseline=series.baseline,
        tolerated=series.tolerated,
    )


def _last_cohort(last: CheckedWindows, metric: str | None) -> LastCohort:
    alone = performance_series([last], Grouping.of(last.window, last.window), metric)
    loss, tolerated = last.figures.loss, last.figures.tolerated
    over = loss is not None and tolerated is not None and loss > tolerated
    return LastCohort(next(iter(alone.value), None), next(iter(alone.baseline), None), over, last.version)


def _over(checks: list[CheckedWindows]) -> Grouping:
    return Grouping.of(checks[0].window, checks[-1].window, SPARK_POINTS) if checks else Grouping(0, 0, 1)
