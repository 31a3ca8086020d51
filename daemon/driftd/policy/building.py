"""From one step of a build to the next: snapshot, train, judge, collect, swap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from driftd.policy.findings import Facts, StepDone, StepFailed
from driftd.policy.judging import go_on, judge, judged
from driftd.policy.settings import Override, PolicySettings
from driftd.policy.swapping import swapped
from driftd.policy.wording import PIN_AGAIN, moment
from driftd.records import Action, ActionKind, Build, BuildStep, ModelState, Phase, Transition


def step_done(
    state: ModelState, done: StepDone, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """What follows a finished action."""
    if done.kind is ActionKind.SWAP:
        return swapped(state, done.arguments, settings, now)
    build = state.build
    if build is None or done.arguments.get("version") != build.number:
        return Transition(state, f"the result of an abandoned {done.kind} is put aside")
    match done.kind:
        case ActionKind.SNAPSHOT:
            return _snapshotted(state, build, done.result)
        case ActionKind.TRAIN:
            judging = replace(build, step=BuildStep.JUDGE)
            return go_on(state, judging, judge(state, build), _trained_reason(build, done.result))
        case ActionKind.JUDGE:
            return judged(state, build, done, facts, settings, override, now)
        case _:
            return Transition(state, f"{done.kind} done")


def _snapshotted(state: ModelState, build: Build, result: Mapping[str, Any]) -> Transition:
    snapshot, rows = str(result["digest"]), int(result["rows"])
    since_change = int(result.get("rows_since_change") or 0)
    arguments = {"version": build.number, "snapshot": snapshot, "change_at": build.change_at, "trigger": build.trigger}
    action = Action(ActionKind.TRAIN, {**arguments, "reason": build.reason, "parent": state.champion})
    further = replace(build, step=BuildStep.TRAIN, snapshot=snapshot, rows_since_change=since_change)
    after = f", {since_change} of them since the change" if build.change_at is not None else ""
    return go_on(state, further, action, f"snapshot {snapshot[:12]} holds {rows} labelled rows{after}")


def _trained_reason(build: Build, result: Mapping[str, Any]) -> str:
    return f"version {build.number} is trained on {result.get('rows')} rows ({result.get('data', 'all')})"


def step_failed(state: ModelState, failed: StepFailed, settings: PolicySettings, now: float) -> Transition:
    """What follows a failed action: the champion is never touched."""
    build = state.build
    if failed.kind is ActionKind.SWAP and failed.arguments.get("purpose") != "promote":
        purpose = failed.arguments.get("purpose")
        reason = f"version {failed.arguments.get('version')} cannot be served ({purpose} refused): {failed.error}"
        if purpose != "pin":
            return Transition(state, reason, f"{purpose}_refused")
        reason = f"{reason}; {PIN_AGAIN}"
        return Transition(replace(state, pin_refused=reason), reason, "pin_refused")
    if failed.kind in (ActionKind.REPORT, ActionKind.SHADOW):
        return Transition(state, f"{failed.kind} failed: {failed.error}", f"{failed.kind}_failed")
    if build is None or failed.arguments.get("version") != build.number:
        return Transition(state, f"the failure of an abandoned {failed.kind} is put aside: {failed.error}")
    failures = state.failures + 1
    pause = min(settings.backoff_most, settings.backoff_first * 2 ** (failures - 1))
    dropped = failures >= settings.most_failures
    back = replace(
        state,
        phase=Phase.STEADY,
        build=None,
        failures=0 if dropped else failures,
        backoff_until=now + pause,
        want=None if dropped else state.want,
        barred=(*state.barred, build.number),
    )
    after = "no further try until a new alarm or wish" if dropped else f"next try at {moment(now + pause)}"
    reason = f"build {build.number} failed at {failed.kind}: {failed.error}; the champion still serves; {after}"
    return Transition(
        back, reason, "build_failed", (), {"version": build.number, "step": failed.kind, "failures": failures}
    )
