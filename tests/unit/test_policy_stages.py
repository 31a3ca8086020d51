"""The stages of a build in policy: the check of its rows, the tests of the user, reviews and retries."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from driftd.events import Event, Stage
from driftd.policy import ClockTick, OperatorRequest, Override, RefreshSettings, StepDone, StepFailed
from driftd.policy.retry import STAGE_OF, STEP_OF
from driftd.policy.review import person_of
from driftd.records import (
    ActionKind,
    BuildRequest,
    BuildSpec,
    BuildStep,
    CheckDataArguments,
    CheckDataResult,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    ModelTestArguments,
    ModelTestResult,
    Phase,
    RefreshArguments,
    RefreshResult,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainResult,
    Transition,
    Trigger,
)
from policy_samples import DAY, FACTS, HOUR, JUDGING, NOW, SETTINGS, STEADY, STEPS, build, decide, kinds

STAGED = replace(SETTINGS, has_checks=True, has_tests=True)
REVIEWED = replace(SETTINGS, approval="manual", review_people=2, review_expires=7 * DAY)
CHECKING = CheckDataArguments(4, "abc")
TESTING = ModelTestArguments(version=4, candidate=4, champion=3)
BUILDING = replace(STEADY, phase=Phase.RETRAINING, build=build(snapshot="abc"))
WAITING = replace(
    STEADY, phase=Phase.AWAITING_APPROVAL, build=build(BuildStep.JUDGE, review_since=NOW - HOUR, judged_against=3)
)


def at(step: BuildStep, **changes: object) -> ModelState:
    return replace(BUILDING, build=build(step, snapshot="abc", **changes))


def asked(kind: str, who: str = "ada", **more: object) -> OperatorRequest:
    return OperatorRequest(kind, who, **more)  # type: ignore[arg-type]


def approve(state: ModelState, who: str) -> Transition:
    return decide(state, asked("approve", who), settings=REVIEWED)


def test_rows_are_checked_before_anything_is_trained() -> None:
    """Where the config expects something of them; what is made of them is tested before its gate."""
    taken = decide(BUILDING, StepDone(STEPS[ActionKind.SNAPSHOT], SnapshotResult("abc", 900)), settings=STAGED)
    assert kinds(taken) == [ActionKind.CHECK_DATA]
    checked = decide(taken.state, StepDone(CHECKING, CheckDataResult(True, "as expected")), settings=STAGED)
    assert kinds(checked) == [ActionKind.TRAIN]
    trained = decide(checked.state, StepDone(STEPS[ActionKind.TRAIN], TrainResult(800)), settings=STAGED)
    assert kinds(trained) == [ActionKind.TEST]
    tested = decide(trained.state, StepDone(TESTING, ModelTestResult(True, "7 of 7 passed")), settings=STAGED)
    assert kinds(tested) == [ActionKind.JUDGE]
    assert tested.reason == "version 4 passes its tests: 7 of 7 passed"


def test_without_checks_and_tests_a_build_has_the_steps_that_it_had() -> None:
    """The rows are trained on at once, and the version is judged at once."""
    taken = decide(BUILDING, StepDone(STEPS[ActionKind.SNAPSHOT], SnapshotResult("abc", 900)))
    assert kinds(taken) == [ActionKind.TRAIN]
    assert kinds(decide(taken.state, StepDone(STEPS[ActionKind.TRAIN], TrainResult(800)))) == [ActionKind.JUDGE]


def test_rows_that_are_not_as_expected_count_as_a_failed_build() -> None:
    """The champion stays, the next try waits and takes new rows, and the build can be retried."""
    failed = decide(
        at(BuildStep.CHECK_DATA), StepDone(CHECKING, CheckDataResult(False, "price is negative")), settings=STAGED
    )
    assert failed.event is Event.BUILD_FAILED
    assert "build 4 failed at check_data: price is negative; the champion still serves" in failed.reason
    assert failed.figures.step is ActionKind.CHECK_DATA
    assert failed.state.failures == 1
    assert failed.state.backoff_until > NOW
    assert failed.state.failed is not None
    assert failed.state.failed.step is BuildStep.CHECK_DATA


def test_a_version_that_its_tests_refuse_never_serves() -> None:
    """It is barred, the cool-down begins, and its cause asks again only with twice the labels."""
    refused = decide(at(BuildStep.TEST), StepDone(TESTING, ModelTestResult(False, "1 of 7 failed")), settings=STAGED)
    assert refused.event is Event.TESTS_FAILED
    assert refused.reason == "version 4 is refused by its tests: 1 of 7 failed; the champion still serves"
    state = refused.state
    assert (state.phase, state.champion, state.build) == (Phase.STEADY, 3, None)
    assert 4 in state.barred
    assert state.cooldown_until > NOW
    assert state.want is not None
    assert state.want.labels_needed == 2 * FACTS.labels


def test_a_job_of_tests_that_fails_is_a_failed_build() -> None:
    """The tests said nothing of the version: it is tried again after a pause, as every failed step is."""
    failed = decide(at(BuildStep.TEST), StepFailed(TESTING, "pytest is gone"), settings=STAGED)
    assert failed.event is Event.BUILD_FAILED
    assert "build 4 failed at test: pytest is gone" in failed.reason


REFRESHING = replace(STAGED, refresh=RefreshSettings(), retrain_on=frozenset({Trigger.REFRESH}))
REFRESH = RefreshArguments(version=4, champion=3, trigger=Trigger.REFRESH, reason="rows grew")
MADE = RefreshResult(serves=4, sentence="fresh", recipe="all", rows=900, effective=900.0, mature_until=NOW)


def test_a_refresh_takes_its_rows_first_where_they_are_checked() -> None:
    """It is then made from the rows that were checked, as they were known when they were taken."""
    want = BuildRequest(Trigger.MANUAL, "rows grew", NOW)
    state = replace(STEADY, want=replace(want, trigger=Trigger.REFRESH))
    begun = decide(state, ClockTick(), settings=REFRESHING)
    assert kinds(begun) == [ActionKind.SNAPSHOT]
    assert begun.actions[0].arguments.for_refresh  # type: ignore[union-attr]
    arguments = begun.actions[0].arguments
    taken = decide(begun.state, StepDone(arguments, SnapshotResult("abc", 900, until=NOW - 60)), settings=REFRESHING)
    checked = decide(taken.state, StepDone(CHECKING, CheckDataResult(True, "fine")), settings=REFRESHING)
    assert kinds(checked) == [ActionKind.REFRESH]
    refresh = checked.actions[0].arguments
    assert isinstance(refresh, RefreshArguments)
    assert (refresh.snapshot, refresh.rows_until) == ("abc", NOW - 60)


def test_what_a_refresh_made_is_tested_before_it_serves() -> None:
    """Its tests decide after its own judgement; where another version serves by then it is put aside."""
    state = at(BuildStep.REFRESH, is_refresh=True, trigger=Trigger.REFRESH)
    made = decide(state, StepDone(REFRESH, MADE), settings=REFRESHING)
    assert kinds(made) == [ActionKind.TEST]
    assert made.event is None
    passed = StepDone(TESTING, ModelTestResult(True, "passed"))
    assert kinds(decide(made.state, passed, settings=REFRESHING)) == [ActionKind.SWAP]
    aside = decide(replace(made.state, champion=2), passed, settings=REFRESHING)
    assert aside.event is Event.CHAMPION_KEPT
    assert "is put aside: version 2 serves since it was tested" in aside.reason


def test_an_older_version_that_a_refresh_would_serve_is_what_is_tested() -> None:
    """The tests are of the version that would serve, not of the refreshed one that lost against it."""
    state = at(BuildStep.REFRESH, is_refresh=True, trigger=Trigger.REFRESH)
    older = replace_struct(MADE, serves=2)
    made = decide(state, StepDone(REFRESH, older), settings=REFRESHING)
    assert made.actions[0].arguments == ModelTestArguments(version=4, candidate=2, champion=3)


def replace_struct(result: RefreshResult, **changes: object) -> RefreshResult:
    return msgspec.structs.replace(result, **changes)


@pytest.mark.parametrize(
    ("who", "person"),
    [("ada@host", "ada"), ("Ada by API from 10.0.0.1", "ada"), ("ada as root@host", "ada"), ("config", "config")],
)
def test_a_person_is_known_by_whatever_way_they_ask(who: str, person: str) -> None:
    """By a command on any host, and by the name of their token."""
    assert person_of(who) == person


def test_two_people_approve() -> None:
    """The first yes is kept and told; the second has the challenger serve, and both are named."""
    first = approve(WAITING, "ada@host")
    assert first.event is Event.APPROVED
    assert first.reason == "version 4 is approved by ada@host (1 of 2): one more person must say yes"
    assert not first.actions
    again = approve(first.state, "ada by API from ::1")
    assert again.event is Event.REQUEST_REFUSED
    assert again.reason == "ada by API from ::1 has approved version 4 already: another person must say yes"
    second = approve(first.state, "bob@host")
    assert second.event is Event.SWAP_STARTED
    assert second.reason == "version 4 is approved by ada@host and bob@host"
    assert kinds(second) == [ActionKind.SWAP]


def test_who_asked_for_a_build_is_none_of_several_reviewers() -> None:
    """But where one person is enough, they may be the one, as before."""
    state = replace(WAITING, build=build(BuildStep.JUDGE, requested_by="ada@host", review_since=NOW))
    refused = approve(state, "ada by API from ::1")
    assert refused.event is Event.REQUEST_REFUSED
    assert "asked for build 4: other people review it" in refused.reason
    alone = decide(state, asked("approve", "ada@host"), settings=replace(REVIEWED, review_people=1))
    assert alone.reason == "version 4 is approved by ada@host"


def test_the_override_is_one_of_two_people() -> None:
    """What the config approves counts once, however often the clock ticks."""
    override = Override("checked", approve=4)
    first = decide(WAITING, ClockTick(), override=override, settings=REVIEWED)
    assert first.event is Event.APPROVED
    assert first.actor == "config"
    idle = decide(first.state, ClockTick(), override=override, settings=REVIEWED)
    assert idle.event is None
    second = decide(first.state, asked("approve", "bob"), override=override, settings=REVIEWED)
    assert second.reason == "version 4 is approved by config and bob"
    by_people_first = approve(WAITING, "bob")
    assert kinds(decide(by_people_first.state, ClockTick(), override=override, settings=REVIEWED)) == [ActionKind.SWAP]


def test_one_person_rejects_whatever_others_said() -> None:
    """A no ends the review."""
    rejected = decide(approve(WAITING, "ada").state, asked("reject", "bob"), settings=REVIEWED)
    assert rejected.event is Event.CHALLENGER_REJECTED
    assert rejected.state.build is None


def test_a_review_that_nobody_answers_expires() -> None:
    """The challenger is put aside after the time of the config, and who said yes is told; not under a pause."""
    state = approve(WAITING, "ada").state
    assert decide(state, ClockTick(), settings=REVIEWED, now=NOW + 6 * DAY).event is None
    late = NOW + 7 * DAY
    held = Override("freeze", pause=frozenset({"promotion"}))
    assert decide(state, ClockTick(), override=held, settings=REVIEWED, now=late).event is None
    expired = decide(state, ClockTick(), settings=REVIEWED, now=late)
    assert expired.event is Event.REVIEW_EXPIRED
    assert expired.reason == ("version 4 is put aside: its review was not answered within 7 d (approved by ada)")
    assert expired.state.build is None
    assert 4 in expired.state.barred
    clock = replace(FACTS, clock_fault="the clock is ahead")
    assert decide(state, ClockTick(), clock, settings=REVIEWED, now=late).event is None


def test_a_review_of_before_there_was_an_end_begins_when_it_is_first_seen() -> None:
    """What an earlier driftd left waiting is not put aside at once."""
    state = replace(WAITING, build=build(BuildStep.JUDGE))
    seen = decide(state, ClockTick(), settings=REVIEWED)
    assert seen.event is None
    assert seen.state.build is not None
    assert seen.state.build.review_since == NOW
    assert seen.state.build.review_until == NOW + 7 * DAY


def test_fewer_people_are_enough_once_the_config_says_so() -> None:
    """The yes that is there counts, and nobody is asked again."""
    state = approve(WAITING, "ada").state
    promoted = decide(state, ClockTick(), settings=replace(REVIEWED, review_people=1))
    assert promoted.event is Event.SWAP_STARTED
    assert promoted.reason == "version 4 is approved by ada"


FAILED_AT_CHECK = replace(STEADY, failed=build(BuildStep.CHECK_DATA, snapshot="abc"), barred=(4,), failures=1)
REFUSED = replace(STEADY, failed=build(BuildStep.TEST, snapshot="abc", judged_against=3), barred=(4,))
WITH_ROWS = replace(FACTS, has_snapshot=True, next_version=5)
WITH_VERSION = replace(WITH_ROWS, versions=frozenset({1, 2, 3, 4}))


def retry(state: ModelState, facts: object = WITH_VERSION, stage: str | None = None, **more: object) -> Transition:
    return decide(state, asked("retry", stage=stage), facts, settings=STAGED, **more)  # type: ignore[arg-type]


def test_the_stages_of_a_retry_are_stages() -> None:
    """Each is one of a build, in the order of all stages, and each step of a build has one."""
    assert [stage for stage in Stage if stage in STEP_OF] == list(STEP_OF)
    assert set(STAGE_OF) == set(BuildStep)


def test_a_failed_check_is_retried_with_the_rows_that_were_taken() -> None:
    """The same build begins again at its check, and is barred no more."""
    retried = retry(FAILED_AT_CHECK, WITH_ROWS)
    assert retried.event is Event.BUILD_RETRIED
    assert retried.reason == "ada retries build 4 from check data"
    assert [action.arguments for action in retried.actions] == [CHECKING]
    assert retried.state.phase is Phase.RETRAINING
    assert retried.state.failed is None
    assert retried.state.barred == ()


def test_rows_that_are_gone_are_taken_anew() -> None:
    """A stage whose input is gone is refused with the stages that are possible; the first always is."""
    refused = retry(FAILED_AT_CHECK, FACTS)
    assert refused.event is Event.REQUEST_REFUSED
    assert refused.reason == (
        "build 4 cannot be retried from check data: its rows are not there any more; it can be from: take_data"
    )
    assert kinds(retry(FAILED_AT_CHECK, FACTS, "take_data")) == [ActionKind.SNAPSHOT]


def test_a_refused_version_is_tested_again_and_judged_against_who_serves() -> None:
    """The tests may have been wrong. A champion of since then is what its gate compares it with."""
    retried = retry(replace(REFUSED, champion=2))
    assert [action.arguments for action in retried.actions] == [ModelTestArguments(version=4, candidate=4, champion=2)]
    tested = decide(
        retried.state, StepDone(retried.actions[0].arguments, ModelTestResult(True, "passed")), settings=STAGED
    )
    assert tested.actions[0].arguments == JudgeArguments(version=4, champion=2, trigger=Trigger.PERFORMANCE)


def test_a_version_that_is_made_anew_has_a_new_number() -> None:
    """Versions are immutable: the one that was refused stays what it is."""
    retried = retry(REFUSED, stage="train")
    assert retried.reason == "ada retries build 4 as build 5 from train"
    assert retried.state.build is not None
    assert retried.state.build.number == 5
    assert 4 in retried.state.barred


@pytest.mark.parametrize(
    ("state", "stage", "why"),
    [
        (STEADY, None, "no build has failed since the last one began"),
        (replace(REFUSED, phase=Phase.RETRAINING, build=build(number=5)), None, "build 5 is under way (snapshot)"),
        (replace(REFUSED, phase=Phase.PAUSED, resumes=Phase.STEADY), None, "checks are paused"),
        (REFUSED, "judge", "it did not come further than test"),
        (REFUSED, "deploy", "it did not come further than test"),
        (REFUSED, "refresh", "it is no refresh"),
        (replace(REFUSED, blocked="a column is gone"), "take_data", "the pipeline is broken: a column is gone"),
    ],
)
def test_what_cannot_be_retried_is_refused_with_the_reason(state: ModelState, stage: str | None, why: str) -> None:
    """Nothing changes."""
    refused = retry(state, stage=stage)
    assert refused.event is Event.REQUEST_REFUSED
    assert why in refused.reason
    assert refused.state == state


def test_a_version_that_is_gone_cannot_be_tested_again() -> None:
    """The answer says from which stages the build can be retried."""
    refused = retry(REFUSED, WITH_ROWS)
    assert refused.reason == (
        "build 4 cannot be retried from test: version 4 is not there any more; "
        "it can be from: take_data, check_data, train"
    )


def test_retraining_that_is_paused_holds_a_retry() -> None:
    """As it holds every build."""
    paused = Override("freeze", pause=frozenset({"retraining"}))
    assert "retraining is paused by the override" in retry(REFUSED, override=paused).reason


def test_a_deployment_that_failed_is_tried_again() -> None:
    """At the next tick the version that was approved is promoted, by the same approval; unless the champion changed."""
    deploying = at(BuildStep.SWAP, judged_against=3, is_approved=True, approved_by=("ada",))
    failed = decide(deploying, StepFailed(SwapArguments(4, SwapPurpose.PROMOTE, 3), "the probe differs"))
    assert failed.event is Event.BUILD_FAILED
    retried = retry(failed.state)
    assert retried.state.phase is Phase.AWAITING_APPROVAL
    released = decide(retried.state, ClockTick(), settings=replace(STAGED, approval="manual"))
    assert kinds(released) == [ActionKind.SWAP]
    other = retry(replace(failed.state, champion=2))
    assert "it was compared with version 3, and version 2 serves now" in other.reason


def test_a_new_build_ends_what_could_be_retried() -> None:
    """The newest failure alone is kept."""
    begun = decide(replace(REFUSED, want=BuildRequest(Trigger.MANUAL, "now", NOW)), ClockTick(), settings=STAGED)
    assert begun.event is Event.BUILD_STARTED
    assert begun.state.failed is None


def test_an_inconclusive_gate_after_a_retry_collects_rows() -> None:
    """A retried build goes on as every build does."""
    retried = retry(REFUSED)
    tested = decide(retried.state, StepDone(TESTING, ModelTestResult(True, "passed")), settings=STAGED)
    judged = decide(
        tested.state, StepDone(JUDGING, JudgeResult(GateDecision.INCONCLUSIVE, "unclear", rows=300)), settings=STAGED
    )
    assert judged.state.build is not None
    assert judged.state.build.step is BuildStep.COLLECT


NEW_CODE = BuildSpec("newer", None, "settings")
OLD_CODE = BuildSpec("older", None, "settings")


def test_a_retry_that_trains_anew_counts_the_code_of_now() -> None:
    """The same code is not built once more for its change; what only tests again was made by the code of before."""
    state = replace(REFUSED, spec=OLD_CODE)
    facts = replace(WITH_VERSION, spec=NEW_CODE)
    assert retry(state, facts, "train").state.spec == NEW_CODE
    assert retry(state, facts, "test").state.spec == OLD_CODE


def test_a_submission_leaves_changed_code_to_be_built() -> None:
    """The trainer had no part in what somebody handed in."""
    want = BuildRequest(Trigger.SUBMITTED, "nightly", NOW, submission="abc", trained_until=NOW - DAY, who="ada")
    begun = decide(replace(STEADY, want=want, spec=OLD_CODE), ClockTick(), facts=replace(FACTS, spec=NEW_CODE))
    assert begun.event is Event.BUILD_STARTED
    assert begun.state.spec == OLD_CODE


def test_a_follow_up_that_waits_for_rows_hides_no_change() -> None:
    """Changed code is built at once, from the rows since the change as the follow-up would be."""
    want = BuildRequest(
        Trigger.PERFORMANCE, "few rows", NOW, change_at=NOW - DAY, labels_needed=10**6, is_follow_up=True
    )
    settings = replace(SETTINGS, retrain_on=frozenset({Trigger.PERFORMANCE, Trigger.CODE_CHANGED}))
    state, facts = replace(STEADY, want=want, spec=OLD_CODE), replace(FACTS, spec=NEW_CODE)
    changed = decide(state, ClockTick(), facts=facts, settings=settings)
    assert changed.event is Event.BUILD_WANTED
    assert changed.state.want is not None
    assert (changed.state.want.trigger, changed.state.want.change_at) == (Trigger.CODE_CHANGED, NOW - DAY)
    assert decide(state, ClockTick(), settings=settings).state.want == want
