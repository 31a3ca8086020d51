"""Versions in a registry of others: what is owed there, which swap waits for it, and what a moved alias leads to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from driftd.actions import SwapResult
from driftd.events import Event, RegistryTask
from driftd.policy import (
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    ProbationResult,
    RegistrySettings,
    StepDone,
    StepFailed,
    advance,
    reconcile_restored,
    registry_due,
)
from driftd.policy.registry import ACTOR
from driftd.records import (
    Action,
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
    RegistryArguments,
    RegistryResult,
    RegistryState,
    SwapArguments,
    SwapPurpose,
    Transition,
    Trigger,
)
from driftd.views.other_systems import describe_registry

NOW, HOUR = 1_800_000_000.0, 3600.0
PLACE = RegistrySettings("http://ml demand@champion", look_every=HOUR)
SETTINGS = PolicySettings(registry=PLACE)
BUILD = Build(3, Trigger.PERFORMANCE, "mae rose", BuildStep.JUDGE, NOW - HOUR)
KNOWN = RegistryState(PLACE.where, registered=(1, 2), alias=2, looked_at=NOW)
STEADY = ModelState("demand", champion=2, previous=1, registry=KNOWN)
JUDGED = replace(STEADY, phase=Phase.RETRAINING, build=BUILD)
FACTS = Facts(next_version=4, versions=frozenset({1, 2, 3}), labels=1000)
WON = StepDone(
    JudgeArguments(version=3, champion=2, trigger=Trigger.PERFORMANCE), JudgeResult(GateDecision.PROMOTE, "better")
)
HELD = replace(JUDGED, build=replace(BUILD, step=BuildStep.SWAP, decision="better", judged_against=2))
NOTHING = Override()
PAUSED = Override("INC-1", pause=frozenset({"promotion"}))
NAMED = RegistryResult("demand@champion is version 7 there", "7", 2)
ELSEWHERE = RegistryResult("demand@champion names version 9", "9", None)


def decide(
    state: ModelState,
    finding: Finding,
    *working: ActionKind,
    at: float = NOW,
    settings: PolicySettings = SETTINGS,
    override: Override = NOTHING,
) -> Transition:
    """One decision over a model whose versions are registered elsewhere."""
    return advance(state, finding, replace(FACTS, working=frozenset(working)), settings, override, at)


def tick(state: ModelState, *working: ActionKind, at: float = NOW, settings: PolicySettings = SETTINGS) -> Transition:
    """What time alone brings."""
    return decide(state, ClockTick(), *working, at=at, settings=settings)


def tasks(transition: Transition) -> list[tuple[RegistryTask, int]]:
    """What the registry is asked."""
    found = [action.arguments for action in transition.actions]
    return [(asked.task, asked.version) for asked in found if isinstance(asked, RegistryArguments)]


def swaps(transition: Transition) -> list[tuple[int, SwapPurpose]]:
    """Which swaps are intended."""
    found = [action.arguments for action in transition.actions]
    return [(swap.version, swap.purpose) for swap in found if isinstance(swap, SwapArguments)]


def finish(state: ModelState, task: RegistryTask, version: int, result: RegistryResult = NAMED) -> Transition:
    """A task that ended well."""
    return decide(state, StepDone(RegistryArguments(task, version), result))


def fail(state: ModelState, task: RegistryTask, version: int, at: float = NOW) -> Transition:
    """A task that failed."""
    return decide(state, StepFailed(RegistryArguments(task, version), "the server is away"), at=at)


def test_a_promotion_waits_until_the_alias_was_read_back() -> None:
    """A promotion intends no swap; the next tick moves the alias, and the swap comes only when that is done."""
    won = decide(JUDGED, WON)
    assert (won.event, won.actions) == (Event.SWAP_STARTED, ())
    moving = tick(won.state)
    assert (tasks(moving), swaps(moving)) == ([(RegistryTask.MOVE, 3)], [])
    waits = tick(moving.state, ActionKind.REGISTRY)
    assert (waits.actions, waits.reason) == ((), "version 3 waits until the alias in the registry names it")
    moved = finish(moving.state, RegistryTask.MOVE, 3, RegistryResult("it is version 8 there", "8", 3))
    assert (moved.event, moved.state.champion) == (Event.ALIAS_SET, 2)
    swap = tick(moved.state)
    assert swaps(swap) == [(3, SwapPurpose.PROMOTE)]
    done = decide(swap.state, StepDone(swap.actions[0].arguments, SwapResult()))
    assert (done.event, done.state.champion) == (Event.PROMOTED, 3)
    assert tasks(tick(done.state)) == []


def test_a_server_that_is_away_delays_a_promotion_and_loses_nothing() -> None:
    """Each failure doubles the pause up to an hour; the first is told, and the swap comes once the server is back."""
    state, at, pauses = tick(HELD).state, NOW, []
    for number in range(9):
        failed = fail(state, RegistryTask.MOVE, 3, at)
        assert failed.event is (Event.REGISTRY_FAILED if number == 0 else None)
        known = failed.state.registry
        assert known is not None
        assert known.retry_at is not None
        assert tick(failed.state, at=known.retry_at - 1).actions == ()
        assert "the server is away" in tick(failed.state, at=known.retry_at - 1).reason
        assert registry_due(failed.state, PLACE) == (known.retry_at,)
        pauses.append(known.retry_at - at)
        at = known.retry_at
        again = tick(failed.state, at=at)
        assert tasks(again) == [(RegistryTask.MOVE, 3)]
        state = again.state
    assert pauses == [60.0 * 2**n for n in range(6)] + [HOUR] * 3
    moved = finish(state, RegistryTask.MOVE, 3, RegistryResult("version 8", "8", 3))
    assert "after 9 failed tries" in moved.reason
    assert swaps(tick(moved.state)) == [(3, SwapPurpose.PROMOTE)]


def test_a_rollback_waits_for_no_server_and_the_alias_follows() -> None:
    """A worse version is left at once; until the alias is moved back that is owed, and tried again."""
    watched = replace(STEADY, phase=Phase.PROBATION, probation=Probation(1, NOW - HOUR))
    back = decide(watched, ProbationResult(ProbationDecision.ROLL_BACK, "worse", 400))
    assert swaps(back) == [(1, SwapPurpose.ROLLBACK)]
    assert tick(back.state, ActionKind.SWAP).actions == ()
    done = decide(back.state, StepDone(back.actions[0].arguments, SwapResult()))
    assert done.event is Event.ROLLED_BACK
    owed = tick(done.state)
    assert tasks(owed) == [(RegistryTask.MOVE, 1)]
    failed = fail(owed.state, RegistryTask.MOVE, 1)
    assert tasks(tick(failed.state, at=NOW + 60)) == [(RegistryTask.MOVE, 1)]


def test_a_swap_that_fails_after_the_alias_moved_takes_the_alias_back() -> None:
    """The build fails, the champion stays, and the alias is moved back to it."""
    moved = finish(tick(HELD).state, RegistryTask.MOVE, 3)
    swap = tick(moved.state).actions[0].arguments
    failed = decide(tick(moved.state).state, StepFailed(swap, "its file is damaged"))
    assert (failed.event, failed.state.champion) == (Event.BUILD_FAILED, 2)
    assert tasks(tick(failed.state)) == [(RegistryTask.MOVE, 2)]


def test_a_move_of_which_nothing_is_known_is_taken_back_too() -> None:
    """A challenger is rejected while its move fails: where the alias is then is not known, so it is moved."""
    failing = fail(tick(HELD).state, RegistryTask.MOVE, 3).state
    rejected = decide(failing, OperatorRequest("reject", "ada", "no"))
    assert (rejected.event, rejected.state.build, rejected.state.phase) == (
        Event.CHALLENGER_REJECTED,
        None,
        Phase.STEADY,
    )
    assert tasks(tick(rejected.state, at=NOW + 60)) == [(RegistryTask.MOVE, 2)]


def test_a_person_goes_before_a_promotion_that_waits() -> None:
    """A rollback is answered while a promotion waits for the server; the challenger is judged anew afterwards."""
    waiting = tick(HELD).state
    back = decide(waiting, OperatorRequest("rollback", "ada"))
    assert swaps(back) == [(1, SwapPurpose.ROLLBACK)]
    assert back.state.phase is Phase.AWAITING_APPROVAL
    done = decide(back.state, StepDone(back.actions[0].arguments, SwapResult()))
    assert tick(done.state).event is Event.JUDGED_AGAIN
    refused = decide(waiting, OperatorRequest("rollback", "ada", version=99))
    assert (refused.event, refused.state) == (Event.REQUEST_REFUSED, waiting)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_pin_goes_before_a_promotion_that_waits(version: int) -> None:
    """The pinned version serves at once, whichever it is; the challenger waits for a person, unless it is pinned."""
    pin, state, made = Override("INC-2", pin=version), tick(HELD).state, []
    working: tuple[ActionKind, ...] = (ActionKind.REGISTRY,)
    for _ in range(6):
        step = decide(state, ClockTick(), *working, override=pin)
        state, found = step.state, swaps(step)
        made += found
        if found:
            state = decide(state, StepDone(step.actions[0].arguments, SwapResult()), *working, override=pin).state
    assert made == ([] if version == 2 else [(version, SwapPurpose.PIN)])
    assert (state.champion, state.pinned) == (version, version)
    assert state.build is None if version == 3 else state.phase is Phase.AWAITING_APPROVAL
    late = finish(state, RegistryTask.MOVE, 3).state  # the move that was under way
    owed = decide(late, ClockTick(), override=pin)
    assert tasks(owed) == ([] if version == 3 else [(RegistryTask.MOVE, version)])


def test_a_pause_of_promotion_holds_a_promotion_that_waits() -> None:
    """It waits for a person then; what a person approved is not held by it."""
    waiting = tick(HELD).state
    held = decide(waiting, ClockTick(), override=Override("INC-1"))
    assert held.state.phase is Phase.RETRAINING
    for _ in range(2):
        held = decide(held.state, ClockTick(), override=PAUSED)  # the first says that the override holds
    assert (held.event, held.state.phase) == (Event.APPROVAL_WANTED, Phase.AWAITING_APPROVAL)
    approved = decide(held.state, OperatorRequest("approve", "ada", version=3), override=PAUSED)
    assert approved.event is Event.SWAP_STARTED
    moving = decide(approved.state, ClockTick(), override=PAUSED)
    moved = finish(moving.state, RegistryTask.MOVE, 3)
    assert swaps(decide(moved.state, ClockTick(), override=PAUSED)) == [(3, SwapPurpose.PROMOTE)]


def test_an_approved_version_is_not_asked_for_again_in_circles() -> None:
    """An approval of the override under a pause of promotion ends in one move and one swap."""
    override = replace(PAUSED, approve=3)
    state = replace(HELD, phase=Phase.AWAITING_APPROVAL, build=replace(BUILD, judged_against=1))
    events = []
    for _ in range(4):
        step = decide(state, ClockTick(), override=override)
        state = step.state
        events.append(step.event)
    assert events == [Event.OVERRIDE_BEGAN, Event.SWAP_STARTED, None, None]
    assert tasks(step) == [] or state.registry == replace(KNOWN, alias=None)


def test_a_config_without_the_registry_lets_a_held_promotion_through() -> None:
    """Nothing waits for a registry that nobody names any more; what was known of it is forgotten."""
    swap = tick(tick(HELD).state, settings=PolicySettings())
    assert swaps(swap) == [(3, SwapPurpose.PROMOTE)]
    forgotten = tick(STEADY, settings=PolicySettings()).state
    assert forgotten.registry is None
    late = decide(forgotten, StepDone(RegistryArguments(RegistryTask.MOVE, 3), NAMED), settings=PolicySettings())
    assert (late.event, late.state) == (None, forgotten)


def test_every_version_is_registered_once_its_gate_has_spoken() -> None:
    """The alias comes first, then each version, the oldest first; a challenger that is judged is not ready."""
    fresh = replace(STEADY, registry=None)
    state, asked = fresh, []
    for _ in range(6):
        step = tick(state)
        asked += tasks(step)
        state = step.state
        if tasks(step):
            task, version = tasks(step)[0]
            state = finish(state, task, version).state
    assert asked == [(RegistryTask.MOVE, 2), (RegistryTask.REGISTER, 1), (RegistryTask.REGISTER, 3)]
    assert state.registry is not None
    assert state.registry.registered == (1, 2, 3)
    assert tick(JUDGED).actions == ()
    asks = replace(JUDGED, phase=Phase.AWAITING_APPROVAL)
    assert tasks(tick(asks, settings=replace(SETTINGS, approval="manual"))) == [(RegistryTask.REGISTER, 3)]


def test_a_registry_elsewhere_is_begun_anew() -> None:
    """Another server, name or alias in the config: nothing is registered there yet."""
    other = replace(SETTINGS, registry=replace(PLACE, where="http://ml demand@live"))
    step = tick(STEADY, settings=other)
    assert tasks(step) == [(RegistryTask.MOVE, 2)]
    assert step.state.registry == RegistryState("http://ml demand@live")
    late = decide(step.state, StepFailed(RegistryArguments(RegistryTask.LOOK, 2), "away"), settings=SETTINGS)
    assert late.state == step.state


def test_a_version_that_cannot_be_registered_is_told_once() -> None:
    """Its own files are the reason: an old one is passed over, a challenger's build fails."""
    unfit = RegistryResult("model.skops does not match its manifest", is_fit=False)
    state = replace(STEADY, registry=replace(KNOWN, registered=(2,)))
    noticed = finish(state, RegistryTask.REGISTER, 1, unfit)
    assert noticed.event is Event.REGISTRY_FAILED
    assert noticed.state.registry is not None
    assert noticed.state.registry.registered == (1, 2)
    failed = finish(tick(HELD).state, RegistryTask.MOVE, 3, unfit)
    assert (failed.event, failed.state.build) == (Event.BUILD_FAILED, None)
    assert tasks(tick(failed.state)) == [(RegistryTask.MOVE, 2)]
    champion = finish(replace(STEADY, registry=replace(KNOWN, alias=None)), RegistryTask.MOVE, 2, unfit)
    assert champion.event is Event.REGISTRY_FAILED
    assert registry_due(champion.state, PLACE) == (NOW + 60,)


