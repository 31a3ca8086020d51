"""The steps of a build, from the snapshot to the gate's decision and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from driftd.policy.formatting import PIN_AGAIN, moment, span
from driftd.policy.inputs import Facts, Override, PolicySettings, StepDone, StepFailed
from driftd.policy.swaps import FOLLOW_UP, promote, swapped
from driftd.policy.triggers import consider, start
from driftd.records import Action, ActionKind, Build, BuildRequest, BuildStep, ModelState, Phase, Transition, Trigger

MORE_ROWS = 1.5  # an inconclusive gate is asked again when so many times the rows are there
AFTER_REFUSAL = 2  # a refused build is tried again with so many times the labels, while its cause stands


def judge(state: ModelState, build: Build) -> Action:
    """Have the challenger compared with the champion."""
    arguments = {"version": build.number, "champion": state.champion, "trigger": build.trigger}
    return Action(ActionKind.JUDGE, arguments)


def _judge_again(state: ModelState, build: Build, why: str) -> Transition:
    """A judgement says nothing of a champion that it did not see: have the challenger compared with what serves."""
    seen = f"it was compared with version {build.judged_against}, and version {state.champion} serves now"
    judging = replace(state, phase=Phase.RETRAINING, build=replace(build, step=BuildStep.JUDGE))
    figures = {"version": build.number, "champion": state.champion}
    return Transition(judging, f"{why}: {seen}; judging again", "judged_again", (judge(state, build),), figures)


def judged(
    state: ModelState,
    build: Build,
    done: StepDone,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """What follows from what the gate says; of another champion than the one that serves, it says nothing."""
    result = done.result
    build = replace(build, judged_against=done.arguments.get("champion", state.champion))
    if build.judged_against != state.champion:
        return _judge_again(state, build, f"the judgement of version {build.number} is put aside")
    sentence, rows = str(result["sentence"]), int(result.get("rows") or 0)
    build = replace(
        build, judged_rows=rows, judged_labels=facts.labels, judgements=build.judgements + 1, decision=sentence
    )
    holds = [str(result[key]) for key in ("champion_fault", "class_change") if result.get(key)]
    build = replace(build, hold="; ".join(holds))
    figures = {
        "version": build.number,
        **{key: result.get(key) for key in ("decision", "gain", "lower", "upper", "rows", "blocks")},
    }
    match result["decision"]:
        case "promote":
            return _won(replace(state, build=build), build, settings, override, figures)
        case "reject":
            return _ended(
                state,
                build,
                settings,
                now,
                "challenger_rejected",
                f"version {build.number} is refused: {sentence}",
                figures,
            )
        case _:
            waiting = replace(state, build=replace(build, step=BuildStep.COLLECT))
            unclear = f"not yet clear whether version {build.number} is better: {sentence}"
            reason = f"{unclear}; the champion stays while rows are collected"
            return Transition(waiting, reason, "gate_inconclusive", (), figures)


def _won(
    state: ModelState, build: Build, settings: PolicySettings, override: Override, figures: dict[str, Any]
) -> Transition:
    hold = build.hold or _hold(state, settings, override)
    if hold is not None:
        reason = f"version {build.number} won its gate ({build.decision}) and waits for a person: {hold}"
        return Transition(
            replace(state, phase=Phase.AWAITING_APPROVAL, build=build), reason, "approval_wanted", (), figures
        )
    return promote(state, build, f"version {build.number} won its gate: {build.decision}", figures)


def _hold(state: ModelState, settings: PolicySettings, override: Override) -> str | None:
    if state.pinned is not None:
        return f"the override pins version {state.pinned}"
    if "promotion" in override.pause:
        return f"promotion is paused by the override: {override.reason}"
    return "promote.approval is manual" if settings.approval == "manual" else None


def release(state: ModelState, settings: PolicySettings, override: Override) -> Transition:
    """Promote a challenger that only the override held back, once the override lets go of it."""
    build = state.build
    hold = (build.hold if build is not None else "") or _hold(state, settings, override)
    if build is None or hold is not None:
        return Transition(state, f"a challenger waits for approval: {hold}")
    if build.judged_against not in (None, state.champion):
        return _judge_again(state, build, f"the override let go of version {build.number}")
    return promote(
        state, build, f"the override let go of version {build.number}, which had won its gate: {build.decision}", {}
    )


def collect(state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float) -> Transition:
    """What a tick means to a build under way: only one that collects rows can go on by itself."""
    build = state.build
    if build is None:
        return Transition(state, "the build is at its step nothing")
    if build.step is not BuildStep.SWAP and "retraining" in override.pause:
        held = f"build {build.number} is held at its step {build.step}"
        return Transition(state, f"{held}: retraining is paused by the override: {override.reason}")
    if build.step is not BuildStep.COLLECT:
        return Transition(state, f"the build is at its step {build.step}")
    if state.want is not None and state.want.trigger is Trigger.MANUAL and state.want.since > build.started_at:
        return consider(state, facts, settings, override, now)
    return _collected(state, build, facts, settings, now)


def _collected(state: ModelState, build: Build, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """While the gate is inconclusive: judge again with more rows, build again with many more, or give up in time."""
    new_labels = facts.labels - build.judged_labels
    wanted = max(settings.min_labels, int(build.judged_rows * (MORE_ROWS - 1)))
    if now - build.started_at > settings.collect_for:
        time = span(settings.collect_for)
        reason = f"version {build.number} never became clearly better within {time}: {build.decision}"
        return _ended(state, build, settings, now, "challenger_inconclusive", reason, {"version": build.number})
    if build.rows_since_change and facts.labels >= FOLLOW_UP * build.rows_since_change:
        reason = f"{facts.labels} labelled rows since the change instead of {build.rows_since_change}; {build.reason}"
        return start(state, BuildRequest(build.trigger, reason, now, change_at=build.change_at), facts, settings, now)
    if new_labels < wanted:
        lacking = f"{new_labels} of {wanted} more labelled rows for the next judgement of version {build.number}"
        return Transition(state, lacking)
    again = f"{new_labels} more labelled rows: judging version {build.number} again"
    return go_on(state, replace(build, step=BuildStep.JUDGE), judge(state, build), again)


def _ended(
    state: ModelState,
    build: Build,
    settings: PolicySettings,
    now: float,
    event: str,
    reason: str,
    figures: dict[str, Any],
) -> Transition:
    ended = replace(
        state,
        phase=Phase.STEADY,
        build=None,
        want=_second_try(build, now),
        cooldown_until=now + settings.cooldown,
        barred=(*state.barred, build.number),
        failures=0,
        backoff_until=0.0,
    )
    return Transition(ended, reason, event, (), figures)


def _second_try(build: Build, now: float) -> BuildRequest | None:
    """The cause of a performance or harm build still stands after a refusal: try again with twice the labels."""
    if build.trigger not in (Trigger.PERFORMANCE, Trigger.HARM):
        return None
    needed = AFTER_REFUSAL * max(build.judged_labels, 1)
    reason = f"version {build.number} was refused with {build.judged_labels} labels; {build.reason}"
    return BuildRequest(build.trigger, reason, now, change_at=build.change_at, labels_needed=needed, is_follow_up=True)


def go_on(state: ModelState, build: Build, action: Action, reason: str) -> Transition:
    """A build goes on by one action."""
    return Transition(replace(state, build=build), reason, None, (action,), {"version": build.number})


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
