"""What is told of a version that another system is to serve."""

from __future__ import annotations

from driftd.formatting import format_time
from driftd.records import HandOver, HandOverStage

_STAGES = {  # of a hand-over in which nobody need do anything
    HandOverStage.DELIVER: "the other system is being told to serve version {0}",
    HandOverStage.CONFIRMED: "version {0} is confirmed and is being taken up",
    HandOverStage.TAKE_BACK: "the other system is being told to serve version {1} again instead of {0}; builds "
    "wait until it was told, or until `driftd confirm` says that version {1} serves",
}


def is_awaited(hand_over: HandOver) -> bool:
    """Whether a person can do something about a hand-over: confirm it, or see why it cannot be told."""
    failing = hand_over.stage is HandOverStage.DELIVER and hand_over.error != ""
    return failing or hand_over.stage is HandOverStage.AWAIT


def describe_hand_over(model: str, hand_over: HandOver) -> str:
    """What is awaited of a version that another system is to serve."""
    version, until = hand_over.version, format_time(hand_over.until)
    confirm = f"`driftd confirm {model} {version}`"
    if hand_over.error:
        return (
            f"version {version} could not be handed over ({hand_over.attempts} tries): {hand_over.error}; it is tried "
            f"again until {until}, and {confirm} says that it serves all the same"
        )
    return (
        f"version {version} was handed over ({hand_over.delivery}): {confirm} or its first prediction confirms it, "
        f"else it is taken back at {until}"
    )


def describe_stage(hand_over: HandOver, champion: int | None) -> str:
    """How far a hand-over is in which nobody need do anything."""
    return _STAGES[hand_over.stage].format(hand_over.version, champion)
