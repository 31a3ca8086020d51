"""The whole decision as one pure function: `advance(state, finding, facts, settings, override, now) -> Transition`."""

from driftd.policy.advance import advance
from driftd.policy.findings import (
    Alarmed,
    Asked,
    Cleared,
    Facts,
    Faulted,
    Finding,
    Shadowed,
    StepDone,
    StepFailed,
    Ticked,
)
from driftd.policy.restoring import restored
from driftd.policy.settings import Override, PolicySettings

__all__ = [
    "Alarmed",
    "Asked",
    "Cleared",
    "Facts",
    "Faulted",
    "Finding",
    "Override",
    "PolicySettings",
    "Shadowed",
    "StepDone",
    "StepFailed",
    "Ticked",
    "advance",
    "restored",
]
