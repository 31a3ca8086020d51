"""Hand-overs in policy: told, confirmed, taken back; every step of them from every state that leads to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftd.events import Event, HandOverAction
from driftd.policy import (
    AlarmRaised,
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    StepDone,
    StepFailed,
    advance,
    reconcile_restored,
)
from driftd.records import (
    ActionKind,
    Alarm,
    Build,
    BuildStep,
    GateDecision,
    HandOver,
    HandOverArguments,
    HandOverResult,
    HandOverStage,
    JudgeArguments,
    JudgeResult,
    ModelState,
    Phase,
    Probation,
    SwapArguments,
    SwapPurpose,
    Transition,
    Trigger,
    Window,
)

NOW, HOUR, DAY = 1_800_000_000.0, 3600.0, 86_400.0
SETTINGS = PolicySettings(is_external=True, can_tell=True, confirm_within=6 * HOUR, probation_span=DAY)
BUILD = Build(2, Trigger.PERFORMANCE, "mae rose", BuildStep.JUDGE, NOW - HOUR)
JUDGED = ModelState("demand", Phase.RETRAINING, champion=1, build=BUILD)
FACTS = Facts(next_version=3, versions=frozenset({1, 2}), logged=frozenset({1}), labels=1000)
WON = StepDone(
    JudgeArguments(version=2, champion=1, trigger=Trigger.PERFORMANCE), JudgeResult(GateDecision.PROMOTE, "better")
)
CONFIRM = OperatorRequest("confirm", "ada", "rolled out", 2)


def decide(
    state: ModelState, finding: Finding, *, at: float = NOW, settings: PolicySettings = SETTINGS, **facts: object
) -> Transition:
    """One decision over a model that is served elsewhere."""
    return advance(state, finding, replace(FACTS, **facts), settings, Override(), at)  # type: ignore[arg-type]  # tests name them


def handing_over() -> tuple[ModelState, HandOverArguments]:
    """A challenger that won its gate, and what the other system is told."""
    begun = decide(JUDGED, WON)
    (action,) = begun.actions
    assert isinstance(action.arguments, HandOverArguments)
    return begun.state, action.arguments


def awaiting() -> ModelState:
    """The same once the other system was told."""
    state, output = handing_over()
    return decide(state, StepDone(output, HandOverResult("by `deploy`"))).state


def test_a_swap_is_a_hand_over_and_the_champion_stays() -> None:
    """The transaction that would intend the swap intends the telling, with the time until which it is confirmed."""
    begun = decide(JUDGED, WON)
    (action,) = begun.actions
    assert action.arguments == HandOverArguments(
        action=HandOverAction.DEPLOY,
        version=2,
        from_version=1,
        reason="version 2 won its gate: better",
        until=NOW + 6 * HOUR,
    )
    assert (begun.event, begun.state.champion, begun.figures.until) == (Event.SWAP_STARTED, 1, NOW + 6 * HOUR)
    output = decide(begun.state, StepDone(action.arguments, HandOverResult("by `deploy`: model.skops")))
    assert (output.event, output.state.champion, output.actions) == (Event.HANDED_OVER, 1, ())
    assert "by `deploy`: model.skops" in output.reason
    assert "`driftd confirm demand 2`" in output.reason


@pytest.mark.parametrize("seen", [True, False])
def test_a_person_or_a_prediction_confirms(seen: bool) -> None:
    """Then the ordinary swap follows, and its end is the promotion."""
    state = awaiting()
    done = decide(state, ClockTick(), is_seen=True) if seen else decide(state, CONFIRM)
    assert done.event is Event.HAND_OVER_CONFIRMED
    (swap,) = done.actions
    assert swap.arguments == SwapArguments(2, SwapPurpose.PROMOTE, 1)
    assert decide(done.state, ClockTick(), is_seen=True, working=frozenset({ActionKind.SWAP})).event is None
    promoted = decide(done.state, StepDone(swap.arguments), at=NOW + 1)
    assert (promoted.event, promoted.state.champion, promoted.state.phase) == (Event.PROMOTED, 2, Phase.PROBATION)
    assert (promoted.state.hand_over, promoted.state.served_since) == (None, NOW + 1)


def test_a_system_that_is_read_back_confirms_by_itself() -> None:
    """What serves there was seen, so the swap follows at once; a take-back that was read back ends the hand-over."""
    state, output = handing_over()
    done = decide(state, StepDone(output, HandOverResult("by KServe: ready", serves=True)))
    (swap,) = done.actions
    assert swap.arguments == SwapArguments(2, SwapPurpose.PROMOTE, 1)
    assert done.event is Event.HAND_OVER_CONFIRMED
    assert "it was read back that it serves (by KServe: ready)" in done.reason
    back = decide(state, OperatorRequest("reject", "ada", "no", 2))
    (tell,) = back.actions
    ended = decide(back.state, StepDone(tell.arguments, HandOverResult("by KServe: ready", serves=True)))
    assert (ended.state.hand_over, ended.actions) == (None, ())


def test_a_confirmation_counts_while_the_telling_fails() -> None:
    """A program that failed may have done its work all the same."""
    state, output = handing_over()
    failed = decide(state, StepFailed(output, "exit code 3"))
    assert failed.event is Event.HAND_OVER_FAILED
    assert "exit code 3; next try at" in failed.reason
    assert decide(failed.state, CONFIRM).event is Event.HAND_OVER_CONFIRMED


def test_a_failure_is_tried_again_after_pauses_that_double() -> None:
    """Each try is an action of its own; between them nothing is decided."""
    state, output = handing_over()
    at, pauses = NOW, []
    for attempt in (1, 2, 3):
        failed = decide(state, StepFailed(output, "no"), at=at)
        assert failed.state.hand_over is not None
        assert failed.state.hand_over.retry_at is not None
        pauses.append(failed.state.hand_over.retry_at - at)
        assert decide(failed.state, ClockTick(), at=at + 1).actions == ()
        at = failed.state.hand_over.retry_at
        again = decide(failed.state, ClockTick(), at=at)
        (action,) = again.actions
        assert isinstance(action.arguments, HandOverArguments)
        assert action.arguments.attempt == attempt + 1
        state, output = again.state, action.arguments
    assert pauses == [600.0, 1200.0, 2400.0]


def test_what_nobody_confirms_is_taken_back() -> None:
    """The build ends as one that failed, and the other system is told to serve the champion again."""
    state = awaiting()
    assert decide(state, ClockTick(), at=NOW + 6 * HOUR - 1).event is None
    late = decide(state, ClockTick(), at=NOW + 6 * HOUR, working=frozenset({ActionKind.HAND_OVER}))
    assert late.event is None  # what is being told ends first
    back = decide(state, ClockTick(), at=NOW + 6 * HOUR)
    (action,) = back.actions
    assert isinstance(action.arguments, HandOverArguments)
    assert (action.arguments.action, action.arguments.version, action.arguments.from_version) == ("take_back", 1, 2)
    assert (back.event, back.state.phase, back.state.champion) == (Event.HAND_OVER_TAKEN_BACK, Phase.STEADY, 1)
    assert (back.state.build, back.state.barred, back.state.failures) == (None, (2,), 1)
    assert back.state.backoff_until > NOW + 6 * HOUR
    wanted = decide(back.state, OperatorRequest("retrain", "ada", "now"), at=NOW + 6 * HOUR).state
    waits = decide(wanted, ClockTick(), at=NOW + 6 * HOUR)
    assert waits.state.waits == "a swap is under way"  # until the other system was told
    output = decide(wanted, StepDone(action.arguments, HandOverResult("by `deploy`")), at=NOW + 7 * HOUR)
    assert output.state.hand_over is None
    assert decide(output.state, ClockTick(), at=NOW + 7 * HOUR).event is Event.BUILD_STARTED


def test_a_person_who_says_that_the_champion_serves_again_ends_a_take_back() -> None:
    """A take-back whose telling fails holds up builds no longer than a person needs to do it by hand."""
    back = decide(awaiting(), OperatorRequest("reject", "ada", "not today", 2))
    failed = decide(back.state, StepFailed(back.actions[0].arguments, "away"))
    done = decide(failed.state, OperatorRequest("confirm", "ada", version=1))
    assert (done.event, done.state.hand_over, done.state.champion) == (None, None, 1)
    assert "version 1 serves again" in done.reason
    assert decide(done.state, StepFailed(back.actions[0].arguments, "away")).event is None


def test_a_take_back_that_cannot_be_told_is_given_up_and_that_is_told() -> None:
    """After as many tries as a build; from then on builds begin again."""
    back = decide(awaiting(), ClockTick(), at=NOW + 6 * HOUR)
    state, at = back.state, NOW + 6 * HOUR
    (action,) = back.actions
    for _ in range(SETTINGS.most_failures):
        assert state.hand_over is not None
        failed = decide(state, StepFailed(action.arguments, "away"), at=at)
        state, at = failed.state, at + 30 * HOUR
        if state.hand_over is not None:
            again = decide(state, ClockTick(), at=at)
            state, (action,) = again.state, again.actions
    assert state.hand_over is None
    assert "given up after 5 tries: see that version 1 serves" in failed.reason


def test_a_rollback_and_a_pin_are_handed_over_too() -> None:
    """A rollback that is not confirmed is refused; the version that serves stays on its probation."""
    watched = ModelState("demand", Phase.PROBATION, champion=3, previous=2, probation=Probation(2, NOW))
    facts = {"versions": frozenset({1, 2, 3})}
    begun = decide(watched, OperatorRequest("rollback", "ada", "worse"), **facts)
    (action,) = begun.actions
    assert isinstance(action.arguments, HandOverArguments)
    assert (begun.event, action.arguments.action, action.arguments.version) == (Event.ROLLBACK_STARTED, "roll_back", 2)
    output = decide(begun.state, StepDone(action.arguments, HandOverResult("")), **facts)
    back = decide(output.state, ClockTick(), at=NOW + 6 * HOUR, **facts)
    assert (back.event, back.state.champion, back.state.phase) == (Event.ROLLBACK_REFUSED, 3, Phase.PROBATION)
    pin = Override("INC", pin=2)
    pinned = advance(watched, ClockTick(), replace(FACTS, **facts), SETTINGS, pin, NOW)  # the override began
    pinned = advance(pinned.state, ClockTick(), replace(FACTS, **facts), SETTINGS, pin, NOW)
    assert pinned.event is Event.PIN_STARTED
    assert pinned.state.hand_over is not None
    late = advance(pinned.state, ClockTick(), replace(FACTS, **facts), SETTINGS, pin, NOW + 6 * HOUR)
    assert late.event is Event.PIN_REFUSED
    assert late.state.pin_refused is not None


def test_a_version_that_is_only_logged_cannot_be_handed_over() -> None:
    """The answer says what to do, and what it says works: a person says that the system serves it again."""
    watched = ModelState("demand", Phase.PROBATION, champion=2, previous=1, probation=Probation(1, NOW))
    refused = decide(watched, OperatorRequest("rollback", "ada", "worse"))
    assert (refused.event, refused.actions, refused.state) == (Event.REQUEST_REFUSED, (), watched)
    assert "`driftd confirm demand 1`" in refused.reason
    back = decide(watched, OperatorRequest("confirm", "ada", version=1))
    (swap,) = back.actions
    rolled_back = decide(back.state, StepDone(swap.arguments))
    assert (rolled_back.event, rolled_back.state.champion) == (Event.ROLLED_BACK, 1)
    assert rolled_back.state.barred == (2,)


@pytest.mark.parametrize(
    ("state", "version", "words"),
    [
        (JUDGED, 2, "was not handed over"),
        (JUDGED, 1, "serves already"),
        (JUDGED, 9, "there is no version 9"),
        (awaiting(), 1, "serves already"),
        (replace(awaiting(), champion=0), 1, "`driftd reject demand 2` takes it back"),
    ],
)
def test_a_confirmation_that_cannot_be_is_refused(state: ModelState, version: int, words: str) -> None:
    """With what stands in its way."""
    refused = decide(state, OperatorRequest("confirm", "ada", version=version))
    assert (refused.event, refused.state) == (Event.REQUEST_REFUSED, state)
    assert words in refused.reason
    embedded = decide(state, CONFIRM, settings=PolicySettings())
    assert "driftd serves this model itself" in embedded.reason


def test_a_person_rejects_what_awaits_confirmation() -> None:
    """It is taken back at once."""
    back = decide(awaiting(), OperatorRequest("reject", "ada", "not today", 2))
    assert (back.event, back.state.champion) == (Event.HAND_OVER_TAKEN_BACK, 1)
    assert "ada rejects it: not today" in back.reason


def test_a_version_that_cannot_be_watched_after_its_confirmation_is_taken_back() -> None:
    """Its reference is damaged: the champion of before stays, and the other system is told."""
    confirmed = decide(awaiting(), CONFIRM)
    back = decide(confirmed.state, StepFailed(confirmed.actions[0].arguments, "reference.bin is gone"))
    assert (back.event, back.state.champion, len(back.actions)) == (Event.HAND_OVER_TAKEN_BACK, 1, 1)


def test_a_confirmation_after_the_taking_back_says_in_the_promotion_who_gave_it() -> None:
    """There is no build any more whose judgement could be told."""
    back = decide(awaiting(), OperatorRequest("reject", "ada", "not today", 2))
    late = decide(back.state, CONFIRM)
    promoted = decide(late.state, StepDone(late.actions[0].arguments))
    assert promoted.event is Event.PROMOTED
    assert promoted.reason.endswith("on probation: ada says that it serves: rolled out")


def test_results_of_what_is_over_are_put_aside() -> None:
    """A command that ends after the confirmation, or of an earlier try, changes nothing."""
    state, output = handing_over()
    confirmed = decide(state, CONFIRM).state
    assert decide(confirmed, StepDone(output, HandOverResult(""))).state == confirmed
    assert decide(confirmed, StepFailed(output, "late")).event is None


def test_without_a_trainer_nothing_is_built() -> None:
    """An alarm asks for a version once; the request of a person too; and the alarm that stays is reported."""
    settings = replace(SETTINGS, can_train=False)
    alarm = Alarm("performance", "mae", 2000.0, 1000.0, "mae rose", change_start=NOW)
    state = decide(
        ModelState("demand", champion=1), AlarmRaised(alarm, 5, Window(7, NOW - DAY, NOW)), settings=settings
    ).state
    asked = decide(state, ClockTick(), settings=settings, labels=0)
    (action,) = asked.actions
    assert (asked.event, action.arguments) == (
        Event.VERSION_WANTED,
        HandOverArguments(action=HandOverAction.ASK, reason="mae rose"),
    )
    assert decide(asked.state, ClockTick(), settings=settings).event is None
    later = decide(asked.state, ClockTick(), settings=settings, at=NOW + 2 * DAY)
    assert later.event is Event.ALARM_UNATTENDED
    assert "no trainer is configured" in later.reason
    failed = decide(asked.state, StepFailed(action.arguments, "away"), settings=settings)
    again = decide(failed.state, ClockTick(), settings=settings, at=NOW + 600)
    assert [action.kind for action in again.actions] == [ActionKind.HAND_OVER]
    wish = decide(ModelState("demand", champion=1), OperatorRequest("retrain", "ada", "new prices"), settings=settings)
    wished = decide(wish.state, ClockTick(), settings=settings)
    assert (wished.event, wished.state.want) == (Event.VERSION_WANTED, None)


def test_probation_beside_a_logged_version_goes_by_the_evidence_alone() -> None:
    """Enough labels without an alarm confirm; an alarm ends it and says what a person can do."""
    watched = ModelState("demand", Phase.PROBATION, champion=2, previous=1, probation=Probation(1, NOW))
    going_on = decide(watched, ClockTick(), at=NOW + HOUR, labels=100)
    assert (going_on.event, going_on.actions) == (None, ())
    assert going_on.state.probation is not None
    assert "predicts none of these rows" in going_on.state.probation.sentence
    confirmed = decide(watched, ClockTick(), at=NOW + DAY, labels=300)
    assert (confirmed.event, confirmed.state.phase) == (Event.CONFIRMED, Phase.STEADY)
    assert decide(watched, ClockTick(), at=NOW + 10 * DAY, labels=3).event is Event.CONFIRMED
    alarm = Alarm("performance", "mae", 2000.0, 1000.0, "mae rose")
    worse = decide(watched, AlarmRaised(alarm, 5, Window(7, NOW, NOW)), at=NOW + HOUR).state
    ended = decide(worse, ClockTick(), at=NOW + HOUR)
    assert (ended.event, ended.state.phase, ended.state.champion) == (Event.PROBATION_ENDED, Phase.STEADY, 2)
    assert "`driftd confirm demand 1`" in ended.reason
    assert ended.state.want is not None  # the alarm's build begins as always


def test_a_pause_holds_a_hand_over_and_its_time() -> None:
    """Nothing is told or taken back while the checks are paused; afterwards it is."""
    paused = replace(awaiting(), phase=Phase.PAUSED, resumes=Phase.RETRAINING)
    override = Override("INC", pause=frozenset({"checks"}))
    assert advance(paused, ClockTick(), FACTS, SETTINGS, override, NOW + DAY).event is Event.OVERRIDE_BEGAN
    resumed = replace(paused, phase=Phase.RETRAINING, resumes=None)
    assert decide(resumed, ClockTick(), at=NOW + DAY).event is Event.HAND_OVER_TAKEN_BACK


def test_a_restored_state_forgets_a_hand_over() -> None:
    """What became of it is not known: the link and `driftd confirm` say what serves."""
    back = reconcile_restored(awaiting(), 1, frozenset({1, 2}), None, made_at=NOW, now=NOW + DAY)
    assert (back.state.hand_over, back.state.build, back.state.champion) == (None, None, 1)


def test_a_hand_over_survives_its_own_stages() -> None:
    """Every stage of a hand-over leads out of itself: by a result, by a person or by time."""
    for stage in HandOverStage:
        pending = HandOver(2, SwapPurpose.PROMOTE, stage, NOW, NOW + HOUR, "better", 1, retry_at=NOW)
        state = replace(JUDGED, build=replace(BUILD, step=BuildStep.SWAP), hand_over=pending)
        if stage is HandOverStage.CONFIRMED:
            done = decide(state, StepDone(SwapArguments(2, SwapPurpose.PROMOTE, 1)))
            assert done.state.hand_over is None
        else:
            assert decide(state, ClockTick(), at=NOW + 2 * HOUR).actions
