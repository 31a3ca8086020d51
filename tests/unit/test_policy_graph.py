"""The reachable graph of policy: every state that some order of findings leads to, with time in steps of a day."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import pytest

from driftd.events import Event
from driftd.policy import (
    AlarmCleared,
    AlarmRaised,
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    ProbationResult,
    QualityFault,
    QualityOk,
    RefreshSettings,
    StepDone,
    StepFailed,
    advance,
    pending_request,
)
from driftd.records import (
    Action,
    ActionKind,
    ActionResult,
    Alarm,
    BuildStep,
    GateDecision,
    HandOver,
    JudgeResult,
    ModelState,
    OpenAlarm,
    Phase,
    ProbationDecision,
    RefreshResult,
    RefreshState,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainResult,
    Transition,
    Trigger,
    Window,
)

DAY, NOW = 86_400.0, 1_800_000_000.0
SPAN = 8 * DAY  # times further away than that are alike
SETTINGS = PolicySettings(
    cooldown=DAY,
    budget_builds=1,
    budget_per=DAY,
    backoff_first=DAY,
    backoff_most=2 * DAY,
    most_failures=2,
    collect_for=60 * DAY,  # never over within the graph: a build may collect rows for ever
    approval="manual",
    probation_span=DAY,
    attend_within=2 * DAY,
    judged_after=2 * DAY,
)
WINDOW = 100  # that is open: a window is a day
REFRESHING = replace(SETTINGS, retrain_on=SETTINGS.retrain_on | {Trigger.REFRESH}, refresh=RefreshSettings())
FIRST = RefreshState(WINDOW, 1000.0, NOW)
ALARM = Alarm("performance", "mae", 2000.0, 1000.0, "mae rose", change_start=NOW)
PAUSED = Override("INC-1", pause=frozenset({"retraining"}))
LOGGED: frozenset[int] = frozenset()  # versions of which there are only logged predictions
MANY = 1_000_000  # labels
PEOPLE = ("retrain", "approve", "reject", "rollback", "acknowledge")
REPORTS = (SETTINGS.attend_within, DAY, 2 * DAY, 4 * DAY, 7 * DAY)  # after how long a person is told, and told again
AT_WORK = (BuildStep.SNAPSHOT, BuildStep.TRAIN, BuildStep.JUDGE, BuildStep.REFRESH, BuildStep.SWAP)


@dataclass(frozen=True)
class World:
    """What policy remembers at `NOW`, the actions under way, and what is true whatever policy thinks."""

    state: ModelState
    actions: tuple[Action, ...] = ()
    stands: bool = False  # the evidence of performance is over its threshold
    quiet: float = 0.0  # seconds since the alarm was raised, acted on or told of
    times_told: int = 0  # how often a person was told that nothing is done
    passed: bool = False  # the challenger won its gate, or a refresh chose it
    settings: PolicySettings = SETTINGS

    @property
    def versions(self) -> frozenset[int]:
        return frozenset({1, 2} | ({3} if self.state.build is not None else set()))


Step = tuple[str, Finding, bool, bool]  # name, finding, whether labels are there, whether retraining is paused


def steps_from(world: World) -> Iterator[Step]:
    """Everything that can happen next."""
    for labels, paused in ((True, False), (False, False), (True, True)):
        yield "tick", ClockTick(), labels, paused
    if world.actions:
        yield "failed", StepFailed(world.actions[0].arguments, "boom"), True, False
        yield from (("done", finding, True, False) for finding in results_of(world.actions[0]))
    if not world.stands:
        yield "raised", AlarmRaised(ALARM, 5, Window(7, NOW - DAY, NOW)), True, False
    else:
        yield "cleared", AlarmCleared("performance", "it fell"), True, False
    if world.state.hand_over is not None:
        yield "confirm", OperatorRequest("confirm", "ada", "because", world.state.hand_over.version), True, False
    for kind in PEOPLE:
        yield kind, OperatorRequest(kind, "ada", "because", until=NOW + 2 * DAY), True, False
    yield "fault", QualityFault("a column is gone") if world.state.blocked is None else QualityOk(), True, False


def results_of(action: Action) -> Iterator[Finding]:
    """What an action can give."""
    if action.kind is ActionKind.SHADOW:
        for decision in ProbationDecision:
            yield ProbationResult(decision, "because", 400)
        return
    refreshed = [refresh_result(serves) for serves in (1, 2, 3)] + [refresh_result(2, is_broken=True)]
    judged = [JudgeResult(decision, "because", rows=300) for decision in GateDecision]
    results: dict[ActionKind, list[ActionResult | None]] = {
        ActionKind.SNAPSHOT: [SnapshotResult("d", rows=900)],
        ActionKind.TRAIN: [TrainResult(rows=800)],
        ActionKind.JUDGE: list(judged),
        ActionKind.REFRESH: list(refreshed),
    }
    yield from (StepDone(action.arguments, result) for result in results.get(action.kind, [None]))


def refresh_result(serves: int, *, is_broken: bool = False) -> RefreshResult:
    """What a refresh can say: its own version 3 is to serve, the champion 2 serves on, or the older 1 is better."""
    return RefreshResult(
        serves=serves,
        sentence="because",
        recipe="all",
        rows=900,
        effective=1000.0,
        mature_until=NOW,
        is_broken=is_broken,
    )


def decide(world: World, finding: Finding, labels: bool, paused: bool) -> Transition:
    facts = Facts(
        next_version=4,
        versions=world.versions,
        labels=MANY if labels else 0,
        working=frozenset(action.kind for action in world.actions),
        logged=LOGGED,
        window=WINDOW,
        fresh_labels=MANY if labels else 0,
        first_refresh=FIRST,
    )
    return advance(world.state, finding, facts, world.settings, PAUSED if paused else Override(), NOW)


def after(world: World, step: Step) -> World:
    """The world after a step; time passes with a tick alone. Holds every law on the way."""
    name, finding, labels, paused = step
    if name == "tick":
        world = canonical(later(world))
    if name in ("done", "failed"):
        done, world = world, replace(world, actions=world.actions[1:])
        if isinstance(finding, StepDone) and isinstance(finding.result, JudgeResult) and done.state.build is not None:
            of_build = getattr(finding.arguments, "version", None) == done.state.build.number
            world = replace(world, passed=world.passed or (of_build and finding.result.decision == "promote"))
        if isinstance(finding, StepDone) and isinstance(finding.result, RefreshResult) and done.state.build is not None:
            is_current = finding.arguments == msgspec.structs.replace(finding.arguments, champion=done.state.champion)
            of_build = getattr(finding.arguments, "version", None) == done.state.build.number
            chosen = finding.result.serves != done.state.champion and not finding.result.is_broken
            world = replace(world, passed=is_current and of_build and chosen)
    if name in ("raised", "cleared"):
        world = replace(world, stands=name == "raised", quiet=0.0, times_told=0)
    for _ in range(8):
        transition = decide(world, finding, labels, paused)
        hold_laws(world, finding, transition)
        world = canonical(moved(world, finding, transition))
        if name != "tick" or (transition.event is None and not transition.actions):
            break
    else:
        raise AssertionError(f"policy goes round: {transition.event} {transition.reason}")
    if world.stands and name == "tick":
        assert world.quiet < limit(world) + DAY, f"nothing is done or told: {world.state}"
    return world


def moved(world: World, finding: Finding, transition: Transition) -> World:
    """The world once a transition has landed."""
    state = transition.state
    fresh = tuple(action for action in transition.actions if action.kind is not ActionKind.REPORT)
    is_swap = isinstance(finding, StepDone) and finding.kind is ActionKind.SWAP and state.champion is not None
    world = replace(world, state=state, actions=(*world.actions, *fresh))
    if is_swap:
        world = replace(world, stands=False, quiet=0.0, times_told=0)
    if transition.event == Event.BUILD_STARTED or state.build is None:
        world = replace(world, passed=False)
    if transition.event == Event.ALARM_UNATTENDED:
        return replace(world, quiet=0.0, times_told=world.times_told + 1)
    return replace(world, quiet=0.0) if is_attended(world) else world


def is_attended(world: World) -> bool:
    state = world.state
    if any(alarm.acknowledged is not None and alarm.acknowledged.until > NOW for alarm in state.open_alarms):
        return True
    at_work = state.phase is Phase.RETRAINING and state.build is not None and state.build.step in AT_WORK
    return at_work or state.phase is Phase.AWAITING_APPROVAL or not world.stands


def limit(world: World) -> float:
    return REPORTS[min(world.times_told, len(REPORTS) - 1)]


def hold_laws(world: World, finding: Finding, transition: Transition) -> None:
    """No swap without a reason for it, no wish of a person that is dropped silently, no alarm that is forgotten."""
    before, state = world.state, transition.state
    for action in transition.actions:
        if isinstance(action.arguments, SwapArguments):
            purpose = action.arguments.purpose
            by_person = getattr(finding, "kind", "") in ("rollback", "confirm")
            rolls_back = isinstance(finding, ProbationResult) or by_person
            assert world.passed if purpose is SwapPurpose.PROMOTE else rolls_back, transition.reason
    assert state.champion == before.champion or (isinstance(finding, StepDone) and finding.kind is ActionKind.SWAP)
    wish = pending_request(before)
    if wish is not None and wish.trigger is Trigger.MANUAL and pending_request(state) != wish:
        is_begun = state.build is not None and state.build.requested_at == wish.since
        is_renewed = isinstance(finding, OperatorRequest) and finding.kind == "retrain"
        assert is_begun or is_renewed, f"a person's wish is gone: {transition.event} {transition.reason}"
    own = before.want if wish is None else None
    if own is not None and own.trigger is Trigger.MANUAL and state.want is None:
        assert transition.event is not None, f"a person's build ends in silence: {transition.reason}"
    if world.stands and state.champion == before.champion and not isinstance(finding, AlarmCleared):
        assert state.open_alarms, f"the alarm is forgotten: {transition.event} {transition.reason}"


def later(world: World) -> World:
    """A day later: every time moves a day back."""
    state = msgspec.convert(_shifted(msgspec.to_builtins(world.state), DAY), ModelState)
    if state.probation is not None:  # a day later another window is open
        state = replace(state, probation=replace(state.probation, window=-1))
    if state.refresh is not None:
        refresh = state.refresh
        extra = tuple(max(window - 1, WINDOW) for window in refresh.extra)
        state = replace(state, refresh=replace(refresh, window=max(refresh.window - 1, WINDOW - 8), extra=extra))
    return replace(world, state=state, quiet=world.quiet + DAY if world.stands else 0.0)


TIMES = {"retry_at", "since", "started_at", "requested_at", "reported_at", "until", "looked_at"}
TIMES |= {"cooldown_until", "backoff_until", "change_at"}


def _shifted(value: object, by: float) -> object:
    """Times moved back by so much, within `SPAN` of now; 0 stays "never"."""
    if isinstance(value, dict):
        return {
            name: _near(float(item) - by) if name in TIMES and item else _shifted(item, by)
            for name, item in value.items()
            if name != "build_starts"
        } | ({"build_starts": [_near(at - by) for at in value["build_starts"]]} if "build_starts" in value else {})
    return [_shifted(item, by) for item in value] if isinstance(value, list | tuple) else value


def _near(at: float) -> float:
    return min(max(at, NOW - SPAN), NOW + SPAN)


def canonical(world: World) -> World:
    """The same world with the names of versions and alarms, texts and counts that decide nothing made alike."""
    state = world.state
    number = None if state.build is None else state.build.number
    names = {1: 1, state.champion: 2, number: 3, None: None}
    names |= {} if state.previous is None or state.previous == number else {state.previous: 1}
    alarms = {alarm.number: 1 for alarm in state.open_alarms} | {None: None}
    build, want, probation = state.build, state.want, state.probation
    is_own = pending_request(state) is None
    if build is not None:
        build = replace(build, started_at=max(build.started_at, NOW - 4 * DAY), change_at=None, requested_at=NOW - 1)
        judged = None if build.judged_against is None else names.get(build.judged_against, 9)
        build = replace(build, number=3, reason="", decision="", judgements=0, judged_against=judged)
        build = replace(
            build,
            serves=names.get(build.serves, 9),
            alarm=alarms.get(build.alarm, 9),
            judged_labels=min(build.judged_labels, 300),
        )
    if want is not None:
        want = replace(want, reason="", alarm=alarms.get(want.alarm, 9), failures=min(want.failures, 2))
        want = replace(want, since=NOW - 1 if is_own else NOW, change_at=None)
        want = replace(want, labels_needed=min(want.labels_needed, 600))
    if probation is not None:
        probation = replace(probation, previous=names.get(probation.previous, 9), sentence="", labels=0)
        probation = replace(probation, window=min(probation.window, WINDOW))
        looked_at = probation.looked_at and max(probation.looked_at, NOW - 2 * DAY)
        probation = replace(probation, since=max(probation.since, NOW - 2 * DAY), looked_at=looked_at)
    recent = tuple(at for at in state.build_starts if at > NOW - SETTINGS.budget_per)
    open_alarms = tuple(
        replace(
            _without_lapsed(alarm),
            number=1,
            sentence="",
            reports=min(alarm.reports, 4),
            since=max(alarm.since, NOW - 3 * DAY),
            change_at=None,
        )
        for alarm in state.open_alarms
    )
    state = replace(
        state,
        champion=2,
        previous=names.get(state.previous, 9),
        build=build,
        want=want,
        probation=probation,
        open_alarms=open_alarms,
        failures=min(state.failures, 3),
        build_starts=recent,
        cooldown_until=state.cooldown_until if state.cooldown_until > NOW else 0.0,
        backoff_until=state.backoff_until if state.backoff_until > NOW else 0.0,
        barred=(),
        asked=(),
        blocked=None if state.blocked is None else "gone",
        waits=None if state.waits is None else "waits",
        served_since=0.0,
        hand_over=_without_texts(state.hand_over, names),
        served=(),
        refresh=None if state.refresh is None else _without_names(state.refresh, alarms),
    )
    actions = tuple(_renamed(action, names) for action in world.actions)
    return replace(world, state=state, actions=actions, times_told=min(world.times_told, 4))


def _without_texts(hand_over: HandOver | None, names: dict[int | None, int | None]) -> HandOver | None:
    if hand_over is None:
        return None
    version, before = names.get(hand_over.version, 9), names.get(hand_over.from_version, 9)
    assert version is not None
    plain = replace(hand_over, version=version, from_version=before, reason="", error="", delivery="")
    return replace(plain, attempts=min(hand_over.attempts, 2), since=NOW)


def _without_lapsed(alarm: OpenAlarm) -> OpenAlarm:
    lapsed = alarm.acknowledged is not None and alarm.acknowledged.until <= NOW
    return replace(alarm, acknowledged=None) if lapsed else alarm


def _without_names(refresh: RefreshState, alarms: dict[int | None, int | None]) -> RefreshState:
    return replace(refresh, alarm=alarms.get(refresh.alarm, 9), change_at=None, mature_until=NOW, recipe=None)


def _renamed(action: Action, names: dict[int | None, int | None]) -> Action:
    values = msgspec.to_builtins(action.arguments)
    for name in ("version", "champion", "parent", "from", "new", "old"):
        if name in values:
            values[name] = names.get(values[name], 9)
    for name in ("reason", "sentence"):
        if name in values:
            values[name] = ""
    if "served" in values:
        values |= {"served": (), "recipe": None}
    for name in ("change_at", "since", "until"):
        if values.get(name):
            values[name] = NOW if name == "since" else None
    if "attempt" in values:
        values["attempt"] = min(values["attempt"], 2)
    return Action(msgspec.convert(values, type(action.arguments)))


START = World(ModelState("demand", champion=2, previous=1))


REFRESHED = replace(START, settings=REFRESHING)


def explore(start: World, most: int) -> set[World]:
    """The states that some order of steps leads to, breadth first, as many as asked for."""
    seen, waiting = {start}, deque([start])
    while waiting and len(seen) < most:
        world = waiting.popleft()
        for step in steps_from(world):
            following = after(world, step)
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return seen


def is_acted_on(world: World) -> bool:
    """Whether a build for the alarm begins, once nothing stands in its way and no other build comes to an end."""
    if world.state.blocked is not None:
        world = after(world, ("whole", QualityOk(), True, False))
    for _ in range(16):
        before = world.state
        world = after(world, ("tick", ClockTick(), True, False))
        begun = world.state.build
        if begun is not None and begun.alarm == 1 and (before.build is None or begun.started_at >= NOW - 1):
            return True
        if world.state.phase is Phase.AWAITING_APPROVAL:
            world = after(world, ("reject", OperatorRequest("reject", "ada"), True, False))
        for _ in range(8):
            if not world.actions or not world.stands:
                break
            world = after(world, ("done", _refusal(world, world.actions[0]), True, False))
        if not world.stands:
            return True  # another version serves
    return False


def _refusal(world: World, action: Action) -> Finding:
    if action.kind is ActionKind.SHADOW:
        return ProbationResult(ProbationDecision.CONFIRM, "because", 400)
    if action.kind is ActionKind.REFRESH:
        return StepDone(action.arguments, refresh_result(2))
    if action.kind is ActionKind.JUDGE:
        is_its_own = world.state.build is not None and world.state.build.alarm == 1
        decision = GateDecision.REJECT if is_its_own else GateDecision.INCONCLUSIVE
        return StepDone(action.arguments, JudgeResult(decision, "because", rows=300))
    return next(results_of(action))


def hold_the_graph(start: World, most: int) -> int:
    seen = explore(start, most)
    for world in seen:
        if world.stands:
            assert is_acted_on(world), f"a standing alarm is never acted on: {world}"
    return len(seen)


@pytest.mark.parametrize("start", [START, REFRESHED], ids=["builds", "refreshes"])
def test_the_near_graph_holds_every_law(start: World) -> None:
    """Within a few hundred states: alarms are acted on or told of, swaps have a reason, wishes are kept."""
    assert hold_the_graph(start, 300) >= 300


@pytest.mark.slow
@pytest.mark.parametrize("states", [8_000, pytest.param(15_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("start", [START, REFRESHED], ids=["builds", "refreshes"])
def test_the_far_graph_holds_every_law(start: World, states: int) -> None:
    """The same of the first thousands of states, breadth first: all that a dozen or so steps lead to."""
    assert hold_the_graph(start, states) >= states


@pytest.fixture(params=[frozenset(), frozenset({1})], ids=["artefacts", "logged"])
def external(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """Where a model that another system serves begins; its earlier version has an artefact or only a log."""
    monkeypatch.setattr(sys.modules[__name__], "LOGGED", request.param)
    return replace(START, settings=replace(SETTINGS, is_external=True, can_tell=True, confirm_within=2 * DAY))


def test_the_near_graph_of_an_external_model_holds_every_law(external: World) -> None:
    """Where a swap is a hand-over too, the champion changes by a finished swap alone, and alarms are acted on."""
    assert hold_the_graph(external, 400) >= 400


@pytest.mark.soak
def test_the_far_graph_of_an_external_model_holds_every_law(external: World) -> None:
    """The same of the first three thousand states."""
    assert hold_the_graph(external, 3_000) >= 3_000
