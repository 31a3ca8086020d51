"""The operator's hand by config: noted with its reason, held while it lasts, and let go of when it lapses."""

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
    Probation,
    ProbationDecision,
    Transition,
    Trigger,
)

JUDGING = JudgeArguments(version=4, champion=3, trigger=Trigger.PERFORMANCE)
NOW = 1_800_000_000.0
HOUR = 3600.0
SETTINGS = PolicySettings()
FACTS = Facts(next_version=5, versions=frozenset({1, 2, 3}), labels=1000, features=frozenset({"price", "region"}))
STEADY = ModelState("demand", champion=3, previous=2)
BUILD = Build(4, Trigger.PERFORMANCE, "loss rose", BuildStep.JUDGE, NOW - HOUR)
WAITING = replace(STEADY, phase=Phase.AWAITING_APPROVAL, build=BUILD)
ON_PROBATION = replace(STEADY, phase=Phase.PROBATION, probation=Probation(2, NOW - HOUR))


def decide(state: ModelState, override: Override, finding: object = None, now: float = NOW) -> Transition:
    return advance(state, finding or ClockTick(), FACTS, SETTINGS, override, now)  # type: ignore[arg-type]


def transitions(state: ModelState, override: Override, now: float = NOW) -> list[Transition]:
    """Everything that follows from ticks under an override, until nothing does."""
    made = []
    for _ in range(10):
        transition = decide(state, override, now=now)
        if transition.event is None and not transition.actions:
            return made
        made.append(transition)
        state = transition.state
    raise AssertionError([item.event for item in made])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (Override("INC-1", pause=frozenset({"retraining", "checks"})), "checks, retraining paused (INC-1)"),
        (Override("INC-1", pin=2), "version 2 pinned (INC-1)"),
        (Override("INC-1", silence={"price": NOW + HOUR}), "price silent until 2027-01-15 09:00 UTC (INC-1)"),
        (Override("INC-1", retrain="after the fix"), "a build asked for: after the fix (INC-1)"),
        (Override("INC-1", approve=4), "version 4 approved (INC-1)"),
        (Override("INC-1", reject=4), "version 4 rejected (INC-1)"),
        (Override("INC-1", expires=NOW + HOUR, pin=2), "version 2 pinned (INC-1), until 2027-01-15 09:00 UTC"),
    ],
)
def test_every_override_leaves_a_line_of_history_with_its_reason(override: Override, words: str) -> None:
    """What began is told once, with the operator's reason, as done by the config."""
    first = decide(STEADY, override)
    assert first.event == Event.OVERRIDE_BEGAN
    assert words in first.reason
    assert first.actor == "config"
    assert first.actions == ()
    assert decide(first.state, override).event != Event.OVERRIDE_BEGAN


def test_a_changed_override_is_told_as_a_change() -> None:
    """Another pin or another reason is another line of history."""
    began = decide(STEADY, Override("INC-1", pause=frozenset({"promotion"})))
    changed = decide(began.state, Override("INC-1, wider", pause=frozenset({"promotion", "retraining"})))
    assert changed.event == Event.OVERRIDE_CHANGED
    assert "promotion, retraining paused (INC-1, wider)" in changed.reason


@pytest.mark.parametrize(
    ("later", "now", "words"),
    [
        (Override(), NOW + 1, "the override was lifted; it was: checks paused (INC-1)"),
        (
            Override("INC-1", expires=NOW + HOUR, pause=frozenset({"checks"})),
            NOW + HOUR,
            "the override expired at 2027-01-15 09:00 UTC; it was: checks paused (INC-1)",
        ),
    ],
)
def test_an_override_ends_by_the_operator_or_by_its_time(later: Override, now: float, words: str) -> None:
    """When it is lifted or lapses the history says so, and everything goes on as before."""
    held = transitions(STEADY, Override("INC-1", expires=NOW + HOUR, pause=frozenset({"checks"})))[-1].state
    assert held.phase is Phase.PAUSED
    events = transitions(held, later, now)
    assert [item.event for item in events] == [Event.OVERRIDE_ENDED, Event.RESUMED]
    assert events[0].reason == words
    assert events[-1].state.phase is Phase.STEADY


