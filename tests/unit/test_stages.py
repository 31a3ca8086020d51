"""How each stage of a build ended: kept in the store within bounds, and shown with the one that is under way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from driftd.cli.main import cli
from driftd.config.stage_schema import Stages
from driftd.doctor.checks import CHECKS
from driftd.doctor.installation import FindingLevel, examine_all
from driftd.events import Event, HandOverAction, Stage, StageResult
from driftd.loop.stages import has_snapshot, record_action, record_transition, stage_arguments
from driftd.observe.decision_counts import DecisionCounts, DecisionEvent
from driftd.observe.model_families import BUILDS_ENDED, BUILDS_STARTED
from driftd.paths import Places
from driftd.policy import StepDone, StepFailed
from driftd.records import (
    Action,
    ActionKind,
    Build,
    BuildStep,
    DecisionFigures,
    HandOver,
    HandOverArguments,
    HandOverStage,
    JudgeArguments,
    JudgeResult,
    ModelState,
    ModelTestArguments,
    ModelTestResult,
    Phase,
    Probation,
    SwapArguments,
    SwapPurpose,
    TrainArguments,
    TrainResult,
    Transition,
    Trigger,
)
from driftd.records import GateDecision as Gate
from driftd.store.state.records import StoredAction
from driftd.store.state.stages import KEPT, StageRun
from driftd.store.state.writer import StateStore
from driftd.views.stages import describe_review, stage_lines
from driftd.views.status import needs_person

NOW = 1_800_000_000.0
BUILD = Build(2, Trigger.PERFORMANCE, "mae rose", BuildStep.TEST, NOW)
STATE = ModelState("demand", Phase.RETRAINING, champion=1, build=BUILD)
TRAINING = TrainArguments(2, "abc", Trigger.PERFORMANCE, "mae rose")
TESTING = ModelTestArguments(version=2, candidate=2, champion=1)


@pytest.fixture
def state_store(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore.open(tmp_path / "state.db", durable=False) as store:
        yield store


def run(stage: Stage = Stage.TEST, **changes: object) -> StageRun:
    return replace(StageRun("demand", 2, stage, NOW, NOW + 5, StageResult.PASSED, "fine"), **changes)  # type: ignore[arg-type]


def intend(store: StateStore, *arguments: object) -> list[StoredAction]:
    """Actions as the loop intends them."""
    actions = tuple(Action(each) for each in arguments)  # type: ignore[arg-type]
    with store.transaction():
        transition = Transition(STATE, "because", Event.BUILD_STARTED, actions)
        store.save_transition(STATE, transition, at=NOW, actor="driftd", config_hash="")
    return store.open_actions("demand")


def test_a_stage_comes_back_as_it_was_kept(state_store: StateStore) -> None:
    """With its attempt: how often the build came to it."""
    first = run(
        result=StageResult.FAILED, sentence="1 of 2 tests failed", log="jobs/x/log.txt", details={"output": "no"}
    )
    state_store.save_stage(first)
    state_store.save_stage(run(started_at=NOW + 9))
    state_store.save_stage(run(version=3))
    found = state_store.stages("demand", 2)
    assert [(each.attempt, each.result) for each in found] == [(1, "failed"), (2, "passed")]
    assert replace(found[0], id=0) == first
    assert state_store.count_stages("demand", 2, Stage.TEST) == 2


def test_stages_are_bounded(state_store: StateStore) -> None:
    """A model keeps so many; the oldest go, and so do details that are too long. Other models keep theirs."""
    state_store.save_stage(run(model="supply"))
    with state_store.transaction():
        for version in range(KEPT + 10):
            state_store.save_stage(run(version=version))
    assert [bool(state_store.stages("demand", version)) for version in (0, 9, 10, KEPT + 9)] == [
        False,
        False,
        True,
        True,
    ]
    assert state_store.stages("supply", 2)
    state_store.save_stage(run(version=5000, details={"output": "x" * 100_000}, sentence="y" * 10_000))
    (kept,) = state_store.stages("demand", 5000)
    assert len(kept.sentence) == 4_000
    assert "the log has them" in kept.details["left_out"]


def test_what_jobs_end_with_is_kept_as_stages(state_store: StateStore) -> None:
    """With what is not configured before them as skipped; of another build nothing."""
    train, judge = intend(state_store, TRAINING, JudgeArguments(version=2, trigger=Trigger.PERFORMANCE))
    record_action(state_store, STATE, train, StepDone(TRAINING, TrainResult(900)), NOW + 60)
    judged = JudgeResult(Gate.INCONCLUSIVE, "too few rows")
    record_action(state_store, STATE, judge, StepDone(judge.typed_arguments, judged), NOW + 90)
    record_action(state_store, STATE, judge, StepFailed(judge.typed_arguments, "memory"), NOW + 99)
    record_action(state_store, replace(STATE, build=replace(BUILD, number=7)), judge, StepFailed(TRAINING, "x"), NOW)
    assert [(each.stage, each.result, each.sentence, each.attempt) for each in state_store.stages("demand", 2)] == [
        ("check_data", "skipped", "stages.check_data expects nothing", 1),
        ("train", "passed", "trained on 900 rows (all)", 1),
        ("test", "skipped", "stages.test has no tests", 1),
        ("judge", "undecided", "too few rows", 1),
        ("judge", "failed", "memory", 2),
    ]
    assert state_store.stages("demand", 2)[1].log == f"jobs/demand-{train.id}-train/log.txt"
    assert not state_store.stages("demand", 7)


def test_tests_keep_their_output_and_a_rollback_is_no_stage(state_store: StateStore) -> None:
    """What failed and the end of what was printed; a swap is `deploy` where it promotes."""
    back = SwapArguments(1, SwapPurpose.ROLLBACK, 2)
    test, rollback = intend(state_store, TESTING, back)
    refused = ModelTestResult(False, "1 of 2 tests failed", ["test_it: no"], "the output")
    record_action(state_store, STATE, test, StepDone(TESTING, refused), NOW)
    record_action(state_store, replace(STATE, build=replace(BUILD, number=1)), rollback, StepDone(back), NOW)
    (kept,) = state_store.stages("demand", 2)
    assert kept.details == {"failures": ["test_it: no"], "output": "the output"}
    assert not state_store.stages("demand", 1)


@pytest.mark.parametrize(
    ("event", "result"),
    [
        (Event.SWAP_STARTED, "passed"),
        (Event.CHALLENGER_REJECTED, "failed"),
        (Event.REVIEW_EXPIRED, "failed"),
        (Event.BUILD_STARTED, "skipped"),
    ],
)
def test_a_review_is_a_stage_from_when_people_were_asked(state_store: StateStore, event: Event, result: str) -> None:
    """It ends with whatever was decided."""
    waiting = replace(STATE, phase=Phase.AWAITING_APPROVAL, build=replace(BUILD, review_since=NOW - 60))
    record_transition(state_store, waiting, Transition(STATE, "because", event), NOW)
    (kept,) = state_store.stages("demand", 2)
    assert (kept.stage, kept.result, kept.started_at, kept.ended_at) == ("review", result, NOW - 60, NOW)


@pytest.mark.parametrize(
    ("event", "result"), [(Event.CONFIRMED, "passed"), (Event.ROLLED_BACK, "failed"), (Event.PINNED, "skipped")]
)
def test_a_probation_is_the_stage_watch(state_store: StateStore, event: Event, result: str) -> None:
    """Of the version that was on it."""
    watched = ModelState("demand", Phase.PROBATION, champion=2, probation=Probation(1, NOW - 60))
    over = ModelState("demand", champion=2)
    record_transition(state_store, watched, Transition(watched, "goes on"), NOW)
    record_transition(state_store, watched, Transition(over, "because", event), NOW)
    (kept,) = state_store.stages("demand", 2)
    assert (kept.stage, kept.result, kept.started_at) == ("watch", result, NOW - 60)


def test_the_stage_under_way_stands_at_the_end(state_store: StateStore) -> None:
    """A job at work, a review that waits with what it waits for, a probation."""
    state_store.save_stage(run(Stage.TRAIN))
    intend(state_store, TESTING)
    assert [(line.stage, line.result) for line in stage_lines(state_store, "demand", 2)] == [
        ("train", "passed"),
        ("test", "running"),
    ]
    build = replace(BUILD, review_since=NOW, reviewers=2, approved_by=("ada@host",), review_until=NOW + 60)
    state_store.save_state(replace(STATE, phase=Phase.AWAITING_APPROVAL, build=build), NOW)
    line = stage_lines(state_store, "demand", 2)[-1]
    said = "approved by ada@host; one person more must say yes; it is put aside at 2027-01-15 08:01 UTC"
    assert (line.stage, line.result, line.sentence) == ("review", "waiting", said)
    state_store.save_state(ModelState("demand", Phase.PROBATION, champion=2, probation=Probation(1, NOW)), NOW)
    assert stage_lines(state_store, "demand", 2)[-1].stage == "watch"


HANDED_OVER = HandOver(2, SwapPurpose.PROMOTE, HandOverStage.AWAIT, NOW - 600, NOW + 600, "won its gate", 1)


def test_a_deployment_elsewhere_goes_from_the_hand_over_to_its_confirmation(state_store: StateStore) -> None:
    """Its final swap is no stage of its own; a hand-over that is taken back has failed, with what was told."""
    handing = replace(STATE, build=replace(BUILD, step=BuildStep.SWAP), hand_over=HANDED_OVER)
    state_store.save_state(handing, NOW)
    shown = stage_lines(state_store, "demand", 2)[-1]
    assert (shown.stage, shown.result, shown.started_at) == ("deploy", "waiting", NOW - 600)
    told = HandOverArguments(action=HandOverAction.DEPLOY, version=2, reason="won its gate")
    told_action, swap = intend(state_store, told, SwapArguments(version=2, purpose=SwapPurpose.PROMOTE, from_version=1))
    confirmed = replace(handing, hand_over=replace(HANDED_OVER, stage=HandOverStage.CONFIRMED))
    record_action(state_store, confirmed, swap, StepDone(swap.typed_arguments, None), NOW)
    assert not state_store.stages("demand", 2)
    record_transition(state_store, handing, Transition(confirmed, "confirmed", Event.HAND_OVER_CONFIRMED), NOW)
    assert not state_store.stages("demand", 2)
    serves = replace(STATE, champion=2, build=None)
    record_transition(state_store, confirmed, Transition(serves, "version 2 serves", Event.PROMOTED), NOW)
    back = replace(STATE, build=None, hand_over=replace(HANDED_OVER, stage=HandOverStage.TAKE_BACK))
    record_transition(state_store, handing, Transition(back, "nobody confirmed it", Event.HAND_OVER_TAKEN_BACK), NOW)
    found = [run for run in state_store.stages("demand", 2) if run.stage is Stage.DEPLOY]
    assert [(run.result, run.sentence, run.started_at, run.ended_at) for run in found] == [
        ("passed", "version 2 serves", NOW - 600, NOW),
        ("failed", "nobody confirmed it", NOW - 600, NOW),
    ]
    assert found[0].log == f"jobs/demand-{told_action.id}-hand_over/log.txt"


def test_status_says_whose_yes_lacks() -> None:
    """Where several people are asked, or the review has an end; else the sentence is as before."""
    waiting = replace(STATE, phase=Phase.AWAITING_APPROVAL, build=replace(BUILD, reviewers=2))
    assert describe_review(replace(BUILD, reviewers=2)) == "2 people must say yes"
    assert "`driftd reject demand 2` (2 people must say yes)" in (needs_person(waiting) or "")
    alone = replace(STATE, phase=Phase.AWAITING_APPROVAL)
    assert (needs_person(alone) or "").endswith("`driftd reject demand 2`")


def test_a_job_has_the_time_that_its_stage_is_given() -> None:
    """Tests have what they may take and some to start and tell; a check its own time, where that is set."""
    stages = Stages.model_validate({"check_data": {"timeout": "5m"}, "test": {"timeout": "10m"}})
    assert stage_arguments(stages, ActionKind.CHECK_DATA) == {"wall_seconds": 300.0}
    assert stage_arguments(stages, ActionKind.TEST) == {"wall_seconds": 900.0}
    assert stage_arguments(Stages(), ActionKind.CHECK_DATA) == {}
    assert stage_arguments(stages, ActionKind.JUDGE) == {}


def test_the_rows_of_a_failed_build_are_looked_for(tmp_path: Path) -> None:
    """A retry that needs them knows whether they are there."""
    places = Places(tmp_path)
    failed = replace(STATE, build=None, failed=replace(BUILD, snapshot="abc"))
    assert not has_snapshot(places, failed)
    places.snapshot("demand", "abc").mkdir(parents=True)
    assert has_snapshot(places, failed)
    assert not has_snapshot(places, STATE)


def test_a_retried_build_is_counted_as_begun() -> None:
    """Each beginning has its end: refused by its tests, and then promoted."""
    counts = DecisionCounts()
    figures = DecisionFigures(version=2, trigger=Trigger.PERFORMANCE)
    for event in (Event.BUILD_STARTED, Event.TESTS_FAILED, Event.BUILD_RETRIED, Event.PROMOTED):
        counts.take(DecisionEvent(event, NOW, figures, "steady", "steady"))
    assert counts.counts[BUILDS_STARTED, ("performance",)] == 2
    assert counts.counts[BUILDS_ENDED, ("performance", "rejected")] == 1
    assert counts.counts[BUILDS_ENDED, ("performance", "promoted")] == 1


CONFIG = """\
state_dir: {state}
models:
  demand:
    task: regression
    target: y
    stages: {stages}
