"""An alarm of performance is a level: nothing drops it but its evidence, another version, or a person for a while."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftd.events import Event
from driftd.policy import (
    AlarmCleared,
    AlarmRaised,
    AlarmStanding,
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    StepDone,
    StepFailed,
    advance,
)
from driftd.records import (
    ActionKind,
    Alarm,
    Build,
    BuildRequest,
    BuildStep,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    Phase,
    SnapshotArguments,
    SwapArguments,
    SwapPurpose,
    Transition,
    Trigger,
    Window,
)

NOW, HOUR, DAY = 1_800_000_000.0, 3600.0, 86_400.0
SETTINGS = PolicySettings()
FACTS = Facts(next_version=5, versions=frozenset({1, 2, 3}), labels=5000)
STEADY = ModelState("demand", champion=3, previous=2)
RAISED = AlarmRaised(
    Alarm("performance", "mae", 1e9, 21915.0, "mae 4.1, was 0.4", change_start=NOW - DAY), 11, Window(9, NOW, NOW)
)
COLLECTING = replace(
    STEADY,
    phase=Phase.RETRAINING,
    want=BuildRequest(Trigger.MANUAL, "ada asks", NOW - DAY, who="ada"),
    build=Build(4, Trigger.MANUAL, "ada asks", BuildStep.COLLECT, NOW - DAY, judged_labels=5000, judged_rows=4000),
)


def decide(
    state: ModelState,
    finding: Finding,
    *,
    facts: Facts = FACTS,
    settings: PolicySettings = SETTINGS,
    override: Override | None = None,
    now: float = NOW,
) -> Transition:
    return advance(state, finding, facts, settings, override or Override(), now)


def settle(state: ModelState, **words: object) -> list[Transition]:
    """The decisions that follow from ticks at one moment."""
    made: list[Transition] = []
    for _ in range(8):
        transition = decide(state, ClockTick(), **words)  # type: ignore[arg-type]
        state = transition.state
        made.append(transition)
        if transition.event is None and not transition.actions:
            return made
    raise AssertionError([transition.reason for transition in made])


def events(transitions: list[Transition]) -> list[Event | None]:
    return [transition.event for transition in transitions]


def test_an_alarm_supersedes_a_build_that_only_collects_rows() -> None:
    """A build that awaits rows ends, and another begins for the alarm."""
    alarmed = decide(COLLECTING, RAISED)
    assert "driftd builds a new version once" in alarmed.reason
    (started, *_) = settle(alarmed.state)
    assert started.event == Event.BUILD_STARTED
    assert (started.state.build.number, started.figures.alarm) == (5, 11)  # type: ignore[union-attr]
    assert "build 4 only collected rows, and ends" in started.reason


def test_an_alarm_that_must_wait_lets_the_collecting_build_be_judged_meanwhile() -> None:
    """While the alarm's build lacks labels since the change, the build that collects goes on."""
    alarmed = decide(COLLECTING, RAISED).state
    facts = replace(FACTS, labels=7000, labels_of_request=20)
    (judged, *_) = settle(alarmed, facts=facts)
    assert [action.kind for action in judged.actions] == [ActionKind.JUDGE]
    assert judged.state.want is not None
    assert judged.state.want.alarm == 11


def test_a_build_of_the_same_alarm_is_not_superseded() -> None:
    """A build that the alarm caused may collect rows: another one would begin with the same."""
    build = replace(COLLECTING.build, trigger=Trigger.PERFORMANCE, alarm=11, requested_at=NOW - DAY)  # type: ignore[type-var]
    state = replace(decide(STEADY, RAISED).state, phase=Phase.RETRAINING, build=build)
    state = replace(state, want=BuildRequest(Trigger.PERFORMANCE, "mae", NOW - DAY, alarm=11))
    assert events(settle(state)) == [None]


