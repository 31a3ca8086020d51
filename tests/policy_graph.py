"""The reachable graph of the pure policy: its states, the steps between them, and the laws that hold in each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from driftd.events import Event
from driftd.policy import (
    AlarmCleared,
    AlarmRaised,
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    ProbationResult,
    QualityFault,
    QualityOk,
    StepDone,
    StepFailed,
    advance,
    pending_request,
)
from driftd.policy.retry import STEP_OF
from driftd.policy.review import person_of
from driftd.records import (
    Action,
    ActionKind,
    ActionResult,
    Build,
    BuildStep,
    CheckDataResult,
    GateDecision,
    JudgeResult,
    ModelState,
    ModelTestArguments,
    ModelTestResult,
    Phase,
    ProbationDecision,
    RefreshResult,
    RegistryArguments,
    RegistryResult,
    RegistryTask,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainResult,
    Transition,
    Trigger,
    Window,
)
from policy_states import (
    ALARM,
    DAY,
    FIRST,
    LOGGED,
    MANY,
    NOW,
    PAUSED,
    PEOPLE,
    REFRESHING,
    STAGED,
    WINDOW,
    Step,
    World,
    canonical,
    is_attended,
    later,
    limit,
    replace,
)

Walk = Callable[[World, Step], World]


def steps_from(world: World) -> Iterator[Step]:
    """Everything that can happen next."""
    for labels, paused in ((True, False), (False, False), (True, True)):
        yield "tick", ClockTick(), labels, paused
    if world.actions:
        yield "failed", StepFailed(world.actions[0].arguments, "boom"), True, False
        if is_move(world.actions[0]):
            yield "lost", StepFailed(world.actions[0].arguments, "no answer came"), True, False
        yield from (("done", finding, True, False) for finding in results_of(world.actions[0]))
    if not world.stands:
        yield "raised", AlarmRaised(ALARM, 5, Window(7, NOW - DAY, NOW)), True, False
    else:
        yield "cleared", AlarmCleared("performance", "it fell"), True, False
    if world.state.hand_over is not None:
        yield "confirm", OperatorRequest("confirm", "ada", "because", world.state.hand_over.version), True, False
    yield from ((asked.kind, asked, True, False) for asked in asked_of(world))
    yield "fault", QualityFault("a column is gone") if world.state.blocked is None else QualityOk(), True, False


def asked_of(world: World) -> Iterator[OperatorRequest]:
    """Whatever people may ask."""
    until = NOW + 2 * DAY
    yield from (OperatorRequest(kind, "ada", "because", until=until) for kind in PEOPLE)
    if world.settings.has_tests:
        yield OperatorRequest("approve", "bob", "because")
        yield from (OperatorRequest("retry", "ada", "because", stage=stage) for stage in (None, *STEP_OF))
    if world.has_orders:
        for what in ("checks", "retraining", "promotion"):
            yield OperatorRequest("pause", "ada", "because", until=until, what=(what,))
        yield OperatorRequest("resume", "ada")


def results_of(action: Action) -> Iterator[Finding]:
    """What an action can give."""
    if action.kind is ActionKind.SHADOW:
        for decision in ProbationDecision:
            yield ProbationResult(decision, "because", 400)
        return
    if isinstance(action.arguments, RegistryArguments):
        yield from (StepDone(action.arguments, result) for result in registry_results(action.arguments))
        return
    refreshed = [refresh_result(serves) for serves in (1, 2, 3)] + [refresh_result(2, is_broken=True)]
    judged = [JudgeResult(decision, "because", rows=300) for decision in GateDecision]
    results: dict[ActionKind, list[ActionResult | None]] = {
        ActionKind.SNAPSHOT: [SnapshotResult("d", rows=900)],
        ActionKind.CHECK_DATA: [CheckDataResult(passed=passed, sentence="because") for passed in (True, False)],
        ActionKind.TRAIN: [TrainResult(rows=800)],
        ActionKind.TEST: [ModelTestResult(passed=passed, sentence="because") for passed in (True, False)],
        ActionKind.JUDGE: list(judged),
        ActionKind.REFRESH: list(refreshed),
    }
    yield from (StepDone(action.arguments, result) for result in results.get(action.kind, [None]))


def is_move(action: Action) -> bool:
    return isinstance(action.arguments, RegistryArguments) and action.arguments.task is RegistryTask.MOVE


def named_after(world: World, step: Step) -> int | None:
    """What the alias names after its move ended: also where the move was made and its answer is lost."""
    arguments, finding = world.actions[0].arguments, step[1]
    is_made = step[0] == "lost" or (isinstance(finding, StepDone) and getattr(finding.result, "is_fit", False))
    if not is_made or not isinstance(arguments, RegistryArguments) or not is_move(world.actions[0]):
        return world.named
    return arguments.version


def registry_results(arguments: RegistryArguments) -> Iterator[RegistryResult]:
    """What a registry can say: the version is there; the alias names another one; or the version is unfit."""
    yield RegistryResult("because", "7", arguments.version)
    if arguments.task is RegistryTask.LOOK:
        yield RegistryResult("because", "9", None)
        yield RegistryResult("because", "5", 1)
    else:
        yield RegistryResult("because", is_fit=False)


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
        has_snapshot=world.state.failed is not None and world.state.failed.snapshot is not None,
    )
    return advance(world.state, finding, facts, world.settings, PAUSED if paused else Override(), NOW)


def after(world: World, step: Step) -> World:
    """The world after a step; time passes with a tick alone. Holds every law on the way."""
    name, finding, labels, paused = step
    if name == "tick":
        world = canonical(later(world))
    if name in ("done", "failed", "lost"):
        done, world = world, replace(world, actions=world.actions[1:])
        world = replace(world, named=named_after(done, step))
        if isinstance(finding, StepDone) and isinstance(finding.result, JudgeResult) and done.state.build is not None:
            of_build = getattr(finding.arguments, "version", None) == done.state.build.number
            world = replace(world, passed=world.passed or (of_build and finding.result.decision == "promote"))
        if (
            isinstance(finding, StepDone)
            and isinstance(finding.result, ModelTestResult)
            and done.state.build is not None
        ):
            of_build = getattr(finding.arguments, "version", None) == done.state.build.number
            world = replace(world, tested=world.tested or (of_build and finding.result.passed))
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
    if transition.event == Event.BUILD_STARTED or (state.build is None and state.failed is None):
        world = replace(world, passed=False, tested=False)
    if transition.event == Event.BUILD_RETRIED and state.phase is Phase.RETRAINING:  # else it is deployed again
        is_judged = state.build is not None and state.build.step is BuildStep.JUDGE
        is_of_refresh = state.build is not None and state.build.step is BuildStep.TEST and state.build.is_refresh
        world = replace(world, passed=world.passed and is_of_refresh, tested=world.tested and is_judged)
    if transition.event == Event.ALARM_UNATTENDED:
        return replace(world, quiet=0.0, times_told=world.times_told + 1)
    return replace(world, quiet=0.0) if is_attended(world) else world


def hold_laws(world: World, finding: Finding, transition: Transition) -> None:
    """No swap without a reason for it, no wish of a person that is dropped silently, no alarm that is forgotten."""
    before, state = world.state, transition.state
    for action in transition.actions:
        if isinstance(action.arguments, SwapArguments):
            purpose = action.arguments.purpose
            by_person = getattr(finding, "kind", "") in ("rollback", "confirm", ActionKind.REGISTRY)
            rolls_back = isinstance(finding, ProbationResult) or by_person
            assert world.passed if purpose is SwapPurpose.PROMOTE else rolls_back, transition.reason
            if purpose is SwapPurpose.PROMOTE:
                hold_laws_of_stages(world, transition)
            if world.settings.registry is not None and purpose is SwapPurpose.PROMOTE:
                assert before.registry is not None
                assert before.registry.alias == action.arguments.version, "a promotion did not wait for the alias"
    assert state.champion == before.champion or (isinstance(finding, StepDone) and finding.kind is ActionKind.SWAP)
    wish = pending_request(before)
    if wish is not None and wish.trigger is Trigger.MANUAL and pending_request(state) != wish:
        is_begun = state.build is not None and state.build.requested_at == wish.since
        is_renewed = isinstance(finding, OperatorRequest) and finding.kind == "retrain"
        assert is_begun or is_renewed, f"a person's wish is gone: {transition.event} {transition.reason}"
    own = before.want if wish is None else None
    if own is not None and own.trigger is Trigger.MANUAL and state.want is None:
        assert transition.event is not None, f"a person's build ends in silence: {transition.reason}"
    if before.orders != state.orders:
        assert transition.event in (Event.ORDER_GIVEN, Event.ORDER_ENDED), f"an order changes in silence: {state}"
    if state.phase is Phase.PAUSED and before.phase is not Phase.PAUSED:
        assert isinstance(finding, ClockTick), transition.reason
    if world.stands and state.champion == before.champion and not isinstance(finding, AlarmCleared):
        assert state.open_alarms, f"the alarm is forgotten: {transition.event} {transition.reason}"


def hold_laws_of_stages(world: World, transition: Transition) -> None:
    """What is promoted has passed its tests, and as many people approved it as the config asks for."""
    build = transition.state.build
    assert build is not None
    if world.settings.has_tests:
        assert world.tested, f"what its tests did not pass is promoted: {transition.reason}"
    if world.settings.review_people > 1:
        approved = {person_of(who) for who in build.approved_by}
        assert len(approved) > 1, f"too few people approved: {transition.reason}"
        assert person_of(build.requested_by) not in approved, f"who asked for a build approved it: {transition.reason}"


START = World(ModelState("demand", champion=2, previous=1))


REFRESHED = replace(START, settings=REFRESHING)
STAGES = replace(START, settings=STAGED)
STAGES_OF_REFRESHES = replace(
    START, settings=replace(STAGED, retrain_on=REFRESHING.retrain_on, refresh=REFRESHING.refresh)
)
_TESTED = Build(3, Trigger.PERFORMANCE, "", BuildStep.TEST, NOW, snapshot="d", alarm=None)
STAGES_UNDER_TEST = replace(  # of a model whose challenger is trained, and is being tested
    STAGES,
    state=replace(START.state, phase=Phase.RETRAINING, build=_TESTED),
    actions=(Action(ModelTestArguments(version=3, candidate=3, champion=2)),),
)
STAGES_IN_REVIEW = replace(
    STAGES,
    state=replace(
        START.state,
        phase=Phase.AWAITING_APPROVAL,
        build=replace(_TESTED, step=BuildStep.JUDGE, judged_against=2, review_since=NOW),
    ),
    passed=True,
    tested=True,
)
ORDERED = replace(START, has_orders=True)


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


def steps_once() -> Walk:
    """`after`, where a world and the name of a step tell the finding: ways run together, and no step is made twice."""
    known: dict[tuple[World, str], World] = {}

    def walk(world: World, step: Step) -> World:
        key = world, step[0]
        if key not in known:
            known[key] = after(world, step)
        return known[key]

    return walk


def is_acted_on(world: World, walk: Walk) -> bool:
    """Whether a build for the alarm begins, once nothing stands in its way and no other build comes to an end."""
    if world.state.blocked is not None:
        world = walk(world, ("whole", QualityOk(), True, False))
    for _ in range(16):
        before = world.state
        world = walk(world, ("tick", ClockTick(), True, False))
        begun = world.state.build
        if begun is not None and begun.alarm == 1 and (before.build is None or begun.started_at >= NOW - 1):
            return True
        if world.state.phase is Phase.AWAITING_APPROVAL:
            world = walk(world, ("reject", OperatorRequest("reject", "ada"), True, False))
        for _ in range(8):
            if not world.actions or not world.stands:
                break
            world = walk(world, ("done", _refusal(world, world.actions[0]), True, False))
        if not world.stands:
            return True  # another version serves
    return False


def is_named(world: World, walk: Walk) -> bool:
    """Whether the alias comes to name what serves, once the registry answers; with builds that come to no swap."""
    for _ in range(24):
        world = walk(world, ("tick", ClockTick(), True, False))
        known, build = world.state.registry, world.state.build
        is_known = known is not None and known.alias == world.state.champion
        if is_known:
            assert world.named == known.alias, f"the alias is not where it is believed to be: {world}"
        if is_known and world.state.phase is not Phase.RETRAINING:
            return True
        if world.state.phase is Phase.AWAITING_APPROVAL:
            world = walk(world, ("reject", OperatorRequest("reject", "ada"), True, False))
        if world.actions:
            world = walk(world, ("done", _refusal(world, world.actions[0]), True, False))
        if build is not None and is_known:
            return True
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
    seen, walk = explore(start, most), steps_once()
    for world in seen:
        if world.stands:
            assert is_acted_on(world, walk), f"a standing alarm is never acted on: {world}"
        if world.settings.registry is not None:
            assert is_named(world, walk), f"the alias never names what serves: {world}"
    return len(seen)
