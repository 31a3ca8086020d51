"""Orders of people: a pause or a silence of one model until a time, beside the config's override."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from driftd.events import Event
from driftd.policy import ClockTick, Facts, OperatorRequest, Override, PolicySettings, StepDone, advance
from driftd.policy.orders import MOST_ORDERS
from driftd.records import (
    Acknowledgement,
    Build,
    BuildStep,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    OpenAlarm,
    Order,
    OrderKind,
    Phase,
    Transition,
    Trigger,
)

NOW, HOUR = 1_800_000_000.0, 3600.0
FACTS = Facts(next_version=5, versions=frozenset({1, 2, 3}), labels=1000, features=frozenset({"price", "region"}))
STEADY = ModelState("demand", champion=3, previous=2)
UNTIL = NOW + HOUR


def decide(state: ModelState, finding: object = None, override: Override | None = None, now: float = NOW) -> Transition:
    return advance(state, finding or ClockTick(), FACTS, PolicySettings(), override or Override(), now)  # type: ignore[arg-type]


def asked(kind: str, **given: object) -> OperatorRequest:
    return OperatorRequest(kind, "ada", **({"text": "INC-1", "until": UNTIL} | given))  # type: ignore[arg-type]


def settled(state: ModelState, override: Override | None = None, now: float = NOW) -> tuple[ModelState, list[str]]:
    """The state once nothing more follows from ticks, and what was decided on the way."""
    events = []
    for _ in range(10):
        transition = decide(state, override=override, now=now)
        if transition.event is None and not transition.actions:
            return transition.state, events
        events.append(str(transition.event))
        state = transition.state
    raise AssertionError(events)


def test_a_pause_holds_the_whole_model_until_its_time() -> None:
    """Checks, retraining and promotion stop with who and why; at the end the model goes on where it was."""
    given = decide(STEADY, asked("pause"))
    assert given.event == Event.ORDER_GIVEN
    assert given.reason == (
        "ada orders: checks paused until 2027-01-15 09:00 UTC; retraining paused until 2027-01-15 09:00 UTC; "
        "promotion paused until 2027-01-15 09:00 UTC (INC-1)"
    )
    paused, events = settled(given.state)
    assert (paused.phase, events) == (Phase.PAUSED, ["paused"])
    assert decide(paused).reason == "paused by ada until 2027-01-15 09:00 UTC: INC-1"
    resumed, events = settled(paused, now=UNTIL)
    assert (resumed.phase, resumed.orders, events) == (Phase.STEADY, (), ["order_ended", "resumed"])


@pytest.mark.parametrize("what", ["retraining", "promotion"])
def test_a_pause_of_builds_lets_checks_go_on(what: str) -> None:
    """A build that is asked for waits, with whose order it waits for."""
    state, events = settled(decide(STEADY, asked("pause", what=(what,))).state)
    assert (state.phase, events) == (Phase.STEADY, [])
    if what == "retraining":
        wanted = decide(state, asked("retrain")).state
        assert decide(wanted).reason.endswith("retraining is paused by ada until 2027-01-15 09:00 UTC: INC-1")
        assert settled(wanted, now=UNTIL)[1][0] == "order_ended"


def test_a_challenger_that_a_pause_held_is_promoted_after_it() -> None:
    """The order of a person holds a swap as the override does, and lets go of it."""
    build = Build(4, Trigger.PERFORMANCE, "loss rose", BuildStep.JUDGE, NOW - HOUR)
    ordered = decide(replace(STEADY, phase=Phase.RETRAINING, build=build), asked("pause", what=("promotion",))).state
    judged = JudgeResult(GateDecision.PROMOTE, "surely better", rows=300)
    held = decide(ordered, StepDone(JudgeArguments(version=4, champion=3, trigger=Trigger.PERFORMANCE), judged))
    assert held.event == Event.APPROVAL_WANTED
    assert "promotion is paused by ada until 2027-01-15 09:00 UTC: INC-1" in held.reason
    assert decide(held.state).event is None
    let_go = decide(decide(held.state, asked("resume")).state)
    assert let_go.event == Event.SWAP_STARTED
    assert let_go.reason.startswith("nothing holds version 4 back any more")


def test_a_silence_is_of_a_feature_that_there_is() -> None:
    """What the model does not know is refused with what there is; the rest counts beside the config's silences."""
    refused = decide(STEADY, asked("silence", feature="prise"))
    assert refused.event == Event.REQUEST_REFUSED
    assert "(there are: price, region)" in refused.reason
    state = decide(STEADY, asked("silence", feature="price")).state
    override = Override("INC-2", silence={"region": UNTIL})
    assert override.with_orders(state.orders, NOW).silenced == {"price", "region"}
    assert override.with_orders(state.orders, UNTIL).silenced == frozenset()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"text": " "}, "needs a reason"),
        ({"until": NOW}, "a time in the future"),
        ({"until": None}, "a time in the future"),
        ({"what": ("checks", "everything")}, "'everything' cannot be paused; there are checks, retraining, promotion"),
    ],
)
def test_an_order_without_reason_or_end_is_refused(given: dict[str, object], words: str) -> None:
    """The refusal says what is missing, and nothing is kept."""
    refused = decide(STEADY, asked("pause", **given))
    assert (refused.event, refused.state) == (Event.REQUEST_REFUSED, STEADY)
    assert words in refused.reason