def test_a_persons_rejection_delays_the_alarm_and_does_not_drop_it() -> None:
    """An older challenger is turned down: after the cool-down a build begins for the alarm."""
    waiting = replace(
        STEADY, phase=Phase.AWAITING_APPROVAL, build=Build(4, Trigger.SCHEDULE, "due", BuildStep.JUDGE, NOW - DAY)
    )
    alarmed = decide(waiting, RAISED).state
    rejected = decide(alarmed, OperatorRequest("reject", "ada", "old", 4)).state
    assert Event.BUILD_STARTED not in events(settle(rejected))
    assert Event.BUILD_STARTED in events(settle(rejected, now=NOW + SETTINGS.cooldown))


def test_failures_delay_the_alarm_and_do_not_drop_it() -> None:
    """However often its builds fail, the next one begins after a pause of at most a day."""
    state, now = decide(STEADY, RAISED).state, NOW
    for _ in range(2 * SETTINGS.most_failures):
        begun = settle(state, now=now)
        assert Event.BUILD_STARTED in events(begun)
        number = begun[-1].state.build.number  # type: ignore[union-attr]
        failed = decide(begun[-1].state, StepFailed(SnapshotArguments(number), "no room"), now=now)
        assert "next try at" in failed.reason
        state, now = failed.state, now + SETTINGS.backoff_most
    assert state.failures == 2 * SETTINGS.most_failures


def test_the_alarm_of_an_earlier_driftd_is_found_standing() -> None:
    """A state that lost the crossing knows of the alarm by the next check, and a build begins."""
    found = decide(STEADY, AlarmStanding(RAISED.alarm, 11))
    assert found.event is None
    requested, started, *_ = settle(found.state)
    assert (requested.event, requested.figures.alarm) == (Event.BUILD_WANTED, 11)
    assert started.event == Event.BUILD_STARTED
    assert decide(found.state, AlarmStanding(RAISED.alarm, 11)).state == found.state


def test_an_alarm_that_clears_ends_its_request() -> None:
    """The evidence fell: no build is needed for it any more, and the history says so."""
    alarmed = decide(STEADY, RAISED).state
    cleared = decide(alarmed, AlarmCleared("performance", "mae 0.41, 0.4 is promised"))
    assert cleared.event == Event.ALARM_CLEARED
    assert cleared.state.open_alarms == ()
    assert cleared.state.want is None
    assert "alarm 11 is cleared: mae 0.41" in cleared.reason
    assert decide(cleared.state, AlarmCleared("performance", "again")).event is None


def test_a_refused_build_is_not_repeated_for_an_alarm_that_cleared() -> None:
    """The gate refuses a challenger whose alarm has cleared meanwhile: nothing more is wanted."""
    begun = settle(decide(STEADY, RAISED).state)[-1].state
    cleared = decide(begun, AlarmCleared("performance", "mae fell")).state
    assert cleared.build is not None
    judging = replace(cleared, build=replace(cleared.build, step=BuildStep.JUDGE))
    arguments = JudgeArguments(version=5, champion=3, trigger=Trigger.PERFORMANCE)
    refused = decide(judging, StepDone(arguments, JudgeResult(GateDecision.REJECT, "worse")))
    assert refused.state.want is None


def test_another_version_ends_the_alarm() -> None:
    """Evidence begins anew against a version that begins to serve."""
    alarmed = decide(STEADY, RAISED).state
    back = decide(alarmed, StepDone(SwapArguments(2, SwapPurpose.ROLLBACK, 3)))
    assert back.state.open_alarms == ()


@pytest.mark.parametrize("alarm", [11, None])
def test_an_acknowledged_alarm_is_not_acted_on_until_its_time(alarm: int | None) -> None:
    """A person acknowledges it by number, or all that stand; then a build begins when the time is over."""
    alarmed = decide(STEADY, RAISED).state
    request = OperatorRequest("acknowledge", "ada", "campaign", alarm=alarm, until=NOW + 3 * DAY)
    known = decide(alarmed, request)
    assert (known.event, known.figures.who, known.state.want) == (Event.ALARM_ACKNOWLEDGED, "ada", None)
    assert events(settle(known.state, now=NOW + 2 * DAY)) == [None]
    assert Event.BUILD_STARTED in events(settle(known.state, now=NOW + 3 * DAY))