"""


def config_of(folder: Path, stages: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(state=folder / "state", stages=stages))
    return path


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)


@pytest.mark.usefixtures("without_libraries")
@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            "{check_data: {pandera: shop:schema}}",
            "check_data.pandera: pandera is not installed here: pip install pandera",
        ),
        ("{test: {tests: test_it.py}}", "test.tests: pytest is not installed here: pip install 'driftd[tests]'"),
    ],
)
def test_check_config_refuses_what_is_not_installed(tmp_path: Path, stages: str, said: str) -> None:
    """Every build would fail at this stage."""
    outcome = CliRunner().invoke(cli, ["check-config", "--config", str(config_of(tmp_path, stages))])
    assert outcome.exit_code != 0
    assert f"models.demand.stages.{said}" in str(outcome.exception)


def test_check_config_says_what_a_build_passes(tmp_path: Path) -> None:
    """Which rows are looked at, which tests run, and how many people approve."""
    stages = (
        "{check_data: {rows: {min: 9}, columns: {a: {nulls: 0}}, functions: [shop:f]}, "
        "test: {tests: test_it.py, timeout: 5m}, review: {people: 2, expires: 7d}}"
    )
    outcome = CliRunner().invoke(cli, ["check-config", "--config", str(config_of(tmp_path, stages))])
    assert outcome.exit_code == 0, outcome.output
    for sentence in (
        "checks the rows of each build before it trains: their number, a, shop:f",
        "tests each new version before it may serve, within 5m: test_it.py",
        "has a challenger that waits for approval approved by 2 different people, within 1w",
    ):
        assert sentence in outcome.output


def test_doctor_looks_for_what_the_stages_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of tests that is not there, a library that is not, and both once they are."""
    tests = tmp_path / "test_it.py"
    path = config_of(tmp_path, f"{{test: {{tests: {tests}}}}}")
    (absent,) = examine_all(path, 10.0, {"stages": CHECKS["stages"]})
    assert (absent.level, f"there is no {tests} here" in absent.said) == (FindingLevel.FAIL, True)
    tests.write_text("")
    (there,) = examine_all(path, 10.0, {"stages": CHECKS["stages"]})
    assert there.level is FindingLevel.OK
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (lacking,) = examine_all(path, 10.0, {"stages": CHECKS["stages"]})
    assert (lacking.level, "needs pytest, which is not installed" in lacking.said) == (FindingLevel.FAIL, True)


@pytest.mark.parametrize(
    ("trainer", "level"),
    [
        ("{webhook: 'https://ci.example.org/start'}", FindingLevel.WARN),
        ("{webhook: 'https://ci.example.org/start', url: 'http://localhost:9464'}", FindingLevel.WARN),
        ("{webhook: 'https://ci.example.org/start', url: 'https://drift.example.org'}", FindingLevel.OK),
        ("{webhook: 'http://127.0.0.1:8080/start'}", FindingLevel.OK),
        ("{webhook_file: /nonexistent/hook}", FindingLevel.FAIL),
    ],
)
def test_doctor_says_where_a_builder_cannot_come_back(tmp_path: Path, trainer: str, level: FindingLevel) -> None:
    """A builder on another host is told an address that it reaches; one on this host may be told loopback."""
    path = config_of(tmp_path, "{}")
    path.write_text(f'{path.read_text()}    trainer: {trainer}\n    retrain: {{refresh: "off"}}\n')
    (found,) = examine_all(path, 10.0, {"trainers": CHECKS["trainers"]})
    assert found.level is level, found.said
    assert ("only this host reaches" in found.said) is (level is FindingLevel.WARN)
