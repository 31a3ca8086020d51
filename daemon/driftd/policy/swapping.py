"""From a decision for a version to the version that serves: promotion, rollback and pin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from driftd.policy.settings import PolicySettings
from driftd.records import Action, ActionKind, Build, BuildStep, ModelState, Phase, Probation, Transition, Trigger, Want

FOLLOW_UP = 10  # a build from few rows after a change is repeated with so many times the rows


def promote(state: ModelState, build: Build, reason: str, figures: dict[str, Any]) -> Transition:
    """Intend the swap to a challenger."""
    swapping = replace(state, phase=Phase.RETRAINING, build=replace(build, step=BuildStep.SWAP))
    action = Action(ActionKind.SWAP, {"version": build.number, "purpose": "promote", "from": state.champion})
    return Transition(swapping, reason, "swap_started", (action,), {"version": build.number, **figures})


def refused(state: ModelState, reason: str) -> Transition:
    """A person turned the waiting challenger down."""
    number = state.build.number if state.build is not None else 0
    steady = replace(state, phase=Phase.STEADY, build=None, want=None, barred=(*state.barred, number))
    return Transition(steady, reason, "challenger_rejected", (), {"version": number})


def swapped(state: ModelState, arguments: Mapping[str, Any], settings: PolicySettings, now: float) -> Transition:
    """Another version serves: what that means depends on the purpose of the swap."""
    version, before = int(arguments["version"]), state.champion
    figures = {"version": version, "from": before}
    served = replace(state, champion=version, cooldown_until=now + settings.cooldown)
    if arguments.get("purpose") == "promote":
        return _promoted(served, before, figures, now)
    settled = replace(
        served, phase=unwatched(served.phase), resumes=served.resumes and unwatched(served.resumes), probation=None
    )
    if arguments.get("purpose") == "rollback":
        barred = (*state.barred, before) if before is not None and before != version else state.barred
        want = settled.want if settled.want is not None and settled.want.trigger is Trigger.MANUAL else None
        back = replace(settled, previous=None, want=want, barred=barred)
        return Transition(back, f"version {version} serves again instead of {before}", "rolled_back", (), figures)
    pinned = replace(settled, previous=before)
    return Transition(pinned, f"version {version} serves because the override pins it", "pinned", (), figures)


def unwatched(phase: Phase) -> Phase:
    """A rollback or a pin ends a probation; every other phase goes on."""
    return Phase.STEADY if phase is Phase.PROBATION else phase


def _promoted(served: ModelState, before: int | None, figures: dict[str, Any], now: float) -> Transition:
    build = served.build
    clean = replace(served, build=None, want=_follow_up(build, now), failures=0, backoff_until=0.0, waits=None)
    if before is None:
        steady = replace(clean, phase=Phase.STEADY)
        return Transition(steady, f"version {served.champion} serves as the first champion", "promoted", (), figures)
    watched = replace(clean, phase=Phase.PROBATION, previous=before, probation=Probation(before, now))
    decision = build.decision if build is not None else ""
    reason = f"version {served.champion} serves instead of {before} and is on probation: {decision}"
    return Transition(watched, reason, "promoted", (), figures)


def _follow_up(build: Build | None, now: float) -> Want | None:
    """A build from few rows after a change is worth repeating when many more are there (STATISTICS 9)."""
    if build is None or build.change_at is None or build.rows_since_change == 0 or build.is_follow_up:
        return None
    needed = FOLLOW_UP * build.rows_since_change
    reason = (
        f"version {build.number} was built from {build.rows_since_change} rows after the change; {needed} are awaited"
    )
    return Want(build.trigger, reason, now, change_at=build.change_at, labels_needed=needed, is_follow_up=True)