@pytest.mark.parametrize(
    ("alarm", "until", "words"),
    [(12, NOW + DAY, "alarm 12 is none that stands (standing: 11)"), (11, NOW, "a time in the future")],
)
def test_what_cannot_be_acknowledged_is_refused(alarm: int, until: float, words: str) -> None:
    """An alarm that does not stand, and a time that is over."""
    refused = decide(decide(STEADY, RAISED).state, OperatorRequest("acknowledge", "ada", "x", alarm=alarm, until=until))
    assert refused.event == Event.REQUEST_REFUSED
    assert words in refused.reason


def test_the_override_acknowledges_an_alarm_until_its_own_end() -> None:
    """The config's acknowledgement holds beyond the end of the override, and says when it names no standing alarm."""
    alarmed = decide(STEADY, RAISED).state
    override = Override(expires=NOW - 1, acknowledge={11: NOW + 3 * DAY}, acknowledge_reason="INC-7")
    began, *rest = settle(alarmed, override=override, now=NOW)
    assert began.event == Event.OVERRIDE_BEGAN
    assert "alarm 11 acknowledged until" in began.reason
    assert "INC-7" in began.reason
    assert events(rest) == [None]
    assert Event.BUILD_STARTED in events(settle(rest[-1].state, override=override, now=NOW + 3 * DAY))
    absent = Override("x", acknowledge={99: NOW + DAY})
    assert "alarm 99 does not stand now" in decide(STEADY, ClockTick(), override=absent).reason


@pytest.mark.parametrize(
    ("state", "override", "words"),
    [
        ({}, Override("INC-1", pause=frozenset({"retraining"})), "retraining is paused"),
        ({}, Override("INC-1", pause=frozenset({"checks"})), "paused by the override"),
        ({"blocked": "a is gone"}, Override(), "the pipeline is broken: a is gone"),
        ({"backoff_until": NOW + 9 * DAY, "failures": 7}, Override(), "7 builds failed in a row"),
        ({"build_starts": (NOW + 0.9 * DAY,) * 4}, Override(), "the budget of 4 builds is used up"),
    ],
)
def test_a_person_is_told_that_nothing_is_done(state: dict[str, object], override: Override, words: str) -> None:
    """After a day without a build a person is told what it waits for, and again after one, two, four days."""
    waiting = replace(decide(STEADY, RAISED).state, **state)  # type: ignore[arg-type]
    early = settle(waiting, override=override, now=NOW + DAY - 1)
    assert Event.ALARM_UNATTENDED not in events(early)
    reported = settle(early[-1].state, override=override, now=NOW + DAY)
    assert reported[0].event == Event.ALARM_UNATTENDED
    assert "performance alarm 11 has stood for 1 d and no build is under way for it" in reported[0].reason
    assert words in reported[0].reason
    assert reported[0].state.unattended is not None
    days, last = [], reported[-1].state
    for hour in range(25, 24 * 9):
        transitions = settle(replace(last, **state), override=override, now=NOW + hour * HOUR)  # type: ignore[arg-type]
        days += [hour / 24] * events(transitions).count(Event.ALARM_UNATTENDED)
        last = transitions[-1].state
        if Event.BUILD_STARTED in events(transitions):
            break
    assert days in ([2, 4, 8], []), days


def test_a_build_at_work_is_attention_enough() -> None:
    """While a build is trained, nobody is told that nothing is done."""
    begun = settle(decide(STEADY, RAISED).state)[-1].state
    assert events(settle(begun, now=NOW + 5 * DAY)) == [None]


