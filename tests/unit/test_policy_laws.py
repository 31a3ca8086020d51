"""Laws of policy that hold on every road through it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from driftd.policy import (
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
    RegistrySettings,
    StepDone,
    StepFailed,
    advance,
)
from driftd.records import (
    Action,
    ActionKind,
    ActionResult,
    Alarm,
    CheckDataResult,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    ModelTestResult,
    Phase,
    ProbationDecision,
    RegistryArguments,
    RegistryResult,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainArguments,
    TrainResult,
    Transition,
    Trigger,
    Window,
)

NOW = 1_800_000_000.0
BUILD_STEPS = frozenset({ActionKind.SNAPSHOT, ActionKind.TRAIN, ActionKind.JUDGE})

alarms = st.builds(
    AlarmRaised,
    st.builds(
        Alarm,
        st.sampled_from(["data", "prediction", "performance", "quality"]),
        st.just("x"),
        st.just(2.0),
        st.just(1.0),
        st.just("it moved"),
        st.sampled_from([None, NOW]),
    ),
    st.just(1),
    st.just(Window(1, NOW, NOW + 1)),
)
asked = st.builds(
    OperatorRequest,
    st.sampled_from(["retrain", "retry", "approve", "reject", "rollback"]),
    st.sampled_from(["ada", "bob"]),
    st.just(""),
    st.sampled_from([None, 1, 2, 3]),
)
steps = st.one_of(
    st.just(ClockTick()),
    st.just(ClockTick()),
    alarms,
    asked,
    st.just(QualityFault("gone")),
    st.just(QualityOk()),
    st.just("finish"),
    st.just("finish"),
    st.just("fail"),
)
SHADOWED = {
    GateDecision.PROMOTE: ProbationDecision.CONFIRM,
    GateDecision.REJECT: ProbationDecision.ROLL_BACK,
    GateDecision.INCONCLUSIVE: ProbationDecision.CONTINUE,
}
decisions = st.sampled_from(GateDecision)
overrides = st.sampled_from(
    [
        Override(),
        Override(),
        Override("x", pause=frozenset({"checks"})),
        Override("x", pause=frozenset({"retraining"})),
        Override("x", pause=frozenset({"promotion"})),
        Override("x", pin=1),
        Override("x", pin=2),
        Override("x", approve=2, silence={"price": NOW + 50_000}),
        Override("x", expires=NOW + 40_000, pin=1, pause=frozenset({"promotion"})),
        Override("x", retrain="now"),
    ]
)


def finding_for(action: Action, ends: str, decision: GateDecision) -> Finding:
    """What the shell would report of an action."""
    if ends == "fail":
        return StepFailed(action.arguments, "boom")
    if action.kind is ActionKind.SHADOW:
        return ProbationResult(SHADOWED[decision], "because", 400)
    results: dict[ActionKind, ActionResult] = {
        ActionKind.SNAPSHOT: SnapshotResult("d", rows=900, rows_since_change=100),
        ActionKind.CHECK_DATA: CheckDataResult(decision is not GateDecision.REJECT, "because"),
        ActionKind.TRAIN: TrainResult(rows=800),
        ActionKind.TEST: ModelTestResult(decision is not GateDecision.REJECT, "because"),
        ActionKind.JUDGE: JudgeResult(decision, "because", rows=900),
    }
    if isinstance(action.arguments, RegistryArguments):
        return StepDone(action.arguments, RegistryResult("because", "7", action.arguments.version))
    return StepDone(action.arguments, results.get(action.kind))


class World:
    """A model, its open actions, and what the gate said of each version."""

    def __init__(self, registry: RegistrySettings | None = None, *, staged: bool = False) -> None:
        self.registry = registry
        self.staged = staged
        self.tested: set[int] = set()
        self.state = ModelState("demand", champion=1)
        self.open: list[Action] = []
        self.versions = {1}
        self.promoted_by_gate: set[int] = set()

    def step(self, step: object, decision: GateDecision, override: Override, approval: str, now: float) -> Transition:
        if step in ("finish", "fail"):
            if not self.open:
                return Transition(self.state, "nothing to finish")
            action = self.open.pop(0)
            finding = finding_for(action, str(step), decision)
            if isinstance(action.arguments, JudgeArguments) and step == "finish" and decision is GateDecision.PROMOTE:
                self.promoted_by_gate.add(action.arguments.version)
            if isinstance(finding, StepDone) and isinstance(finding.result, ModelTestResult) and finding.result.passed:
                self.tested.add(action.arguments.version)  # type: ignore[union-attr]
            if isinstance(action.arguments, TrainArguments) and step == "finish":
                self.versions.add(action.arguments.version)
        else:
            finding = step  # type: ignore[assignment]
        highest = max(*self.versions, *self.state.barred, self.state.build.number if self.state.build else 0, 1)
        facts = Facts(highest + 1, frozenset(self.versions), 500, working=frozenset(a.kind for a in self.open))
        settings_ = PolicySettings(retrain_on=frozenset(Trigger), approval=approval, cooldown=10.0, budget_builds=99)  # type: ignore[arg-type]
        settings_ = replace(settings_, registry=self.registry)
        if self.staged:
            staged = {"has_checks": True, "has_tests": True, "review_people": 2, "review_expires": 40_000.0}
            settings_ = replace(settings_, **staged)
            facts = replace(facts, has_snapshot=True)
        before = self.state
        transition = advance(before, finding, facts, settings_, override, now)
        self._hold_laws(before, finding, transition)
        self.state = transition.state
        self.open.extend(transition.actions)
        return transition

    def _hold_laws(self, before: ModelState, finding: Finding, transition: Transition) -> None:
        after = transition.state
        assert transition.reason
        is_swap_done = isinstance(finding, StepDone) and finding.kind is ActionKind.SWAP
        assert after.champion == before.champion or is_swap_done, "the champion changes only by a finished swap"
        for action in transition.actions:
            swap = action.arguments if isinstance(action.arguments, SwapArguments) else None
            if swap is not None and swap.purpose is SwapPurpose.PROMOTE:
                assert swap.version in self.promoted_by_gate, "no promotion without the gate's yes"
                assert not self.staged or swap.version in self.tested, "no promotion of what its tests did not pass"
            if swap is not None and before.pinned is not None:
                assert swap.purpose is SwapPurpose.PIN, (
                    "while a version is pinned nothing is swapped, but to another pin"
                )
            if action.kind is ActionKind.SNAPSHOT:
                assert before.blocked is None or before.build is not None, "no build begins on a broken pipeline"
        assert sum(a.kind is ActionKind.SWAP for a in (*self.open, *transition.actions)) <= 1, "one swap at a time"
        if after.phase is Phase.PROBATION:
            assert after.probation is not None
        if after.phase in (Phase.RETRAINING, Phase.AWAITING_APPROVAL):
            assert after.build is not None
        if after.phase is Phase.STEADY:
            assert after.build is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(steps, decisions, overrides, st.floats(1, 90_000)), min_size=5, max_size=60),
    st.sampled_from(["auto", "manual"]),
    st.sampled_from([None, RegistrySettings("http://ml demand@champion")]),
    st.booleans(),
)
def test_no_road_breaks_the_invariants(
    road: list[tuple[object, str, Override, float]], approval: str, registry: RegistrySettings | None, staged: bool
) -> None:
    """On every road of findings: no promotion without a gate's yes, no champion changed but by a finished swap."""
    world, now = World(registry, staged=staged), NOW
    for step, decision, override, span in road:
        now += span
        world.step(step, decision, override, approval, now)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(steps, st.floats(1, 9_000)), min_size=5, max_size=60))
def test_an_inconclusive_gate_never_promotes(road: list[tuple[object, float]]) -> None:
    """Where every judgement is inconclusive, the first champion serves for ever, unless a person swaps."""
    world, now = World(), NOW
    for step, span in road:
        now += span
        if isinstance(step, OperatorRequest) and step.kind == "rollback":
            continue
        world.step(step, "inconclusive", Override(), "auto", now)
    assert world.state.champion == 1