def test_an_override_that_had_expired_before_it_was_seen_does_nothing() -> None:
    """A config whose override lapsed long ago changes nothing and is not told as if it had begun."""
    lapsed = Override("old", expires=NOW - 1, pause=frozenset({"checks"}), pin=2, retrain="now")
    assert transitions(STEADY, lapsed) == []


def test_each_silence_ends_on_its_own() -> None:
    """Of two silenced features the one whose time is over is heard again."""
    override = Override("INC-1", silence={"price": NOW + HOUR, "region": NOW + 3 * HOUR})
    began = decide(STEADY, override)
    later = decide(began.state, override, now=NOW + 2 * HOUR)
    assert later.event == Event.OVERRIDE_CHANGED
    assert "region silent" in later.reason
    assert "price" not in later.reason


@pytest.mark.parametrize(
    ("state", "override", "words"),
    [
        (STEADY, Override("x", approve=8), "version 8 does not wait for approval now (the model is steady)"),
        (WAITING, Override("x", reject=8), "version 8 does not wait for approval now (version 4 does)"),
        (WAITING, Override("x", approve=4, pin=2), "version 4 cannot be promoted while version 2 is pinned"),
        (replace(STEADY, asked=("now",)), Override("x", retrain="now"), "the build 'now' was begun before"),
        (STEADY, Override("x", silence={"prise": NOW + 1}), "there is no feature prise (there are: price, region)"),
    ],
)
def test_what_has_no_effect_now_is_said(state: ModelState, override: Override, words: str) -> None:
    """No part of an override does nothing without a word."""
    assert words in decide(state, override).reason


def test_a_pin_swaps_once_and_is_let_go_of() -> None:
    """A pin is one swap; without it the pinned version goes on serving."""
    pin = Override("bad version", pin=2)
    began, started = transitions(STEADY, pin)
    assert (began.event, started.event) == (Event.OVERRIDE_BEGAN, Event.PIN_STARTED)
    assert [action.kind for action in started.actions] == [ActionKind.SWAP]
    swapped = decide(started.state, pin, StepDone(started.actions[0].arguments))
    assert swapped.state.champion == 2
    assert transitions(swapped.state, pin) == []
    assert [item.event for item in transitions(swapped.state, Override())] == [Event.OVERRIDE_ENDED, Event.UNPINNED]


def test_a_pin_that_cannot_be_loaded_is_refused_and_says_so() -> None:
    """The champion serves on, the refusal stands in the state until the pin changes, and it is not tried for ever."""
    pin = Override("x", pin=2)
    started = transitions(STEADY, pin)[-1]
    failed = StepFailed(started.actions[0].arguments, "the hash of model.skops differs")
    refused = decide(started.state, pin, failed)
    assert refused.event == Event.PIN_REFUSED
    assert refused.state.champion == 3
    assert "version 2 cannot be served" in (refused.state.pin_refused or "")
    assert transitions(refused.state, pin) == []
    again = transitions(refused.state, Override("x", pin=1))
    assert again[-1].event == Event.PIN_STARTED
    assert again[-1].state.pin_refused is None


def test_a_pin_of_a_version_that_there_is_not_is_refused() -> None:
    """The refusal names the versions that there are, and who serves on."""
    refused = transitions(STEADY, Override("x", pin=8))[-1]
    assert refused.event == Event.PIN_REFUSED
    assert "no such version (there are: 1, 2, 3); version 3 serves on" in refused.reason
    assert refused.state.pin_refused == refused.reason


def test_a_pinned_champion_is_never_rolled_back() -> None:
    """Pinning the version on probation ends the probation: serve exactly this version, swap nothing."""
    pin = Override("we know", pin=3)
    held = transitions(ON_PROBATION, pin)[-1].state
    assert held.phase is Phase.STEADY
    assert held.probation is None
    late = decide(held, pin, ProbationResult(ProbationDecision.ROLL_BACK, "worse", 900))
    assert late.actions == ()