def looking() -> ModelState:
    """A model whose alias is due for a look."""
    known = replace(KNOWN, registered=(1, 2, 3))
    later = tick(replace(STEADY, registry=known), at=NOW + HOUR)
    assert tasks(later) == [(RegistryTask.LOOK, 2)]
    return later.state


def test_an_alias_that_names_its_version_is_nothing_to_tell() -> None:
    """A look that finds what it should is no event, and the next look is an hour away."""
    seen = finish(looking(), RegistryTask.LOOK, 2)
    assert (seen.event, seen.state.registry) == (None, replace(KNOWN, registered=(1, 2, 3)))
    assert tick(seen.state).actions == ()
    assert registry_due(seen.state, PLACE) == (NOW + HOUR,)


def test_a_moved_alias_is_told_once_and_left_alone() -> None:
    """By default it stays where somebody moved it; another move is told again, and the way back too."""
    noticed = finish(looking(), RegistryTask.LOOK, 2, ELSEWHERE)
    assert noticed.event is Event.ALIAS_MOVED
    assert "names version 9, and driftd had it name version 2; version 2 serves on" in noticed.reason
    assert describe_registry(noticed.state.registry, noticed.state.build) == (
        "somebody moved the alias in the registry: it names version 9 there, seen 2027-01-15 08:00 UTC"
    )
    again = finish(noticed.state, RegistryTask.LOOK, 2, ELSEWHERE)
    assert (again.event, again.actions, again.state) == (None, (), noticed.state)
    assert tick(again.state).actions == ()
    other = finish(again.state, RegistryTask.LOOK, 2, RegistryResult("it names none", None, None))
    assert other.event is Event.ALIAS_MOVED
    back = finish(other.state, RegistryTask.LOOK, 2)
    assert describe_registry(back.state.registry, back.state.build) is None
    swapped = tick(replace(noticed.state, champion=1))
    assert tasks(swapped) == [(RegistryTask.MOVE, 1)]  # the next swap moves it


