"""What a config says of builds, in sentences: on what, by which stages, how they are promoted and watched."""

from __future__ import annotations

from driftd.config.model_schema import ModelConfig, RefreshConfig
from driftd.config.stage_schema import RowCount
from driftd.config.trainer_schema import OutsideTrainer
from driftd.config.types import spell_duration, spell_share, spell_windows
from driftd.events import trigger_named
from driftd.loop.config_history import monitor_settings, policy_settings
from driftd.sentences.alarms import TRIGGERS


def _outside(model: ModelConfig) -> list[str]:
    """Where builds are made that are not made here."""
    if not isinstance(model.trainer, OutsideTrainer):
        return []
    by = "a webhook" if model.trainer.program is None else f"`{model.trainer.program}`"
    return [f"has them made outside, started by {by}, each within {spell_duration(model.trainer.deadline)}"]


def loop_sentences(model: ModelConfig) -> list[str]:
    """On what driftd builds, how a version is promoted, and how it is watched then; one sentence each."""
    retrain, promote, probation = model.retrain, model.promote, model.probation
    is_refreshed = policy_settings(model).refresh is not None
    acts_on = [trigger for trigger in retrain.on if trigger != "refresh" or is_refreshed]
    triggers = ", ".join(TRIGGERS[trigger_named(word)] for word in acts_on)
    if model.trainer is None:
        asks = triggers or "nothing: retrain.on is empty"
        return [f"builds nothing (trainer: null), and asks for a new version on {asks}"]
    if not acts_on:
        return ["never builds by itself: retrain.on is empty, every alarm only informs"]
    when = f" (the schedule is {retrain.schedule} UTC)" if "schedule" in retrain.on else ""
    person = "by itself" if promote.approval == "auto" else "only when a person approves"
    of_others = ", of every other build" if is_refreshed else ""
    until_next = ", what a refresh built until the next" if is_refreshed else ""
    informs = "" if "data_drift" in retrain.on else "; data drift alone informs"
    renamed = "harm is called estimated_performance now: retrain.on may name it so; both mean the same"
    return [
        f"builds on {triggers}{when}{informs}",
        *([renamed] if "harm" in retrain.on else []),
        *_outside(model),
        f"at most {retrain.budget.builds} builds in {spell_duration(retrain.budget.per)}, "
        f"none within {spell_duration(retrain.cooldown)} after one ended",
        *_refresh(model),
        *_stages(model),
        f"promotes {person} what is better with {promote.confidence:.0%} confidence, on at least "
        f"{promote.min_labels} labels over three blocks of {spell_duration(model.block_seconds)}{of_others}",
        f"watches a new version for {spell_duration(probation.span)} and {probation.min_labels} labels beside the old "
        f"one{until_next}, less where a clearly worse one would have been seen in five blocks, and goes back if it is "
        "worse",
    ]


def _stages(model: ModelConfig) -> list[str]:
    """What a build passes besides its training and its gate."""
    check, test, review = model.stages.check_data, model.stages.test, model.stages.review
    said = []
    if check.is_set:
        others = [*check.functions, *filter(None, (check.pandera, check.great_expectations))]
        names = ", ".join(["their number"] * (check.rows != RowCount()) + [*check.columns, *others])
        said.append(f"checks the rows of each build before it trains: {names}")
    if test.is_set:
        names = ", ".join([*([test.tests] if test.tests is not None else []), *test.functions])
        said.append(f"tests each new version before it may serve, within {spell_duration(test.timeout)}: {names}")
    if review.people > 1 or review.expires is not None:
        end = "" if review.expires is None else f", within {spell_duration(review.expires)}"
        said.append(f"has a challenger that waits for approval approved by {review.people} different people{end}")
    return said


_REFRESHES_A_WINDOW = 0.115  # at a growth of a tenth, as measured on nineteen streams; falls with growth ** .6
_SECONDS_A_YEAR = 365.25 * 86_400.0


def _refresh(model: ModelConfig) -> list[str]:
    """What refreshes will do, and how many of them a year that will be about."""
    retrain, promote, refresh = model.retrain, model.promote, model.retrain.refresh
    if model.is_external and refresh.enabled and "refresh" in retrain.on:
        return ["never refreshes: each refresh would be a hand-over to the system that serves"]
    if policy_settings(model).refresh is None:
        is_meant = refresh.enabled and refresh != RefreshConfig()
        return ["never refreshes: retrain.refresh is set, but retrain.on does not name refresh"] if is_meant else []
    windows = monitor_settings(model).windows_per_year
    storm = _SECONDS_A_YEAR * min(1 / retrain.cooldown, retrain.budget.builds / retrain.budget.per)
    most = min(windows / refresh.every, storm)
    about = min(most, windows * _REFRESHES_A_WINDOW * (0.1 / refresh.rows) ** 0.6)
    pace = "" if model.window.every is not None else ", if a window comes about every hour"
    recipes = ", ".join(refresh.recipes).replace("_", " ")
    serves = (
        "serves it unless an older version is surely better"
        if promote.serve == "fresh"
        else "serves it only where it is surely better (promote.serve)"
    )
    return [
        f"refreshes when labelled rows have grown by {spell_share(refresh.rows)}, at most every "
        f"{spell_windows(refresh.every)}: about {about:.0f} builds a year, at most {most:.0f}{pace}, each of "
        f"{len(refresh.recipes)} fits ({recipes}); {serves}",
    ]
