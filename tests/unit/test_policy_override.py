"""The operator's hand by config: noted with its reason, held while it lasts, and let go of when it lapses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftd.policy import Asked, Facts, Override, PolicySettings, Shadowed, StepDone, StepFailed, Ticked, advance
from driftd.records import ActionKind, Build, BuildStep, ModelState, Phase, Probation, Transition, Trigger

NOW = 1_800_000_000.0
HOUR = 3600.0
SETTINGS = PolicySettings()
FACTS = Facts(next_version=5, versions=frozenset({1, 2, 3}), labels=1000, features=frozenset({"price", "region"}))
STEADY = ModelState("demand", champion=3, previous=2)
BUILD = Build(4, Trigger.PERFORMANCE, "loss rose", BuildStep.JUDGE, NOW - HOUR)
WAITING = replace(STEADY, phase=Phase.AWAITING_APPROVAL, build=BUILD)
ON_PROBATION = replace(STEADY, phase=Phase.PROBATION, probation=Probation(2, NOW - HOUR))


def decide(state: ModelState, override: Override, finding: object = None, now: float = NOW) -> Transition:
    return advance(state, finding or Ticked(), FACTS, SETTINGS, override, now)  # type: ignore[arg-type]


def told(state: ModelState, override: Override, now: float = NOW) -> list[Transition]:
    """Everything that follows from ticks under an override, until nothing does."""
    made = []
    for _ in range(10):
        transition = decide(state, override, now=now)
        if transition.event is None and not transition.actions:
            return made
        made.append(transition)
        state = transition.state
    raise AssertionError([one.event for one in made])


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
    assert first.event == "override_began"
    assert words in first.reason
    assert first.actor == "config"
    assert first.actions == ()
    assert decide(first.state, override).event != "override_began"


def test_a_changed_override_is_told_as_a_change() -> None:
    """Another pin or another reason is another line of history."""
    began = decide(STEADY, Override("INC-1", pause=frozenset({"promotion"})))
    changed = decide(began.state, Override("INC-1, wider", pause=frozenset({"promotion", "retraining"})))
    assert changed.event == "override_changed"
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
    held = told(STEADY, Override("INC-1", expires=NOW + HOUR, pause=frozenset({"checks"})))[-1].state
    assert held.phase is Phase.PAUSED
    events = told(held, later, now)
    assert [one.event for one in events] == ["override_ended", "resumed"]
    assert events[0].reason == words
    assert events[-1].state.phase is Phase.STEADY


def test_an_override_that_had_expired_before_it_was_seen_does_nothing() -> None:
    """A config whose override lapsed long ago changes nothing and is not told as if it had begun."""
    assert told(STEADY, Override("old", expires=NOW - 1, pause=frozenset({"checks"}), pin=2, retrain="now")) == []


def test_each_silence_ends_on_its_own() -> None:
    """Of two silenced features the one whose time is over is heard again."""
    override = Override("INC-1", silence={"price": NOW + HOUR, "region": NOW + 3 * HOUR})
    began = decide(STEADY, override)
    later = decide(began.state, override, now=NOW + 2 * HOUR)
    assert later.event == "override_changed"
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
    began, started = told(STEADY, pin)
    assert (began.event, started.event) == ("override_began", "pin_started")
    assert [action.kind for action in started.actions] == [ActionKind.SWAP]
    swapped = decide(started.state, pin, StepDone(ActionKind.SWAP, started.actions[0].arguments))
    assert swapped.state.champion == 2
    assert told(swapped.state, pin) == []
    assert [one.event for one in told(swapped.state, Override())] == ["override_ended", "unpinned"]


def test_a_pin_that_cannot_be_loaded_is_refused_and_says_so() -> None:
    """The champion serves on, the refusal stands in the state until the pin changes, and it is not tried for ever."""
    pin = Override("x", pin=2)
    started = told(STEADY, pin)[-1]
    failed = StepFailed(ActionKind.SWAP, "the hash of model.skops differs", started.actions[0].arguments)
    refused = decide(started.state, pin, failed)
    assert refused.event == "pin_refused"
    assert refused.state.champion == 3
    assert "version 2 cannot be served" in (refused.state.pin_refused or "")
    assert told(refused.state, pin) == []
    again = told(refused.state, Override("x", pin=1))
    assert again[-1].event == "pin_started"
    assert again[-1].state.pin_refused is None


def test_a_pin_of_a_version_that_there_is_not_is_refused() -> None:
    """The refusal names the versions that there are, and who serves on."""
    refused = told(STEADY, Override("x", pin=8))[-1]
    assert refused.event == "pin_refused"
    assert "no such version (there are: 1, 2, 3); version 3 serves on" in refused.reason
    assert refused.state.pin_refused == refused.reason


def test_a_pinned_champion_is_never_rolled_back() -> None:
    """Pinning the version on probation ends the probation: serve exactly this version, swap nothing."""
    pin = Override("we know", pin=3)
    held = told(ON_PROBATION, pin)[-1].state
    assert held.phase is Phase.STEADY
    assert held.probation is None
    late = decide(held, pin, Shadowed("roll_back", "worse", 900))
    assert late.actions == ()


@pytest.mark.parametrize("by", ["config", "cli"])
def test_an_approval_does_not_go_before_a_pin(by: str) -> None:
    """While a version is pinned nothing is promoted, whoever approves; the answer says why."""
    pinned = replace(WAITING, pinned=3, override="version 3 pinned (x)")
    if by == "config":
        override = Override("x", pin=3, approve=4)
        assert all(one.actions == () for one in told(pinned, override))
    else:
        answer = decide(pinned, Override("x", pin=3), Asked("approve", "ann@host", "", 4))
        assert answer.event == "request_refused"
        assert "the override pins version 3" in answer.reason


def test_approving_one_version_passes_over_a_pause_of_promotion() -> None:
    """An operator may hold every promotion but the one that is named."""
    events = told(WAITING, Override("x", pause=frozenset({"promotion"}), approve=4))
    assert [one.event for one in events] == ["override_began", "swap_started"]


def test_a_pause_of_retraining_holds_a_build_under_way() -> None:
    """A build does not go on to its next judgement, and says what holds it; its swap is no part of the building."""
    override = Override("INC-1", pause=frozenset({"retraining"}))
    collecting = replace(STEADY, phase=Phase.RETRAINING, build=replace(BUILD, step=BuildStep.COLLECT))
    noted = decide(collecting, override).state
    held = decide(noted, override)
    assert held.actions == ()
    assert held.reason == "build 4 is held at its step collect: retraining is paused by the override: INC-1"
