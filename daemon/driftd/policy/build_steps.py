"""What the steps of a build share: their actions, its end, and its failure."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_time
from driftd.policy.alarms import open_numbers, pending_request
from driftd.policy.build_start import train_action
from driftd.policy.inputs import Facts, PolicySettings, StepFailed
from driftd.policy.refresh import refresh_action
from driftd.policy.swaps import resting_phase
from driftd.policy.triggers import next_request
from driftd.records import (
    Action,
    Build,
    BuildStep,
    CheckDataArguments,
    CheckDataResult,
    DecisionFigures,
    Event,
    JudgeArguments,
    ModelState,
    ModelTestArguments,
    Phase,
    SnapshotArguments,
    SnapshotResult,
    Transition,
)


def take_data(build: Build) -> Action:
    """Have the labelled rows of a build taken."""
    return Action(SnapshotArguments(version=build.number, change_at=build.change_at, for_refresh=build.is_refresh))


def check_data(build: Build) -> Action:
    """Have the rows of a build compared with what the config expects of them."""
    assert build.snapshot is not None  # taken by the step before
    return Action(CheckDataArguments(version=build.number, snapshot=build.snapshot))


def train(state: ModelState, build: Build) -> Action:
    """Have the version of a build made from its rows."""
    assert build.snapshot is not None  # taken by a step before
    return train_action(state, build, build.snapshot)


def test(state: ModelState, build: Build) -> Action:
    """Have the user's tests run against what a build would have serve."""
    return Action(ModelTestArguments(version=build.number, candidate=build.candidate, champion=state.champion))


def judge(state: ModelState, build: Build) -> Action:
    """Have the challenger compared with the champion."""
    return Action(JudgeArguments(version=build.number, champion=state.champion, trigger=build.trigger))


def judge_again(state: ModelState, build: Build, why: str) -> Transition:
    """Compare the challenger with the version that serves now: its judgement was against another champion."""
    difference = f"it was compared with version {build.judged_against}, and version {state.champion} serves now"
    judged = replace(build, step=BuildStep.JUDGE, approved_by=(), is_approved=False)
    judging = replace(state, phase=Phase.RETRAINING, build=judged)
    figures = DecisionFigures(version=build.number, champion=state.champion)
    return Transition(
        judging, f"{why}: {difference}; judging again", Event.JUDGED_AGAIN, (judge(state, build),), figures
    )


def advance_build(state: ModelState, build: Build, action: Action, reason: str) -> Transition:
    """Save the progress of a build and perform its next action."""
    return Transition(replace(state, build=build), reason, None, (action,), DecisionFigures(version=build.number))


def apply_snapshot(state: ModelState, build: Build, result: SnapshotResult, settings: PolicySettings) -> Transition:
    """Go on with the rows that were taken: with their check, where the config expects something of them."""
    taken = replace(
        build, snapshot=result.digest, rows_until=result.until, rows_since_change=result.rows_since_change or 0
    )
    after = f", {taken.rows_since_change} of them since the change" if build.change_at is not None else ""
    reason = f"snapshot {result.digest[:12]} holds {result.rows} labelled rows{after}"
    if settings.has_checks:
        return advance_build(state, replace(taken, step=BuildStep.CHECK_DATA), check_data(taken), reason)
    return begin_training(state, taken, reason)


def apply_check(
    state: ModelState, build: Build, result: CheckDataResult, settings: PolicySettings, now: float
) -> Transition:
    """Go on with rows that are as expected; else end the build: nothing is built on them."""
    if result.passed:
        return begin_training(state, build, f"the rows of build {build.number} are as expected: {result.sentence}")
    arguments = CheckDataArguments(version=build.number, snapshot=build.snapshot or "")
    return fail_build(state, build, StepFailed(arguments, result.sentence), settings, now)


def begin_training(state: ModelState, build: Build, reason: str) -> Transition:
    """Have a version made from the rows of a build."""
    step = BuildStep.REFRESH if build.is_refresh else BuildStep.TRAIN
    further = replace(build, step=step)
    action = refresh_action(state, further) if build.is_refresh else train(state, further)
    return advance_build(state, further, action, reason)


def end_build(
    state: ModelState,
    build: Build,
    settings: PolicySettings,
    now: float,
    event: Event,
    reason: str,
    figures: DecisionFigures,
) -> Transition:
    """End a build that came to no swap, and request what is requested after it."""
    ended = replace(
        state,
        phase=resting_phase(state),
        build=None,
        want=next_request(state, build, now),
        waits=None,
        cooldown_until=now + settings.cooldown,
        barred=(*state.barred, build.number),
        failures=0,
        backoff_until=0.0,
    )
    return Transition(ended, reason, event, (), figures)


def refuse_tested(
    state: ModelState, build: Build, sentence: str, facts: Facts, settings: PolicySettings, now: float
) -> Transition:
    """Refuse what the user's tests do not pass. It can be retried: the tests may be what was wrong."""
    build = replace(build, judged_labels=max(build.judged_labels, facts.labels))
    reason = f"version {build.candidate} is refused by its tests: {sentence}; the champion still serves"
    figures = DecisionFigures(version=build.number)
    ended = end_build(state, build, settings, now, Event.TESTS_FAILED, reason, figures)
    return replace(ended, state=replace(ended.state, failed=build))


def fail_build(state: ModelState, build: Build, failed: StepFailed, settings: PolicySettings, now: float) -> Transition:
    """End a build that failed, and try its request again after a pause that doubles.

    A request is dropped after `most_failures` tries, unless its alarm still stands.
    """
    failures = state.failures + 1
    pause = min(settings.backoff_most, settings.backoff_first * 2 ** min(failures - 1, 30))
    want = pending_request(state)
    if want is None and state.want is not None:
        want = replace(state.want, failures=state.want.failures + 1)
        if want.submission is not None:
            want, failures = None, 0  # it would fail again: whoever made it hands in a better one
        elif want.failures >= settings.most_failures and want.alarm not in open_numbers(state):
            want, failures = None, 0
    is_tried_again = want is not None or state.open_alarms
    after = (
        f"next try at {format_time(now + pause)}" if is_tried_again else "no further try until a new alarm or request"
    )
    back = replace(
        state,
        phase=resting_phase(state),
        build=None,
        failed=build,
        failures=failures,
        backoff_until=now + pause,
        want=want,
        barred=(*state.barred, build.number),
    )
    reason = f"build {build.number} failed at {failed.kind}: {failed.error}; the champion still serves; {after}"
    figures = DecisionFigures(version=build.number, step=failed.kind, failures=state.failures + 1)
    return Transition(back, reason, Event.BUILD_FAILED, (), figures)
