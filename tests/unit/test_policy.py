"""Policy, case by case: what follows from each finding in each phase."""

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
    ProbationResult,
    QualityFault,
    QualityOk,
    StepDone,
    StepFailed,
)
from driftd.records import (
    ActionKind,
    BuildRequest,
    BuildStep,
    GateDecision,
    JudgeResult,
    ModelState,
    Phase,
    Probation,
    ProbationDecision,
    SnapshotArguments,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainResult,
    Trigger,
)
from policy_samples import DAY, FACTS, HOUR, JUDGING, NOW, SETTINGS, STATES, STEADY, STEPS, alarm, build, decide, kinds


@pytest.mark.parametrize(
    ("phase", "kind", "wants"),
    [
        (Phase.STEADY, "performance", True),
        (Phase.STEADY, "data", False),
        (Phase.STEADY, "prediction", False),
        (Phase.STEADY, "quality", False),
        (Phase.RETRAINING, "performance", False),
        (Phase.PROBATION, "performance", True),
    ],
)
def test_alarm_in_each_phase(phase: Phase, kind: str, wants: bool) -> None:
    """Every alarm is recorded with its report; only a performance alarm wants a build by default, and only one."""
    transition = decide(STATES[phase], alarm(kind))
    assert transition.event == Event.ALARM
    assert kinds(transition) == [ActionKind.REPORT]
    assert (transition.state.want is not None) is wants
    assert f"{kind} drifted" in transition.reason


def test_data_drift_builds_where_the_config_says_so() -> None:
    """A data-drift alarm wants a build once `retrain.on` names data_drift."""
    settings = PolicySettings(retrain_on=frozenset({Trigger.DATA_DRIFT}))
    assert decide(STEADY, alarm("data"), settings=settings).state.want is not None


def test_a_build_carries_the_alarm_that_caused_it() -> None:
    """The alarm's id goes from the wish to the build, its line of history and every repetition of it."""
    wanted = decide(STEADY, alarm())
    assert wanted.state.want is not None
    assert wanted.state.want.alarm == 11
    started = decide(wanted.state, ClockTick())
    assert started.state.build is not None
    assert started.state.build.alarm == started.figures.alarm == 11
    judging = replace(started.state, build=replace(started.state.build, step=BuildStep.JUDGE, rows_since_change=400))
    refused = decide(judging, StepDone(JUDGING, JudgeResult(GateDecision.REJECT, "worse")))
    swapped = decide(judging, StepDone(SwapArguments(4, SwapPurpose.PROMOTE, 3)))
    for again in (refused, swapped):
        assert again.state.want is not None
        assert (again.state.want.is_follow_up, again.state.want.alarm) == (True, 11)


def test_a_build_that_no_alarm_caused_names_none() -> None:
    """The schedule and people build without an alarm."""
    asked = decide(STEADY, OperatorRequest("retrain", "ada"))
    started = decide(asked.state, ClockTick())
    assert started.state.build is not None
    assert started.state.build.alarm is started.figures.alarm is None


def wanting(**changes: object) -> ModelState:
    want = BuildRequest(Trigger.PERFORMANCE, "loss rose", NOW - HOUR, change_at=NOW - DAY, labels_needed=300)
    return replace(STEADY, want=replace(want, **changes))  # type: ignore[arg-type]


def test_wanted_build_starts_with_its_snapshot() -> None:
    """A wanted build that nothing stands against starts, and its reason names the trigger and the cause."""
    transition = decide(wanting(), ClockTick())
    assert transition.event == Event.BUILD_STARTED
    assert kinds(transition) == [ActionKind.SNAPSHOT]
    assert transition.state.phase is Phase.RETRAINING
    assert "because of performance: loss rose" in transition.reason


@pytest.mark.parametrize(
    ("changes", "facts", "override", "words"),
    [
        ({}, replace(FACTS, labels=120), Override(), "120 of 300 labelled rows"),
        ({"cooldown_until": NOW + HOUR}, FACTS, Override(), "the cool-down ends at"),
        ({"backoff_until": NOW + HOUR, "failures": 2}, FACTS, Override(), "2 builds failed in a row"),
        (
            {"build_starts": (NOW - 4, NOW - 3, NOW - 2, NOW - 1)},
            FACTS,
            Override(),
            "the budget of 4 builds is used up",
        ),
        ({"blocked": "column x is gone"}, FACTS, Override(), "the pipeline is broken: column x is gone"),
        ({}, FACTS, Override("maintenance", pause=frozenset({"retraining"})), "paused by the override: maintenance"),
        ({}, replace(FACTS, working=frozenset({ActionKind.SWAP})), Override(), "a swap is under way"),
    ],
)
def test_what_a_wanted_build_waits_for(
    changes: dict[str, object], facts: Facts, override: Override, words: str
) -> None:
    """A wanted build waits for each obstacle and says which."""
    transition = decide(replace(wanting(), **changes), ClockTick(), facts, override)  # type: ignore[arg-type]
    assert transition.actions == ()
    assert words in transition.reason
    assert transition.state.waits is not None