def test_orders_are_bounded() -> None:
    """A program that orders for ever is refused."""
    many = tuple(Order(OrderKind.SILENCE, f"f{number}", "ci", "x", UNTIL) for number in range(MOST_ORDERS))
    assert decide(replace(STEADY, orders=many), asked("pause")).event == Event.REQUEST_REFUSED


def test_a_later_order_replaces_an_earlier_one() -> None:
    """The same thing is paused once, until what was said last."""
    first = decide(STEADY, asked("pause", what=("checks",))).state
    second = decide(first, asked("pause", what=("checks",), until=NOW + 2 * HOUR)).state
    assert [order.until for order in second.orders] == [NOW + 2 * HOUR]


def test_a_person_ends_what_is_named_or_everything() -> None:
    """Pauses, silences and acknowledgements end one by one or together; where there is none, that is the answer."""
    alarm = OpenAlarm(17, "performance", "mae rose", NOW - HOUR, acknowledged=Acknowledgement("bob", "known", UNTIL))
    state = decide(replace(STEADY, open_alarms=(alarm,)), asked("pause", what=("checks", "promotion"))).state
    state = decide(state, asked("silence", feature="price")).state
    some = decide(state, asked("resume", what=("checks",), feature="price", text="over")).state
    assert [order.subject for order in some.orders] == ["promotion"]
    known = decide(some, asked("resume", alarm=17))
    assert known.state.open_alarms[0].acknowledged is None
    assert len(known.state.orders) == 1
    everything = decide(state, asked("resume", text=""))
    assert everything.event == Event.ORDER_ENDED
    assert (everything.state.orders, everything.state.open_alarms[0].acknowledged) == ((), None)
    nothing = decide(STEADY, asked("resume"))
    assert nothing.event == Event.REQUEST_REFUSED
    assert nothing.reason == "there is no such order of a person (standing: none)"


def test_an_acknowledgement_whose_time_is_over_ends_with_a_line() -> None:
    """It is no longer shown as one, and the history says that its alarm counts again."""
    alarm = OpenAlarm(17, "performance", "mae rose", NOW - HOUR, acknowledged=Acknowledgement("bob", "known", UNTIL))
    state = replace(STEADY, open_alarms=(alarm,))
    ended = decide(state, now=UNTIL)
    assert ended.event == Event.ORDER_ENDED
    assert ended.reason == "the time of an order is over: alarm 17 acknowledged by bob (known)"
    assert ended.state.open_alarms[0].acknowledged is None


def test_what_is_named_twice_is_ordered_once() -> None:
    """A request that repeats itself makes one order of it."""
    assert len(decide(STEADY, asked("pause", what=("checks", "checks"))).state.orders) == 1


def test_the_config_counts_where_both_say_something() -> None:
    """What the override pauses stays paused when a person ends their own pause; both are told so."""
    override = Override("INC-9", pause=frozenset({"checks"}))
    given = decide(STEADY, asked("pause"), override)
    assert given.reason.endswith("; the config's override holds checks too, and counts")
    paused, _ = settled(given.state, override)
    assert decide(paused, override=override).reason == "paused by the override: INC-9"
    ended = decide(paused, asked("resume"), override)
    assert ended.reason.endswith("; the config's override still holds checks: change it there")
    assert settled(ended.state, override)[0].phase is Phase.PAUSED
    again = decide(ended.state, asked("resume"), override)
    assert again.reason.endswith("; the config's override holds checks: change it there")


def test_the_override_of_one_model_has_its_own_reason_and_end() -> None:
    """It pauses and silences beside the fleet's, is told in the history, and outlasts the fleet's end."""
    own = (
        Order(OrderKind.PAUSE, "checks", "the override", "INC-7", UNTIL),
        Order(OrderKind.SILENCE, "price", "the override", "INC-7", UNTIL),
    )
    override = Override("INC-1", expires=NOW - 1, pause=frozenset({"retraining"}), orders=own)
    began = decide(STEADY, override=override)
    assert began.event == Event.OVERRIDE_BEGAN
    assert "checks paused until 2027-01-15 09:00 UTC; price silent until 2027-01-15 09:00 UTC (INC-7)" in began.reason
    paused, events = settled(began.state, override)
    assert (paused.phase, events) == (Phase.PAUSED, ["paused"])
    assert decide(paused, override=override).reason == "paused by the override: INC-7"
    assert decide(paused, asked("resume"), override).reason.endswith("holds checks, price: change it there")
    _, events = settled(paused, override, now=UNTIL)
    assert events == ["override_ended", "resumed"]
    assert "expired at 2027-01-15 09:00 UTC" in decide(paused, override=override, now=UNTIL).reason


def test_orders_survive_the_store() -> None:
    """A state with orders is read back as it was written, and one of before has none."""
    state = decide(STEADY, asked("pause")).state
    assert msgspec.json.decode(msgspec.json.encode(state), type=ModelState) == state
    before = {key: value for key, value in msgspec.to_builtins(STEADY).items() if key != "orders"}
    assert msgspec.convert(before, ModelState).orders == ()