@pytest.mark.parametrize("by", ["config", "cli"])
def test_an_approval_does_not_go_before_a_pin(by: str) -> None:
    """While a version is pinned nothing is promoted, whoever approves; the answer says why."""
    pinned = replace(WAITING, pinned=3, override="version 3 pinned (x)")
    if by == "config":
        override = Override("x", pin=3, approve=4)
        assert all(item.actions == () for item in transitions(pinned, override))
    else:
        answer = decide(pinned, Override("x", pin=3), OperatorRequest("approve", "ann@host", "", 4))
        assert answer.event == Event.REQUEST_REFUSED
        assert "the override pins version 3" in answer.reason


def test_approving_one_version_passes_over_a_pause_of_promotion() -> None:
    """An operator may hold every promotion but the one that is named."""
    events = transitions(WAITING, Override("x", pause=frozenset({"promotion"}), approve=4))
    assert [item.event for item in events] == [Event.OVERRIDE_BEGAN, Event.SWAP_STARTED]


def test_a_pause_of_retraining_holds_a_build_under_way() -> None:
    """A build does not go on to its next judgement, and says what holds it; its swap is no part of the building."""
    override = Override("INC-1", pause=frozenset({"retraining"}))
    collecting = replace(STEADY, phase=Phase.RETRAINING, build=replace(BUILD, step=BuildStep.COLLECT))
    noted = decide(collecting, override).state
    held = decide(noted, override)
    assert held.actions == ()
    assert held.reason == "build 4 is held at its step collect: retraining is paused by the override: INC-1"


def test_a_build_asked_for_during_another_begins_after_it() -> None:
    """While a build trains the wish is told as waiting, not forgotten, however that build ends."""
    override = Override("fixed upstream", retrain="after the fix")
    building = replace(STEADY, phase=Phase.RETRAINING, build=BUILD)
    (began,) = transitions(building, override)
    assert began.reason.endswith("build 4 is under way (judge); the one asked for begins after it")
    assert began.state.asked == ()
    lost = StepDone(JUDGING, JudgeResult(GateDecision.REJECT, "worse"))
    wanted, started = transitions(decide(began.state, override, lost).state, override)[:2]
    assert (wanted.event, started.event) == (Event.BUILD_WANTED, Event.BUILD_STARTED)
    assert started.state.build is not None
    assert started.state.build.trigger is Trigger.MANUAL


@pytest.mark.parametrize("by", ["config", "cli"])
def test_a_build_asked_for_takes_the_place_of_one_that_only_awaits_rows(by: str) -> None:
    """Nobody who wants a build now waits weeks for the rows of another."""
    collecting = replace(STEADY, phase=Phase.RETRAINING, build=replace(BUILD, step=BuildStep.COLLECT))
    override = Override("x", retrain="now") if by == "config" else Override()
    finding = None if by == "config" else OperatorRequest("retrain", "ann@host", "now")
    state = decide(collecting, override).state if by == "config" else collecting
    wanted = decide(state, override, finding)
    assert wanted.event == Event.BUILD_WANTED
    started = decide(wanted.state, override)
    assert started.event == Event.BUILD_STARTED
    assert [action.kind for action in started.actions] == [ActionKind.SNAPSHOT]


def test_a_wish_for_a_build_outlives_a_rollback() -> None:
    """What a person asked for during a probation is not forgotten when that ends in a rollback."""
    asked = decide(ON_PROBATION, Override(), OperatorRequest("retrain", "ann@host", "new data")).state
    worse = decide(asked, Override(), ProbationResult(ProbationDecision.ROLL_BACK, "worse", 900))
    back = decide(worse.state, Override(), StepDone(worse.actions[0].arguments))
    assert back.state.champion == 2
    assert transitions(back.state, Override())[0].event == Event.BUILD_STARTED


