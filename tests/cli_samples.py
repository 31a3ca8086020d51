"""A config and a state for the tests of commands: decisions, alarms, checks and versions as a daemon leaves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from driftd.events import Event
from driftd.paths import Places
from driftd.records import (
    Action,
    Alarm,
    Build,
    BuildStep,
    DecisionFigures,
    ModelState,
    Phase,
    Transition,
    Trigger,
    Window,
)
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.manifest import write_manifest
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Verdict
from driftd_detectors.schema import Feature, Kind, Schema, Task

CONFIG = """\
state_dir: {state}
models:
  demand: {{task: regression, target: y, window: {{every: 1d}}}}
  supply: {{task: regression, target: y, window: {{rows: 500}}}}
"""
DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2  # 2024-10-04 12:00 UTC
ODD = "x[/bold] moved"  # what rich would take for markup
STATE = ModelState("demand", Phase.STEADY, champion=1)
BUILD = Build(2, Trigger.PERFORMANCE, "mae rose", BuildStep.JUDGE, NOON)

Run = Callable[..., tuple[int, str, str]]


def decide(store: StateStore, event: str, reason: str, *actions: Action, at: float = NOON, **figures: object) -> int:
    with store.transaction():
        line = store.save_transition(
            STATE,
            Transition(STATE, reason, Event(event), actions, DecisionFigures.from_dict(figures)),
            at=at,
            actor="driftd",
            config_hash="c0ffee",
        )
    assert line is not None
    return line


def alarm_of(store: StateStore, model: str = "demand", sentence: str = ODD) -> int:
    alarm = Alarm("performance", "mae", 1684.0, 913.0, sentence, NOON - 3 * DAY)
    window = Window(20_000, 20_000 * DAY, 20_001 * DAY) if model == "demand" else Window(7, 3500, 4000, "rows")
    return store.save_alarm(model, alarm, window, at=NOON, version=1, leaders=[("mae", 0.8), ("[b]", 0.2)])


def check(store: StateStore, verdict: Verdict = Verdict.SUSPECTED, kind: str = "window") -> None:
    found = KindAssessment(EvidenceKind.DATA, verdict, 90.0, 900.0, f"{ODD}: evidence 90 against 900", (("x", 1.0),))
    assessment = Assessment(verdict, "looked at the window", 223, (found,))
    window = Window(20_000, 20_000 * DAY, 20_001 * DAY)
    store.save_check("demand", kind, window, assessment, at=NOON, version=1)


def publish(state_dir: Path, version: int = 1, **changes: object) -> None:
    registry = Registry(Places(state_dir))
    folder = registry.stage("demand")
    (folder / "model.skops").write_bytes(b"artefact")
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    trainer = Trainer("own.trainers:fit", "f")
    manifest = Manifest("demand", version, NOON, schema, "5eed" * 16, trainer, 7, "manual", "asked", "model.skops")
    write_manifest(folder, replace(manifest, **changes))
    registry.publish("demand", version, folder)
    registry.point("demand", version)