def test_a_moved_alias_is_moved_back_where_the_config_says_so() -> None:
    """Restored at once, told as moved and as set."""
    restore = replace(SETTINGS, registry=replace(PLACE, moved="restore"))
    arguments = RegistryArguments(RegistryTask.LOOK, 2)
    noticed = decide(looking(), StepDone(arguments, ELSEWHERE), settings=restore)
    assert noticed.event is Event.ALIAS_MOVED
    back = tick(noticed.state, settings=restore)
    assert tasks(back) == [(RegistryTask.MOVE, 2)]
    done = decide(back.state, StepDone(RegistryArguments(RegistryTask.MOVE, 2), NAMED), settings=restore)
    assert (done.event, describe_registry(done.state.registry, done.state.build)) == (Event.ALIAS_SET, None)


def test_a_moved_alias_is_followed_to_a_version_that_is_known() -> None:
    """As a person's rollback would, in the name of the alias; a version of others is told with how to adopt it."""
    follow = replace(SETTINGS, registry=replace(PLACE, moved="follow"))
    look = RegistryArguments(RegistryTask.LOOK, 2)
    first = RegistryResult("demand@champion names version 5", "5", 1)
    back = decide(looking(), StepDone(look, first), settings=follow)
    assert (swaps(back), back.actor) == ([(1, SwapPurpose.ROLLBACK)], ACTOR)
    done = decide(back.state, StepDone(back.actions[0].arguments, SwapResult()), settings=follow)
    assert tasks(tick(done.state, settings=follow)) == [(RegistryTask.MOVE, 1)]
    foreign = decide(looking(), StepDone(look, ELSEWHERE), settings=follow)
    assert (foreign.event, foreign.actions) == (Event.ALIAS_MOVED, ())
    assert "`driftd init --model models:/demand@champion --name ...` adopts it" in foreign.reason
    pinned = replace(looking(), pinned=2)
    refused = decide(pinned, StepDone(look, first), settings=follow)
    assert (refused.event, refused.actions) == (Event.ALIAS_MOVED, ())
    assert "the override pins version 2" in refused.reason
    again = decide(refused.state, StepDone(look, first), settings=follow)
    assert again.event is None
    freed = decide(replace(again.state, pinned=None), StepDone(look, first), settings=follow)
    assert swaps(freed) == [(1, SwapPurpose.ROLLBACK)]


