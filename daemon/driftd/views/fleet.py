"""The fleet: every model with what it needs, its last performance, and the last decisions of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftd.records import ModelState
from driftd.registry import Registry
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.records import StoredTransition
from driftd.views.attention import Urgency, attention, by_need, unwatched_attention
from driftd.views.conditions import ActiveCondition, ActiveConditions
from driftd.views.config import ConfigInForce, config_in_force
from driftd.views.row_counts import RowCounts
from driftd.views.series import CheckedWindows, Grouping, performance_series, window_series
from driftd.views.status import model_status

SPARK_WINDOWS, SPARK_POINTS = 240, 60
SPARK_SERIES = ("metric", "at", "value", "baseline", "tolerated")
DECISIONS = 12


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the daemon itself says at this moment, besides the state on disk. Nothing in here changes every second."""

    obstacles: Mapping[str, str] = field(default_factory=dict)  # why models of the config are not under watch
    pressing: ActiveConditions = field(default_factory=ActiveConditions)
    rows: Mapping[str, RowCounts] = field(default_factory=dict)  # where the rows of each model's source ended


def fleet_view(reader: SeriesReader, registry: Registry, beside: LiveState) -> dict[str, Any]:
    """Everything of the first screen, the most urgent model first."""
    config, obstacles, pressing = config_in_force(reader), beside.obstacles, beside.pressing
    models = [_watched_view(reader, state, config, beside) for state in reader.models() if config.knows(state.model)]
    known = {status["model"] for status in models}
    for name in config.models:
        if name not in known:
            models.append(_unwatched_view(name, registry.current(name), obstacles.get(name)))
        elif name in obstacles:
            _mark_obstacle(next(status for status in models if status["model"] == name), obstacles[name])
    models.sort(key=by_need)
    return {
        "headline": headline(models, pressing.host),
        "models": models,
        "decisions": [decision_line(decision) for decision in reader.history(limit=DECISIONS)],
    }


def headline(models: list[dict[str, Any]], host: Sequence[ActiveCondition] = ()) -> dict[str, str]:
    """The whole fleet in one sentence."""
    ranks = [status["attention"]["rank"] for status in models]
    if host and min(ranks, default=Urgency.OK) > Urgency.ACT:
        return {"level": "act", "sentence": "The machine needs you."}
    if not models:
        return {"level": "wait", "sentence": "No model is under watch yet."}
    loudest = min(ranks)
    count = ranks.count(loudest)
    which = models[0]["model"] if count == 1 else f"{count} models"
    sentences = {
        Urgency.ACT: f"{which} {'needs' if count == 1 else 'need'} you.",
        Urgency.DRIFT: f"{which} {'has' if count == 1 else 'have'} drifted.",
        Urgency.WATCH: f"Evidence gathers in {which}. Nothing needs you.",
        Urgency.BUSY: f"{which} {'is' if count == 1 else 'are'} being worked on. Nothing needs you.",
        Urgency.WAIT: f"Nothing can be said of {which} at this moment.",
        Urgency.OK: "All is well.",
    }
    return {"level": Urgency(loudest).name.lower(), "sentence": sentences[Urgency(loudest)]}


def decision_line(decision: StoredTransition) -> dict[str, Any]:
    """A line of history, as lists show it."""
    return {
        "id": decision.id,
        "at": decision.at,
        "model": decision.model,
        "event": decision.event,
        "reason": decision.reason,
        "alarm": decision.decision_figures.alarm,
        "version": decision.decision_figures.version,
        "by": decision.actor,
    }


def summary(reader: SeriesReader, state: ModelState, config: ConfigInForce, beside: LiveState) -> dict[str, Any]:
    """What stands at the head of a model: here and on its own page."""
    status = {**model_status(reader, state), "pressing": beside.pressing.of.get(state.model, ())}
    rows = beside.rows.get(state.model, RowCounts())
    return {
        **status,
        "phase": str(state.phase),
        "attention": attention(status).told(),
        "window_seconds": config.window_seconds(state.model),
        "rows": rows,
        "rows_sentence": rows.sentence,
    }


def _watched_view(reader: SeriesReader, state: ModelState, config: ConfigInForce, beside: LiveState) -> dict[str, Any]:
    return {**summary(reader, state, config, beside), "spark": _spark(reader, state.model, config)}


def _spark(reader: SeriesReader, model: str, config: ConfigInForce) -> dict[str, Any]:
    by_time = config.window_seconds(model) is not None
    last = reader.last_window(model, "labels")
    if last is None:
        newest_window = reader.last_window(model, "window") or 0
        rows = reader.checks_from(model, "window", newest_window - SPARK_POINTS + 1)
        windows = [CheckedWindows.read(row, by_time=by_time) for row in rows]
        return {"kind": "verdicts", **window_series(windows, _over(windows))}
    rows = reader.checks_from(model, "labels", last - SPARK_WINDOWS + 1)
    checks = [CheckedWindows.read(row, by_time=by_time) for row in rows]
    series = performance_series(checks, _over(checks), config.metric(model, reader))
    spark = {name: series[name] for name in SPARK_SERIES}
    return {"kind": "performance", "now": _now(checks[-1], series["metric"]), **spark}


def _now(last: CheckedWindows, metric: str | None) -> dict[str, Any]:
    """The last cohort alone: a point of the line is the mean of some."""
    alone = performance_series([last], Grouping.of(last.window, last.window), metric)
    newest = {name: next(iter(alone[name]), None) for name in ("value", "baseline")}
    loss, tolerated = last.figures.loss, last.figures.tolerated
    return {**newest, "over": loss is not None and tolerated is not None and loss > tolerated}


def _over(checks: list[CheckedWindows]) -> Grouping:
    return Grouping.of(checks[0].window, checks[-1].window, SPARK_POINTS) if checks else Grouping(0, 0, 1)


def _unwatched_view(name: str, version: int | None, obstacle: str | None) -> dict[str, Any]:
    return {
        "model": name,
        "phase": "not_watched",
        "version": version,
        "verdict": None,
        "worst": "-",
        "evidence": {},
        "attention": unwatched_attention(version, obstacle).told(),
        "last_check": None,
        "spark": None,
    }


def _mark_obstacle(status: dict[str, Any], obstacle: str) -> None:
    status["attention"] = unwatched_attention(status["version"], obstacle).told()
