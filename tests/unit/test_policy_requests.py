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
    RefreshSettings,
    StepDone,
    StepFailed,
    advance,
)
from driftd.records import (
    ActionKind,
    Build,
    BuildSpec,
    BuildStep,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    Phase,
    RefreshState,
    RollbackCause,
    SwapArguments,
    SwapPurpose,
    TrainArguments,
    Trigger,
)
from policy_samples import DAY, FACTS, NOW, STATES, STEADY, STEPS, alarm, build, decide, kinds

SPEC = BuildSpec("source", "lock", "settings")


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
        (Trigger.CODE_CHANGED, replace(FACTS, spec=replace(SPEC, source="new"))),
        (Trigger.CODE_CHANGED, replace(FACTS, spec=replace(SPEC, lock="new"))),
        (Trigger.PARAMETERS_CHANGED, replace(FACTS, spec=replace(SPEC, settings="new"))),
    ],
)
def test_triggers_without_an_alarm(trigger: Trigger, facts: Facts) -> None:
    """The schedule, new labels and changed code want a build only where `retrain.on` names them."""
    state = replace(STEADY, spec=SPEC)
    settings = PolicySettings(retrain_on=frozenset({trigger}))
    transition = decide(state, ClockTick(), facts, settings=settings)
    assert transition.event == Event.BUILD_WANTED
    assert transition.state.want is not None
    assert transition.state.want.trigger is trigger
    assert decide(state, ClockTick(), facts).event is None


ON_CHANGE = PolicySettings(retrain_on=frozenset({Trigger.CODE_CHANGED, Trigger.PARAMETERS_CHANGED}))


def test_one_change_is_one_build() -> None:
    """The build of a change remembers what it is made by: afterwards only another change starts one."""
    facts = replace(FACTS, spec=replace(SPEC, source="new"))
    wanted = decide(replace(STEADY, spec=SPEC), ClockTick(), facts, settings=ON_CHANGE).state
    started = decide(wanted, ClockTick(), facts, settings=ON_CHANGE)
    assert (started.event, started.state.spec) == (Event.BUILD_STARTED, facts.spec)
    refused = replace(started.state, phase=Phase.STEADY, build=None, want=None)
    assert decide(refused, ClockTick(), facts, settings=ON_CHANGE).event is None
    back = decide(refused, ClockTick(), replace(FACTS, spec=SPEC), settings=ON_CHANGE)
    assert back.event == Event.BUILD_WANTED


def test_a_change_that_is_taken_back_before_its_build_starts_none() -> None:
    """While the request of a change waits for the cool-down and the code is again as it was, it is dropped."""
    changed = replace(FACTS, spec=replace(SPEC, source="new"))
    cooling = replace(STEADY, spec=SPEC, cooldown_until=NOW + DAY)
    wanted = decide(cooling, ClockTick(), changed, settings=ON_CHANGE).state
    waiting = decide(wanted, ClockTick(), changed, settings=ON_CHANGE).state
    assert waiting.want is not None
    reverted = decide(waiting, ClockTick(), replace(FACTS, spec=SPEC), settings=ON_CHANGE)
    assert (reverted.state.want, reverted.event) == (None, None)


def test_what_is_not_known_is_no_change() -> None:
    """While the trainer's source is not read, or rests not yet, nothing changed; the lineage says what was before."""
    for state, facts in (
        (replace(STEADY, spec=SPEC), FACTS),
        (STEADY, replace(FACTS, spec=SPEC)),
        (STEADY, replace(FACTS, spec=SPEC, champion_spec=SPEC)),
    ):
        assert decide(state, ClockTick(), facts, settings=ON_CHANGE).event is None
    made_by = replace(FACTS, spec=SPEC, champion_spec=replace(SPEC, settings="old"))
    transition = decide(STEADY, ClockTick(), made_by, settings=ON_CHANGE)
    assert transition.event == Event.BUILD_WANTED
    assert "settings of training" in transition.reason


def test_a_changed_trainer_goes_before_a_refresh() -> None:
    """A refresh is judged by what older code built: what newer code builds meets the gate first."""
    settings = replace(ON_CHANGE, refresh=RefreshSettings())
    due = replace(FACTS, window=100, fresh_labels=10_000, first_refresh=RefreshState(1, 100.0, NOW - DAY))
    state = replace(STEADY, spec=SPEC)
    assert "refresh" in decide(state, ClockTick(), replace(due, spec=SPEC), settings=settings).reason
    changed = decide(state, ClockTick(), replace(due, spec=replace(SPEC, lock=None)), settings=settings)
    assert changed.state.want is not None
    assert changed.state.want.trigger is Trigger.CODE_CHANGED


def test_a_build_from_a_snapshot_that_a_person_names_begins_with_training() -> None:
    """No snapshot is taken: the version is made from the one that was named, whatever the cool-down."""
    asked = OperatorRequest("retrain", "ann", "the rows of June", snapshot="ab" * 32)
    wanted = decide(replace(STEADY, cooldown_until=NOW + DAY), asked)
    assert "from snapshot abababababab" in wanted.reason
    started = decide(wanted.state, ClockTick())
    assert kinds(started) == [ActionKind.TRAIN]
    arguments = started.actions[0].arguments
    assert isinstance(arguments, TrainArguments)
    assert (arguments.snapshot, arguments.trigger, arguments.parent) == ("ab" * 32, Trigger.MANUAL, 3)
    assert started.state.build is not None
    assert started.state.build.step is BuildStep.TRAIN
    refused = decide(STEADY, replace(asked, obstacle="there is no snapshot"))
    assert (refused.event, refused.state.want) == (Event.REQUEST_REFUSED, None)


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
