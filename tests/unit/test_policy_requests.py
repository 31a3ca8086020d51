"""Policy, case by case: what people, overrides and schedules ask for, and what waits for a person."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftd.events import Event
from driftd.policy import (
    ClockTick,
    Facts,
    OperatorRequest,
    Override,
    PolicySettings,
    QualityFault,
    QualityOk,
    StepDone,
    StepFailed,
    advance,
)
from driftd.records import (
    ActionKind,
    Build,
    BuildStep,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    Phase,
    RollbackCause,
    SwapArguments,
    SwapPurpose,
    Trigger,
)
from policy_samples import DAY, FACTS, NOW, STATES, STEADY, STEPS, alarm, build, decide


def test_a_person_passes_a_fault_of_the_level_with_a_warning() -> None:
    """Values that were never seen hold back an alarm's build, not a person's; a missing column holds back both."""
    asked = OperatorRequest("retrain", "ann", "the new country is real")
    level = decide(STATES[Phase.STEADY], QualityFault("city holds new values", is_level=True)).state
    started = decide(decide(level, asked).state, ClockTick())
    assert started.event == Event.BUILD_STARTED
    assert "warning: the pipeline may be broken (city holds new values)" in started.reason
    gone = decide(level, QualityFault("column x is gone")).state
    for state in (gone, decide(level, QualityFault("label has values outside", "labels")).state):
        assert decide(decide(state, asked).state, ClockTick()).actions == ()
    whole = decide(level, QualityOk()).state
    assert (whole.blocked, whole.level_fault) == (None, None)
    assert decide(decide(level, alarm()).state, ClockTick()).actions == ()


def test_a_change_of_the_classes_waits_for_a_person() -> None:
    """A challenger that won its gate and knows other classes than the champion is held, with the reason."""
    building = STATES[Phase.RETRAINING]
    build = building.build
    assert build is not None
    result = JudgeResult(GateDecision.PROMOTE, "better", rows=500, class_change="it adds the class 'c'")
    held = decide(
        building,
        StepDone(JudgeArguments(version=build.number, trigger=build.trigger, champion=building.champion), result),
    )
    assert (held.state.phase, held.event) == (Phase.AWAITING_APPROVAL, Event.APPROVAL_WANTED)
    assert "it adds the class 'c'" in held.reason


@pytest.mark.parametrize(
    ("kind", "version", "phase", "words"),
    [
        ("approve", None, Phase.STEADY, "nothing awaits approval"),
        ("approve", 9, Phase.AWAITING_APPROVAL, "version 4 awaits approval, not 9"),
        ("retrain", None, Phase.RETRAINING, "already under way"),
        ("rollback", 9, Phase.STEADY, "there is no version 9; there are 1, 2, 3"),
        ("rollback", 3, Phase.STEADY, "version 3 serves already"),
        ("dance", None, Phase.STEADY, "there is no request 'dance'"),
    ],
)
def test_requests_that_cannot_be_done_are_refused_with_the_reason(
    kind: str, version: int | None, phase: Phase, words: str
) -> None:
    """A person's impossible request is answered by why, and changes nothing."""
    transition = decide(STATES[phase], OperatorRequest(kind, "ada", version=version))
    assert transition.event == Event.REQUEST_REFUSED
    assert words in transition.reason
    assert transition.state == STATES[phase]
    assert transition.actions == ()


def test_rollback_by_a_person_goes_to_the_version_before() -> None:
    """`rollback` without a version goes to what served before the champion."""
    transition = decide(STEADY, OperatorRequest("rollback", "ada", "complaints"))
    assert transition.actions[0].arguments == SwapArguments(2, SwapPurpose.ROLLBACK, 3)
    assert transition.figures.rollback_cause is RollbackCause.PERSON
    assert "ada rolls back from version 3 to 2: complaints" in transition.reason