def test_a_build_of_the_alarm_that_waits_for_the_days_of_its_gate_is_attention_enough() -> None:
    """Nobody is told while the alarm's own build may still lack days; once it could have had them, a person is."""
    build = replace(COLLECTING.build, trigger=Trigger.PERFORMANCE, alarm=11, started_at=NOW)  # type: ignore[type-var]
    state = replace(decide(STEADY, RAISED).state, want=None, phase=Phase.RETRAINING, build=build)
    assert events(settle(state, now=NOW + 3 * DAY - 1)) == [None]
    assert Event.ALARM_UNATTENDED in events(settle(state, now=NOW + 3 * DAY))
    other = replace(state, build=replace(build, alarm=None, trigger=Trigger.MANUAL))
    waiting = {"facts": replace(FACTS, labels_of_request=20), "now": NOW + DAY}
    assert Event.ALARM_UNATTENDED in events(settle(other, **waiting))


def test_an_alarm_that_only_informs_is_not_told_again() -> None:
    """Where `retrain.on` does not name performance, the alarm says so itself, once."""
    settings = PolicySettings(retrain_on=frozenset({Trigger.SCHEDULE}))
    alarmed = decide(STEADY, RAISED, settings=settings)
    assert "this alarm only informs" in alarmed.reason
    assert events(settle(alarmed.state, settings=settings, now=NOW + 30 * DAY)) == [None]


def test_a_persons_failed_build_waits_out_its_pause() -> None:
    """A build that a person asked for and that failed is tried again after the pause, a new wish at once."""
    asked = decide(STEADY, OperatorRequest("retrain", "ada", "fix")).state
    begun = settle(asked)[-1].state
    failed = decide(begun, StepFailed(SnapshotArguments(5), "no room")).state
    assert "1 builds failed in a row" in settle(failed)[-1].reason
    assert Event.BUILD_STARTED in events(settle(failed, now=NOW + SETTINGS.backoff_first))
    again = decide(failed, OperatorRequest("retrain", "ada", "room was made"), now=NOW + 1).state
    assert Event.BUILD_STARTED in events(settle(again, now=NOW + 1))


def test_a_wish_that_came_during_a_build_outlives_its_promotion() -> None:
    """A person asks for a build while another one swaps: the wish waits, and is not lost by the promotion."""
    wish = BuildRequest(Trigger.MANUAL, "ada asks", NOW, who="ada")
    swapping = replace(COLLECTING.build, step=BuildStep.SWAP, requested_at=NOW - DAY)  # type: ignore[type-var]
    promoted = decide(
        replace(COLLECTING, build=swapping, want=wish), StepDone(SwapArguments(4, SwapPurpose.PROMOTE, 3))
    )
    assert promoted.event == Event.PROMOTED
    assert promoted.state.want == wish


def test_evidence_that_begins_anew_ends_its_alarms_and_their_requests() -> None:
    """A person resets it with a reason: the alarm and its request are gone, and the history says who."""
    want = BuildRequest(Trigger.PERFORMANCE, "mae rose", NOW, alarm=11)
    wanted = replace(decide(STEADY, RAISED).state, want=want)
    reset = decide(wanted, OperatorRequest("reset-evidence", "ada", "test traffic"))
    assert (reset.event, reset.figures.who, reset.figures.version) == (Event.EVIDENCE_RESET, "ada", 3)
    assert "test traffic; alarm 11 is put aside with it" in reset.reason
    assert (reset.state.open_alarms, reset.state.want, reset.state.evidence_since) == ((), None, NOW)
    assert reset.state.blocked == wanted.blocked


@pytest.mark.parametrize(
    ("state", "request_", "words"),
    [
        (STEADY, OperatorRequest("reset-evidence", "ada", " "), "needs a reason"),
        (ModelState("demand"), OperatorRequest("reset-evidence", "ada", "x"), "no version serves"),
        (STEADY, OperatorRequest("reset-evidence", "ada", "x", obstacle="its reference is damaged"), "is damaged"),
    ],
)
def test_evidence_does_not_begin_anew_without_reason_version_or_reference(
    state: ModelState, request_: OperatorRequest, words: str
) -> None:
    """What cannot be reset is refused, and nothing changes."""
    refused = decide(state, request_)
    assert (refused.event, refused.state) == (Event.REQUEST_REFUSED, state)
    assert words in refused.reason
