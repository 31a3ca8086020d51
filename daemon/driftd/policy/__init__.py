"""The whole decision as one pure function: `advance(state, finding, facts, settings, override, now) -> Transition`."""

from driftd.policy.advance import advance
from driftd.policy.alarms import LEVELS, pending_request
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
    RefreshSettings,
    RegistrySettings,
    StepDone,
    StepFailed,
)
from driftd.policy.recovery import reconcile_restored
from driftd.policy.registry import registry_due

__all__ = [
    "LEVELS",
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
    "RefreshSettings",
    "RegistrySettings",
    "StepDone",
    "StepFailed",
    "advance",
    "pending_request",
    "reconcile_restored",
    "registry_due",
]