def test_override_pauses_pins_and_asks_each_once() -> None:
    """The override pauses and resumes, pins once, and each new retrain text is one build."""
    paused = decide(STEADY, ClockTick(), override=Override("x", pause=frozenset({"checks"})))
    assert (paused.event, paused.state.phase) == (Event.PAUSED, Phase.PAUSED)
    assert decide(paused.state, ClockTick()).event == Event.RESUMED
    pin = Override("bad version", pin=2)
    pinning = decide(STEADY, ClockTick(), override=pin)
    assert pinning.actions[0].arguments == SwapArguments(2, SwapPurpose.PIN, 3)
    assert decide(pinning.state, ClockTick(), override=pin).actions == ()
    assert decide(pinning.state, ClockTick()).event == Event.UNPINNED
    assert decide(STEADY, ClockTick(), override=Override("x", pin=8)).event == Event.PIN_REFUSED
    ask = Override("x", retrain="after schema fix")
    wanted = decide(STEADY, ClockTick(), override=ask)
    assert wanted.event == Event.BUILD_WANTED
    assert decide(replace(wanted.state, want=None), ClockTick(), override=ask).event is None


def test_an_expired_override_has_no_effect() -> None:
    """After `expires` the override lapses by itself."""
    expired = Override("x", expires=NOW - 1, pause=frozenset({"checks"}), pin=2, retrain="now")
    assert decide(STEADY, ClockTick(), override=expired).event is None


@pytest.mark.parametrize(
    ("trigger", "facts"),
    [
        (Trigger.SCHEDULE, replace(FACTS, schedule_due=True)),
        (Trigger.NEW_LABELS, replace(FACTS, labels_since_build=20_000)),
        (Trigger.CODE_CHANGED, replace(FACTS, code="new")),
    ],
)
def test_triggers_without_an_alarm(trigger: Trigger, facts: Facts) -> None:
    """The schedule, new labels and changed code want a build only where `retrain.on` names them."""
    state = replace(STEADY, code="old")
    settings = PolicySettings(retrain_on=frozenset({trigger}))
    transition = decide(state, ClockTick(), facts, settings=settings)
    assert transition.event == Event.BUILD_WANTED
    assert transition.state.want is not None
    assert transition.state.want.trigger is trigger
    assert decide(state, ClockTick(), facts).event is None


@pytest.mark.parametrize("kind", [ActionKind.SNAPSHOT, ActionKind.TRAIN, ActionKind.JUDGE])
def test_results_of_an_abandoned_build_are_put_aside(kind: ActionKind) -> None:
    """A late result of a build that no longer runs changes nothing."""
    for finding in (
        StepDone(STEPS[kind], JudgeResult(GateDecision.PROMOTE, "")),
        StepFailed(STEPS[kind], "x"),
    ):
        another = replace(STATES[Phase.RETRAINING], build=replace(build(), number=5))
        transition = decide(another, finding)
        assert transition.event is None
        assert transition.actions == ()


def test_a_challenger_that_did_not_meet_the_champion_waits_for_a_person() -> None:
    """Where the champion could not be loaded, winning the gate is not enough, also on the next ticks."""
    steady = ModelState("demand", Phase.RETRAINING, champion=1)
    judging = replace(steady, build=Build(2, Trigger.PERFORMANCE, "x", BuildStep.JUDGE, 1.0))
    result = JudgeResult(GateDecision.PROMOTE, "better", rows=500, champion_fault="version 1 is damaged")
    done = StepDone(JudgeArguments(version=2, trigger=Trigger.PERFORMANCE), result)
    held = advance(judging, done, Facts(), PolicySettings(), Override(), 2.0)
    assert (held.state.phase, held.event) == (Phase.AWAITING_APPROVAL, Event.APPROVAL_WANTED)
    assert "version 1 is damaged" in held.reason
    later = advance(held.state, ClockTick(), Facts(), PolicySettings(), Override(), 3.0)
    assert later.state.phase is Phase.AWAITING_APPROVAL
    said = advance(held.state, OperatorRequest("approve", "ann", version=2), Facts(), PolicySettings(), Override(), 4.0)
    assert said.event == Event.SWAP_STARTED


def test_a_request_that_waited_for_days_is_refused() -> None:
    """What a person asked while no daemon ran is not done weeks later; within a day it is."""
    late = decide(STATES[Phase.STEADY], OperatorRequest("rollback", "ada", "bad", 2, NOW - 1.5 * DAY))
    assert (late.event, late.actions) == (Event.REQUEST_REFUSED, ())
    assert "rollback was asked at 2027-01-13 20:00 UTC, and nothing could answer until now: ask again" in late.reason
    assert decide(STATES[Phase.STEADY], OperatorRequest("rollback", "ada", "bad", 2, NOW - 0.5 * DAY)).actions
