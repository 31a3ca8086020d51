"""From one step of a build to the next: snapshot, train, judge, collect, swap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from driftd.policy.findings import Facts, StepDone, StepFailed
from driftd.policy.settings import Override, PolicySettings
from driftd.policy.wanting import start
from driftd.policy.wording import moment, span
from driftd.records import Action, ActionKind, Build, BuildStep, ModelState, Phase, Probation, Transition, Trigger, Want

MORE_ROWS = 1.5  # an inconclusive gate is asked again when so many times the rows are there
FOLLOW_UP = 10  # a build from few rows after a change is repeated with so many times the rows
AFTER_REFUSAL = 2  # a refused build is tried again with so many times the labels, while its cause stands


def step_done(
    state: ModelState, done: StepDone, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """What follows a finished action."""
    if done.kind is ActionKind.SWAP:
        return _swapped(state, done.arguments, settings, now)
    build = state.build
    if build is None or done.arguments.get("version") != build.number:
        return Transition(state, f"the result of an abandoned {done.kind} is put aside")
    match done.kind:
        case ActionKind.SNAPSHOT:
            return _snapshotted(state, build, done.result)
        case ActionKind.TRAIN:
            judging = replace(build, step=BuildStep.JUDGE)
            return _step(state, judging, _judge(state, build), _trained_reason(build, done.result))
        case ActionKind.JUDGE:
            return _judged(state, build, done.result, facts, settings, override, now)
        case _:
            return Transition(state, f"{done.kind} done")


def _snapshotted(state: ModelState, build: Build, result: Mapping[str, Any]) -> Transition:
    snapshot, rows = str(result["digest"]), int(result["rows"])
    since_change = int(result.get("rows_since_change") or 0)
    arguments = {"version": build.number, "snapshot": snapshot, "change_at": build.change_at, "trigger": build.trigger}
    action = Action(ActionKind.TRAIN, {**arguments, "reason": build.reason, "parent": state.champion})
    further = replace(build, step=BuildStep.TRAIN, snapshot=snapshot, rows_since_change=since_change)
    after = f", {since_change} of them since the change" if build.change_at is not None else ""
    return _step(state, further, action, f"snapshot {snapshot[:12]} holds {rows} labelled rows{after}")


def _judge(state: ModelState, build: Build) -> Action:
    arguments = {"version": build.number, "champion": state.champion, "trigger": build.trigger}
    return Action(ActionKind.JUDGE, arguments)


def _trained_reason(build: Build, result: Mapping[str, Any]) -> str:
    return f"version {build.number} is trained on {result.get('rows')} rows ({result.get('data', 'all')})"


def _step(state: ModelState, build: Build, action: Action, reason: str) -> Transition:
    return Transition(replace(state, build=build), reason, None, (action,), {"version": build.number})


def _judged(
    state: ModelState,
    build: Build,
    result: Mapping[str, Any],
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    sentence, rows = str(result["sentence"]), int(result.get("rows") or 0)
    build = replace(
        build, judged_rows=rows, judged_labels=facts.labels, judgements=build.judgements + 1, decision=sentence
    )
    build = replace(build, hold=str(result.get("champion_fault") or ""))
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
    return promote(
        state, build, f"the override let go of version {build.number}, which had won its gate: {build.decision}", {}
    )


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


def _swapped(state: ModelState, arguments: Mapping[str, Any], settings: PolicySettings, now: float) -> Transition:
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
        back = replace(settled, previous=None, want=None, barred=barred)
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


def collect(state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float) -> Transition:
    """While the gate is inconclusive: judge again with more rows, build again with many more, or give up in time."""
    build = state.build
    if build is not None and build.step is not BuildStep.SWAP and "retraining" in override.pause:
        held = f"build {build.number} is held at its step {build.step}"
        return Transition(state, f"{held}: retraining is paused by the override: {override.reason}")
    if build is None or build.step is not BuildStep.COLLECT:
        step = build.step if build is not None else "nothing"
        return Transition(state, f"the build is at its step {step}")
    new_labels = facts.labels - build.judged_labels
    wanted = max(settings.min_labels, int(build.judged_rows * (MORE_ROWS - 1)))
    if now - build.started_at > settings.collect_for:
        reason = (
            f"version {build.number} never became clearly better within {span(settings.collect_for)}: {build.decision}"
        )
        return _ended(state, build, settings, now, "challenger_inconclusive", reason, {"version": build.number})
    if build.rows_since_change and facts.labels >= FOLLOW_UP * build.rows_since_change:
        reason = f"{facts.labels} labelled rows since the change instead of {build.rows_since_change}; {build.reason}"
        return start(state, Want(build.trigger, reason, now, change_at=build.change_at), facts, settings, now)
    if new_labels < wanted:
        return Transition(
            state, f"{new_labels} of {wanted} more labelled rows for the next judgement of version {build.number}"
        )
    again = f"{new_labels} more labelled rows: judging version {build.number} again"
    return _step(state, replace(build, step=BuildStep.JUDGE), _judge(state, build), again)


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


def _second_try(build: Build, now: float) -> Want | None:
    """The cause of a performance or harm build still stands after a refusal: try again with twice the labels."""
    if build.trigger not in (Trigger.PERFORMANCE, Trigger.HARM):
        return None
    needed = AFTER_REFUSAL * max(build.judged_labels, 1)
    reason = f"version {build.number} was refused with {build.judged_labels} labels; {build.reason}"
    return Want(build.trigger, reason, now, change_at=build.change_at, labels_needed=needed, is_follow_up=True)


def step_failed(state: ModelState, failed: StepFailed, settings: PolicySettings, now: float) -> Transition:
    """What follows a failed action: the champion is never touched."""
    build = state.build
    if failed.kind is ActionKind.SWAP and failed.arguments.get("purpose") != "promote":
        purpose = failed.arguments.get("purpose")
        reason = f"version {failed.arguments.get('version')} cannot be served ({purpose} refused): {failed.error}"
        told = replace(state, pin_refused=reason) if purpose == "pin" else state
        return Transition(told, reason, f"{purpose}_refused")
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
