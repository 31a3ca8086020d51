"""The whole decision as one pure function: `advance(state, finding, facts, settings, override, now) -> Transition`."""

from driftd.policy.advance import advance
from driftd.policy.inputs import (
    AlarmCleared,
    AlarmRaised,
    AlarmStanding,
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    ProbationResult,
    QualityFault,
    QualityOk,
    StepDone,
    StepFailed,
)
from driftd.policy.recovery import reconcile_restored

__all__ = [
    "AlarmCleared",
    "AlarmRaised",
    "AlarmStanding",
    "ClockTick",
    "Facts",
    "Finding",
    "OperatorRequest",
    "Override",
    "PolicySettings",
    "ProbationResult",
    "QualityFault",
    "QualityOk",
    "StepDone",
    "StepFailed",
    "advance",
    "reconcile_restored",
]
