"""States, facts and findings for the tests of the policy."""

from __future__ import annotations

from dataclasses import replace

from driftd.events import Event
from driftd.policy import (
    AlarmRaised,
    Facts,
    Override,
    PolicySettings,
    advance,
)
from driftd.records import (
    ActionArguments,
    ActionKind,
    Alarm,
    Build,
    BuildStep,
    JudgeArguments,
    ModelState,
    Phase,
    Probation,
    SnapshotArguments,
    SwapArguments,
    SwapPurpose,
    TrainArguments,
    Transition,
    Trigger,
    Window,
)

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
SETTINGS = PolicySettings()
WINDOW = Window(7, NOW - HOUR, NOW)
FACTS = Facts(next_version=4, versions=frozenset({1, 2, 3}), labels=1000)


def build(step: BuildStep = BuildStep.SNAPSHOT, **changes: object) -> Build:
    made = Build(4, Trigger.PERFORMANCE, "loss rose", step, NOW - HOUR, change_at=NOW - DAY)
    return replace(made, **changes)  # type: ignore[arg-type]


STEADY = ModelState("demand", champion=3, previous=2)
JUDGING = JudgeArguments(version=4, trigger=Trigger.PERFORMANCE)
STEPS: dict[ActionKind, ActionArguments] = {  # of the build above
    ActionKind.SNAPSHOT: SnapshotArguments(4),
    ActionKind.TRAIN: TrainArguments(4, "abc", Trigger.PERFORMANCE, "loss rose"),
    ActionKind.JUDGE: JUDGING,
    ActionKind.SWAP: SwapArguments(4, SwapPurpose.PROMOTE, 3),
}
STATES = {
    Phase.STEADY: STEADY,
    Phase.RETRAINING: replace(STEADY, phase=Phase.RETRAINING, build=build()),
    Phase.AWAITING_APPROVAL: replace(STEADY, phase=Phase.AWAITING_APPROVAL, build=build(BuildStep.JUDGE)),
    Phase.PROBATION: replace(STEADY, phase=Phase.PROBATION, probation=Probation(2, NOW - HOUR)),
    Phase.PAUSED: replace(STEADY, phase=Phase.PAUSED, resumes=Phase.STEADY),
}


def alarm(kind: str = "performance") -> AlarmRaised:
    return AlarmRaised(Alarm(kind, "brier", 2000.0, 1000.0, f"{kind} drifted", change_start=NOW - DAY), 11, WINDOW)


def decide(
    state: ModelState,
    finding: object,
    facts: Facts = FACTS,
    override: Override | None = None,
    settings: PolicySettings = SETTINGS,
    now: float = NOW,
) -> Transition:
    """Decide; the line of history that only notes a new override is passed over."""
    transition = advance(state, finding, facts, settings, override or Override(), now)  # type: ignore[arg-type]
    if transition.event in {Event.OVERRIDE_BEGAN, Event.OVERRIDE_CHANGED, Event.OVERRIDE_ENDED}:
        return advance(transition.state, finding, facts, settings, override or Override(), now)  # type: ignore[arg-type]
    return transition


def kinds(transition: Transition) -> list[ActionKind]:
    return [action.kind for action in transition.actions]