@pytest.mark.parametrize("state", [WAITING, replace(STEADY, phase=Phase.RETRAINING, build=BUILD)])
def test_a_pinned_challenger_is_no_challenger_any_more(state: ModelState) -> None:
    """Pinning the version under build ends the build; what its judge still says changes nothing."""
    facts = replace(FACTS, versions=frozenset({1, 2, 3, 4}))
    pin = Override("trust me", pin=4)
    noted = advance(state, ClockTick(), facts, SETTINGS, pin, NOW)
    started = advance(noted.state, ClockTick(), facts, SETTINGS, pin, NOW)
    assert (started.event, started.state.build, started.state.phase) == (Event.PIN_STARTED, None, Phase.STEADY)
    swapped = decide(started.state, pin, StepDone(started.actions[0].arguments))
    assert swapped.state.champion == 4
    for decision in (GateDecision.PROMOTE, GateDecision.REJECT):
        late = StepDone(JUDGING, JudgeResult(decision, "x"))
        after = decide(swapped.state, pin, late)
        assert (after.state, after.actions) == (swapped.state, ())


def test_a_rollback_to_the_challenger_is_refused() -> None:
    """A version that never served is nothing to go back to."""
    facts = replace(FACTS, versions=frozenset({1, 2, 3, 4}))
    answer = advance(WAITING, OperatorRequest("rollback", "ann@host", "", 4), facts, SETTINGS, Override(), NOW)
    assert answer.event == Event.REQUEST_REFUSED
    assert answer.reason == "version 4 is the challenger of a build under way (judge): it has not served yet"


def test_a_judgement_counts_against_the_champion_that_it_saw_only() -> None:
    """When another version serves by the time a gate ends, the challenger is compared with that one first."""
    moved = replace(STEADY, champion=2, phase=Phase.RETRAINING, build=BUILD)
    won = StepDone(JUDGING, JudgeResult(GateDecision.PROMOTE, "better"))
    again = decide(moved, Override(), won)
    assert again.event == Event.JUDGED_AGAIN
    assert "it was compared with version 3, and version 2 serves now" in again.reason
    assert [action.arguments for action in again.actions] == [
        JudgeArguments(version=4, champion=2, trigger=Trigger.PERFORMANCE)
    ]


def test_a_challenger_that_a_pin_held_back_is_judged_against_what_serves_after_it() -> None:
    """A gate that was won against one champion does not promote over another once the pin is gone."""
    won = StepDone(JUDGING, JudgeResult(GateDecision.PROMOTE, "better"))
    pin = Override("x", pin=2)
    judged = replace(STEADY, phase=Phase.RETRAINING, build=BUILD, pinned=2)
    waiting = decide(judged, pin, won).state
    assert waiting.phase is Phase.AWAITING_APPROVAL
    freed = replace(waiting, champion=2, pinned=None)
    assert decide(freed, Override()).event == Event.JUDGED_AGAIN
    assert [item.kind for item in decide(replace(freed, champion=3), Override()).actions] == [ActionKind.SWAP]


def test_a_comparison_of_another_version_is_put_aside() -> None:
    """What a shadow says of a former champion never rolls back the one that serves."""
    late = decide(ON_PROBATION, Override(), ProbationResult(ProbationDecision.ROLL_BACK, "worse", 900, version=1))
    assert late.actions == ()
    assert [
        item.kind
        for item in decide(ON_PROBATION, Override(), ProbationResult(ProbationDecision.ROLL_BACK, "w", 9, 3)).actions
    ] == ["swap"]


def test_a_refused_pin_is_tried_again_when_the_override_changes() -> None:
    """Whoever mends the version saves the override with another reason, and the pin is tried anew."""
    started = transitions(STEADY, Override("x", pin=2))[-1]
    failed = StepFailed(started.actions[0].arguments, "the hash of model.skops differs")
    refused = decide(started.state, Override("x", pin=2), failed).state
    changed, again = transitions(refused, Override("x, mended", pin=2))
    assert (changed.event, again.event) == (Event.OVERRIDE_CHANGED, Event.PIN_STARTED)