def test_a_look_that_fails_is_tried_again_and_moves_nothing() -> None:
    """What the alias was read back to name is still what is known."""
    failed = fail(looking(), RegistryTask.LOOK, 2)
    assert failed.event is Event.REGISTRY_FAILED
    assert failed.state.registry is not None
    assert failed.state.registry.alias == 2
    assert tasks(tick(failed.state, at=NOW + HOUR)) == [(RegistryTask.LOOK, 2)]
    assert describe_registry(failed.state.registry, failed.state.build) is not None


def test_a_pause_of_checks_asks_the_registry_for_nothing_but_what_serves() -> None:
    """No look and no registration while the model is paused, and no move to what may not serve yet."""
    paused = replace(HELD, phase=Phase.PAUSED, resumes=Phase.RETRAINING)
    override = Override("INC-3", pause=frozenset({"checks"}))
    said = replace(paused, override="checks paused (INC-3)")
    assert decide(said, ClockTick(), at=NOW + HOUR, override=override).actions == ()
    swapped = decide(replace(said, champion=1), ClockTick(), override=override)
    assert tasks(swapped) == [(RegistryTask.MOVE, 1)]


def test_another_systems_version_is_named_once_it_serves() -> None:
    """The alias follows what another system serves; its first version has no artefact and is not registered."""
    settings = replace(SETTINGS, is_external=True)
    facts = replace(FACTS, logged=frozenset({1}))
    state = replace(STEADY, champion=1, registry=None)
    step = advance(state, ClockTick(), facts, settings, Override(), NOW)
    assert tasks(step) == [(RegistryTask.REGISTER, 2)]
    later = advance(replace(step.state, champion=2), ClockTick(), facts, settings, Override(), NOW)
    assert tasks(later) == [(RegistryTask.MOVE, 2)]