def test_a_persons_wish_passes_over_cooldown_and_budget_but_not_over_a_broken_pipeline() -> None:
    """A manual build ignores cool-down, budget and label counts, yet no model is built on garbage."""
    hurried = replace(
        STEADY, want=BuildRequest(Trigger.MANUAL, "asked", NOW), cooldown_until=NOW + DAY, build_starts=(NOW,) * 9
    )
    assert decide(hurried, ClockTick(), replace(FACTS, labels=0)).event == Event.BUILD_STARTED
    assert decide(replace(hurried, blocked="garbage"), ClockTick()).actions == ()


def test_the_steps_of_a_build_follow_one_another() -> None:
    """Snapshot leads to training, training to judgement, a won gate to the swap, the swap to probation."""
    trained = decide(
        STATES[Phase.RETRAINING],
        StepDone(SnapshotArguments(4), SnapshotResult("abc", rows=900, rows_since_change=400)),
    )
    assert kinds(trained) == [ActionKind.TRAIN]
    judged = decide(trained.state, StepDone(trained.actions[0].arguments, TrainResult(rows=700, data="all")))
    assert kinds(judged) == [ActionKind.JUDGE]
    won = decide(judged.state, StepDone(judged.actions[0].arguments, JudgeResult(GateDecision.PROMOTE, "better")))
    assert won.event == Event.SWAP_STARTED
    assert won.actions[0].arguments == SwapArguments(4, SwapPurpose.PROMOTE, 3)
    assert won.state.champion == 3
    swapped = decide(won.state, StepDone(won.actions[0].arguments))
    assert (swapped.event, swapped.state.phase, swapped.state.champion) == (Event.PROMOTED, Phase.PROBATION, 4)
    assert swapped.state.previous == 3
    assert swapped.state.want is not None  # 400 rows after the change: build again when 4000 are there
    assert swapped.state.want.labels_needed == 4000


@pytest.mark.parametrize(
    ("decision", "event", "phase"),
    [
        ("reject", "challenger_rejected", Phase.STEADY),
        ("inconclusive", "gate_inconclusive", Phase.RETRAINING),
        ("promote", "swap_started", Phase.RETRAINING),
    ],
)
def test_each_outcome_of_the_gate(decision: str, event: str, phase: Phase) -> None:
    """Only `promote` swaps; `reject` ends the build; `inconclusive` keeps the champion and collects."""
    state = replace(STATES[Phase.RETRAINING], build=build(BuildStep.JUDGE))
    transition = decide(state, StepDone(JUDGING, JudgeResult(GateDecision(decision), "gain 0.1", rows=500)))
    assert (transition.event, transition.state.phase) == (event, phase)
    assert (ActionKind.SWAP in kinds(transition)) is (decision == "promote")
    assert transition.state.champion == 3


@pytest.mark.parametrize(
    ("settings", "override", "words"),
    [
        (PolicySettings(approval="manual"), Override(), "promote.approval is manual"),
        (SETTINGS, Override("freeze", pause=frozenset({"promotion"})), "promotion is paused by the override: freeze"),
    ],
)
def test_a_won_gate_waits_for_a_person(settings: PolicySettings, override: Override, words: str) -> None:
    """With manual approval or a paused promotion the winner waits, is released when let go, and swaps on approval."""
    state = replace(STATES[Phase.RETRAINING], build=build(BuildStep.JUDGE))
    done = StepDone(JUDGING, JudgeResult(GateDecision.PROMOTE, "better"))
    waiting = decide(state, done, override=override, settings=settings)
    assert waiting.event == Event.APPROVAL_WANTED
    assert words in waiting.reason
    assert decide(waiting.state, ClockTick(), override=override, settings=settings).actions == ()
    assert kinds(decide(waiting.state, ClockTick())) == [ActionKind.SWAP]
    approved = decide(waiting.state, OperatorRequest("approve", "ada", "looks right", 4), settings=settings)
    assert kinds(approved) == [ActionKind.SWAP]
    assert "approved by ada: looks right" in approved.reason


def test_collecting_judges_again_rebuilds_or_gives_up() -> None:
    """An inconclusive challenger is judged again with more rows, rebuilt with many more, and dropped in the end."""
    collecting = build(BuildStep.COLLECT, judged_labels=400, judged_rows=400, rows_since_change=400)
    state = replace(STATES[Phase.RETRAINING], build=collecting)
    assert decide(state, ClockTick(), replace(FACTS, labels=500)).actions == ()
    assert kinds(decide(state, ClockTick(), replace(FACTS, labels=800))) == [ActionKind.JUDGE]
    rebuilt = decide(state, ClockTick(), replace(FACTS, labels=4000, next_version=5))
    assert kinds(rebuilt) == [ActionKind.SNAPSHOT]
    late = decide(state, ClockTick(), now=NOW + 61 * DAY)
    assert (late.event, late.state.phase, late.state.champion) == (Event.CHALLENGER_INCONCLUSIVE, Phase.STEADY, 3)


