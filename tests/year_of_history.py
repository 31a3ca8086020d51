"""A seeded year of hourly history, written by the real StateStore: what the page is measured on."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import numpy as np

from driftd.config.schema import Config
from driftd.events import Event
from driftd.records import Alarm, DecisionFigures, ModelState, Phase, Transition, Window
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Score, Verdict

HOUR = 3600.0
END = 1_767_225_600.0  # 2026-01-01
COMPONENTS = ("location", "spread", "rest")


def write_history(path: Path, *, models: int, windows: int, features: int, copies: int = 0, seed: int = 7) -> list[str]:
    """Write so many models with so many hourly windows of so many features, the last one just over; their names.

    The first model is then copied so many times: a year of twenty models is made in seconds.
    """
    store = StateStore.open(path)
    names = [f"model-{number:02}" for number in range(models + copies)]
    content: dict[str, object] = {"models": {name: {"task": "regression", "target": "y"} for name in names}}
    with store.transaction():
        store.save_config("0123456789ab", at=END - windows * HOUR, content=_whole(content))
    for number, name in enumerate(names[:models]):
        with store.transaction():
            _write_model(store, name, windows, features, np.random.default_rng([seed, number]))
    store.close()
    _copy(path, names[0], names[models:])
    return names


def _copy(path: Path, first: str, copies: list[str]) -> None:
    """Everything that is known of the first model, for each copy."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for table in ("models", "transitions", "checks", "alarms"):
            columns = [row[1] for row in db.execute(f"pragma table_info({table})")]
            taken = [column for column in columns if column not in {"id", "model"}]
            read = [
                f"replace({item}, :first, :name)" if item == "state" else item for item in taken
            ]  # it names its model
            asked = f"select :name, {', '.join(read)} from {table} where model = :first"
            insert = f"insert into {table}(model, {', '.join(taken)}) {asked}"
            db.executemany(insert, [{"name": name, "first": first} for name in copies])
        db.executemany("insert into score_models(model) values (?)", [(name,) for name in copies])
        scores = """insert into score_codes
                    select (select id from score_models where model = :name), window_index, stream, value, evidence
                    from score_codes where model = (select id from score_models where model = :first)"""
        db.executemany(scores, [{"name": name, "first": first} for name in copies])


def _whole(content: dict[str, object]) -> dict[str, object]:
    whole: dict[str, object] = json.loads(Config.model_validate(content).model_dump_json())
    return whole


def _write_model(store: StateStore, name: str, windows: int, features: int, rng: np.random.Generator) -> None:
    first = int(END // HOUR) - windows
    values = rng.normal(0, 0.1, (windows, features, len(COMPONENTS)))
    values[windows // 2 :, 0, 0] += 0.6
    losses = rng.normal(0.4, 0.02, windows)
    state = ModelState(name, Phase.STEADY, champion=1)
    store.save_transition(
        ModelState(name),
        Transition(state, "version 1 serves", Event.ADOPTED),
        at=first * HOUR,
        actor="driftd",
        config_hash="",
    )
    for place in range(windows):
        window = Window(first + place, (first + place) * HOUR, (first + place + 1) * HOUR)
        at = window.end + 60
        store.save_check(name, "window", window, assess_scores(values[place]), at=at, version=1)
        store.save_check(name, "labels", window, assess_loss(float(losses[place])), at=at, version=1)
        if place % 700 == 699:
            _alarm(store, state, window, at)


def assess_scores(values: np.ndarray) -> Assessment:
    """What a calm check of a window says; `values` has a row for each feature, a column for each component."""
    scores = tuple(
        Score(EvidenceKind.DATA, f"feature_{feature}", component, float(values[feature, place]), 0.1, 1.0)
        for feature in range(len(values))
        for place, component in enumerate(COMPONENTS)
    )
    kinds = tuple(
        KindAssessment(kind, Verdict.OK, 3.5, 21_915.0, f"nothing moved: {kind} evidence 3.5 of 21,915")
        for kind in (EvidenceKind.DATA, EvidenceKind.PREDICTION, EvidenceKind.QUALITY, EvidenceKind.HARM)
    )
    figures = {"estimated": 0.41, "estimated_low": 0.38, "estimated_high": 0.44, "estimate_off": 0.0}
    return Assessment(Verdict.OK, kinds[0].sentence, 200, kinds, scores, figures=figures)


def assess_loss(loss: float) -> Assessment:
    """What the labels of a window say at a loss."""
    sentence = f"mae {loss:.4g} on 200 labels, 0.4 on the reference: evidence 0.2 against a threshold of 21,915"
    figures = {
        "loss": loss,
        "baseline": 0.4,
        "tolerated": 0.44,
        "metric": loss,
        "metric_baseline": 0.4,
        "labels": 200.0,
        "coverage": 1.0,
        "low": loss - 0.05,
        "high": loss + 0.05,
        "label_delay_changed": 0.0,
    }
    return Assessment(
        Verdict.OK,
        sentence,
        200,
        (KindAssessment(EvidenceKind.PERFORMANCE, Verdict.OK, 0.2, 21_915.0, sentence),),
        (Score(EvidenceKind.PERFORMANCE, "mae", "loss", loss, 0.02, 0.2),),
        figures=figures,
    )


def _alarm(store: StateStore, state: ModelState, window: Window, at: float) -> None:
    alarm = Alarm("data", "feature_0", 22_000.0, 21_915.0, "feature_0 moved up by 0.6 sd", window.start)
    number = store.save_alarm(state.model, alarm, window, at=at, version=1, leaders=[("feature_0", 1.0)])
    output = Transition(
        state, f"{alarm.sentence}; this informs only", Event.ALARM, (), DecisionFigures(alarm=number, kind="data")
    )
    store.save_transition(state, output, at=at, actor="driftd", config_hash="0123456789ab")
    store.absorb_alarms(state.model, "data", at)