def test_a_restored_state_moves_the_alias_to_what_serves() -> None:
    """What the alias was moved to after the backup is not known."""
    back = reconcile_restored(STEADY, 3, frozenset({1, 2, 3}), None, made_at=NOW - HOUR, now=NOW)
    assert back.state.registry is not None
    assert back.state.registry.alias is None
    comparing = tick(back.state)  # a later version than the champion of the backup is on probation
    assert tasks(tick(comparing.state, ActionKind.SHADOW)) == [(RegistryTask.MOVE, 3)]


@pytest.mark.parametrize(
    "ahead",
    [lambda known: replace(known, looked_at=NOW + 9e8), lambda known: replace(known, failures=1, retry_at=NOW + 9e8)],
    ids=["look", "retry"],
)
def test_a_time_that_a_clock_ahead_wrote_down_holds_nothing_up(ahead: Callable[[RegistryState], RegistryState]) -> None:
    """Neither a look nor another try waits for years."""
    known = ahead(replace(KNOWN, registered=(1, 2, 3)))
    looked = replace(known, looked_at=known.looked_at if known.retry_at is None else 0.0)
    assert tasks(tick(replace(STEADY, registry=looked))) == [(RegistryTask.LOOK, 2)]


def test_actions_are_typed() -> None:
    """What is stored of a task reads back."""
    assert Action(RegistryArguments(RegistryTask.MOVE, 3)).kind is ActionKind.REGISTRY