@pytest.mark.parametrize("kind", [ActionKind.SNAPSHOT, ActionKind.TRAIN, ActionKind.JUDGE, ActionKind.SWAP])
def test_a_failed_step_leaves_the_champion_and_backs_off(kind: ActionKind) -> None:
    """Whatever step fails, the champion serves on, the next try waits twice as long each time, and in the end stops."""
    state = replace(STATES[Phase.RETRAINING], want=BuildRequest(Trigger.PERFORMANCE, "loss rose", NOW - DAY))
    pauses = []
    for _ in range(SETTINGS.most_failures - 1):
        failed = decide(state, StepFailed(STEPS[kind], "boom"))
        assert (failed.event, failed.state.phase, failed.state.champion) == (Event.BUILD_FAILED, Phase.STEADY, 3)
        pauses.append(failed.state.backoff_until - NOW)
        state = replace(failed.state, phase=Phase.RETRAINING, build=build())
    assert pauses == [600.0, 1200.0, 2400.0, 4800.0]
    last = decide(state, StepFailed(STEPS[kind], "boom"))
    assert last.state.want is None
    assert "no further try" in last.reason


def test_probation_confirms_or_rolls_back() -> None:
    """The comparison confirms the new champion, or the old one is swapped back and the new one barred."""
    state = replace(STATES[Phase.PROBATION], champion=4, previous=3, probation=Probation(3, NOW - HOUR))
    assert kinds(decide(state, ClockTick(), replace(FACTS, labels=100))) == [ActionKind.SHADOW]
    assert decide(state, ClockTick(), replace(FACTS, labels=100, working=frozenset({ActionKind.SHADOW}))).actions == ()
    looking = decide(state, ClockTick(), replace(FACTS, labels=100)).state
    assert decide(looking, ClockTick(), replace(FACTS, labels=110)).actions == ()  # too few new labels for another look
    late = replace(FACTS, labels=110)
    assert kinds(decide(looking, ClockTick(), late, now=NOW + 8 * DAY)) == [ActionKind.SHADOW]  # they may have matured
    unchanged = decide(
        decide(looking, ClockTick(), late, now=NOW + 2 * DAY).state,
        ProbationResult(ProbationDecision.CONTINUE, "too few", 0),
    ).state
    assert decide(unchanged, ClockTick(), late, now=NOW + 2 * DAY + 1).actions == ()  # never twice at one moment
    confirmed = decide(state, ProbationResult(ProbationDecision.CONFIRM, "as good", 300))
    assert (confirmed.event, confirmed.state.phase) == (Event.CONFIRMED, Phase.STEADY)
    worse = decide(state, ProbationResult(ProbationDecision.ROLL_BACK, "worse by 0.1", 300))
    assert worse.event == Event.ROLLBACK_STARTED
    assert worse.state.champion == 4  # until the swap is done
    back = decide(worse.state, StepDone(worse.actions[0].arguments))
    assert (back.event, back.state.phase, back.state.champion) == (Event.ROLLED_BACK, Phase.STEADY, 3)
    assert 4 in back.state.barred


@pytest.mark.parametrize("phase", list(Phase))
def test_a_broken_pipeline_blocks_once_and_is_restored_once(phase: Phase) -> None:
    """A fault is told when it begins and when it ends, not at every window between."""
    broken = decide(STATES[phase], QualityFault("column x is gone"))
    assert broken.event == Event.QUALITY_FAULT
    assert decide(broken.state, QualityFault("column x is gone")).event is None
    whole = decide(broken.state, QualityOk())
    assert (whole.event, whole.state.blocked) == (Event.QUALITY_RESTORED, None)
    assert decide(STATES[phase], QualityOk()).event is None


def test_rows_and_labels_are_faults_of_their_own() -> None:
    """A window without a fault does not lift what the labels block, nor labels what a window blocks."""
    labels = decide(STATES[Phase.STEADY], QualityFault("label has values outside", "labels"))
    assert labels.event == "quality_fault"
    clean = decide(labels.state, QualityOk())
    assert (clean.event, clean.state.blocked) == (None, "label has values outside")
    both = decide(labels.state, QualityFault("column x is gone")).state
    assert both.blocked == "column x is gone"
    rows_only = decide(both, QualityOk("labels")).state
    assert rows_only.blocked == "column x is gone"
    assert decide(rows_only, QualityOk()).event == "quality_restored"
    assert decide(both, QualityOk()).state.blocked == "label has values outside"
    assert decide(clean.state, QualityOk("labels")).event == "quality_restored"
