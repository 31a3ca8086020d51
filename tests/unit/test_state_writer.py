"""The daemon's own database: what is written together lands together, and reads back as it was."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from driftd.config.schema import Config
from driftd.events import Event
from driftd.loop.maintenance import prune
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.records import (
    Acknowledgement,
    Action,
    ActionKind,
    Alarm,
    Build,
    BuildRequest,
    BuildStep,
    DecisionFigures,
    ModelState,
    MovedAlias,
    OpenAlarm,
    Phase,
    Probation,
    RegistryArguments,
    RegistryState,
    RegistryTask,
    TrainArguments,
    Transition,
    Trigger,
    Window,
)
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.request_queue import post_request
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Score, Verdict

STATE = ModelState(
    "demand",
    Phase.PROBATION,
    champion=4,
    previous=3,
    want=BuildRequest(Trigger.PERFORMANCE, "loss rose", 5.0, change_at=1.0, labels_needed=300),
    build=Build(5, Trigger.MANUAL, "asked", BuildStep.TRAIN, 7.0, snapshot="ab"),
    probation=Probation(3, 9.0, 12, "as good"),
    build_starts=(1.0, 2.0),
    barred=(2,),
    asked=("now",),
    registry=RegistryState("http://ml d@champion", (3, 4), 4, 8.0, MovedAlias("9", None, 8.5), 2, 9.0, "away"),
    open_alarms=(OpenAlarm(3, "performance", "mae rose", 4.0, 2.0, 8.0, 1, Acknowledgement("ada", "known", 99.0)),),
)
WINDOW = Window(7, 700.0, 800.0)
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[StateStore]:
    with StateStore.open(path) as opened:
        yield opened


def assessment(verdict: Verdict = Verdict.OK) -> Assessment:
    kind = KindAssessment(EvidenceKind.DATA, verdict, 3.0, 100.0, "calm", (("x", 1.0),))
    scores = (Score(EvidenceKind.DATA, "x", "location", 0.1, 0.05, 2.0),)
    return Assessment(verdict, "calm", 50, (kind,), scores, figures={"loss": 0.1})


def test_a_state_reads_back_as_it_was(store: StateStore) -> None:
    """Every field of a model's state survives the store."""
    store.save_state(STATE, at=1.0)
    assert store.model("demand") == STATE
    assert store.models() == [STATE]
    assert store.model("nobody") is None


def test_the_state_of_an_older_driftd_is_read(store: StateStore) -> None:
    """A build and a wish of before they carried their alarm are read without one."""
    want = BuildRequest(Trigger.HARM, "loss rose", 1.0, alarm=7)
    build = Build(4, Trigger.HARM, "loss rose", BuildStep.TRAIN, 1.0, alarm=7)
    state = replace(STATE, want=want, build=build)
    store.save_state(state, 1.0)
    assert store.model("demand") == state
    store._db.execute("update models set state = json_remove(state, '$.want.alarm', '$.build.alarm')")
    assert store.model("demand") == replace(state, want=replace(want, alarm=None), build=replace(build, alarm=None))


TRAINING = TrainArguments(5, "ab", Trigger.HARM, "x", None, 4)


def test_a_decision_lands_whole(store: StateStore) -> None:
    """The new state, its line of history and its intended actions are written together."""
    decided = Transition(STATE, "because", Event.BUILD_STARTED, (Action(TRAINING),), DecisionFigures(labels=9))
    before = replace(STATE, phase=Phase.STEADY)
    with store.transaction():
        line = store.save_transition(before, decided, at=3.0, actor="ada", config_hash="c0ffee")
    assert line is not None
    stored = store.transition(line)
    assert stored is not None
    assert (stored.phase_from, stored.phase_to, stored.reason, stored.actor) == (
        "steady",
        "probation",
        "because",
        "ada",
    )
    assert stored.figures == {"labels": 9}
    (action,) = store.open_actions("demand")
    assert (action.kind, action.arguments, action.status) == (
        ActionKind.TRAIN,
        {
            "version": 5,
            "snapshot": "ab",
            "trigger": "harm",
            "reason": "x",
            "change_at": None,
            "parent": 4,
            "submission": None,
            "trained_until": None,
        },
        "intended",
    )
    assert action.typed_arguments == TRAINING
    store.begin_action(action.id, 4.0)
    store.finish_action(action.id, at=5.0, status="done", result={"rows": 1})
    assert store.open_actions("demand") == []
    assert store.actions_of(line)[0].result == {"rows": 1}


def test_an_interrupted_transaction_leaves_nothing(store: StateStore) -> None:
    """When anything inside a transaction fails, none of its writes stay."""

    def interrupted() -> None:
        with store.transaction():
            store.save_state(STATE, at=1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert store.models() == []


def test_a_check_moves_the_cursor_and_cannot_be_recorded_twice(store: StateStore) -> None:
    """One window is one check: the cursor passes it, and a second record of it is refused."""
    store.save_check("demand", "window", WINDOW, assessment(), at=9.0, version=4)
    assert store.cursor("demand", "window") == 8
    assert store.cursor("demand", "labels") is None
    (check,) = store.checks("demand", kind="window")
    assert (check.rows, check.verdict, check.evidence["data"].threshold) == (50, Verdict.OK, 100.0)
    assert store.scores("demand")[0].value == 0.1
    with pytest.raises(sqlite3.IntegrityError):
        store.save_check("demand", "window", WINDOW, assessment(), at=9.0, version=4)


def test_alarms_stand_until_absorbed(store: StateStore) -> None:
    """An alarm stands against its version until it is absorbed, and keeps its report."""
    alarm = Alarm("data", "x", 200.0, 100.0, "x moved", change_start=650.0)
    number = store.save_alarm("demand", alarm, WINDOW, at=9.0, version=4, leaders=[("x", 0.9)])
    store.save_report(number, "/r.html", [{"column": "x"}])
    (standing,) = store.standing_alarms("demand", 4)
    assert (standing.leaders, standing.report) == ([("x", 0.9)], "/r.html")
    assert store.standing_alarms("demand", 5) == []
    store.absorb_alarms("demand", "data", 10.0)
    assert store.standing_alarms("demand", 4) == []
    assert store.alarm(number) is not None


def test_alarms_stand_until_they_are_cleared(store: StateStore) -> None:
    """An alarm whose evidence fell stands no more, and keeps when that was."""
    for kind in ("performance", "data"):
        store.save_alarm("demand", Alarm(kind, "x", 9.0, 5.0, "moved"), WINDOW, at=1.0, version=4, leaders=())
    store.clear_alarms("demand", "performance", 7.0)
    assert [alarm.kind for alarm in store.standing_alarms("demand", 4)] == ["data"]
    assert {alarm.kind: alarm.cleared_at for alarm in store.alarms("demand")} == {"performance": 7.0, "data": None}


def test_windows_with_a_fault_are_remembered_by_their_times(store: StateStore) -> None:
    """Faulty windows are found by index, and by time as far as they were known at a moment, until they are pruned."""
    for index, at in ((7, 10.0), (8, 20.0)):
        store.save_faulty_window("demand", index, (100.0 * index, 100.0 * index + 100), at)
    assert store.is_faulty("demand", 7)
    assert not store.is_faulty("demand", 9)
    assert not store.is_faulty("price", 7)
    assert store.faulty_spans("demand", 0.0, known_by=15.0) == [(700.0, 800.0)]
    assert store.faulty_spans("demand", 800.0, known_by=99.0) == [(800.0, 900.0)]
    store.prune("demand", before=850.0)
    assert store.faulty_spans("demand", 0.0, known_by=99.0) == [(800.0, 900.0)]


def test_requests_are_asked_from_outside_and_answered_once(store: StateStore, path: Path) -> None:
    """Another process posts a request; the daemon sees it waiting, answers, and the answer is read back."""
    number = post_request(path, at=1.0, who="ada", model="demand", kind="retrain", arguments={"text": "please"})
    (request,) = store.waiting_requests()
    assert (request.id, request.who, request.arguments) == (number, "ada", {"text": "please"})
    store.answer_request(number, at=2.0, outcome="a build is wanted")
    assert store.waiting_requests() == []
    with StateReader.read_only(path) as reader:
        answered = reader.request(number)
    assert answered is not None
    assert answered.outcome == "a build is wanted"


def test_there_is_nothing_to_read_or_ask_before_the_first_start(path: Path) -> None:
    """Reading or asking without a state database says what to do instead of making an empty one."""
    with pytest.raises(StateAbsentError, match="start `driftd run`"):
        StateReader.read_only(path)
    with pytest.raises(StateAbsentError):
        post_request(path, at=1.0, who="ada", model="demand", kind="retrain", arguments={})
    assert not path.exists()


def test_a_transaction_without_room_tells_of_the_room_and_leaves_the_next_one_free(store: StateStore) -> None:
    """SQLite rolls back by itself where there is no room: that is the error that comes out, and the store goes on."""
    (pages,) = store._db.execute("pragma page_count").fetchone()
    store._db.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"), store.transaction():
        store.save_monitor("demand", 4, {}, bytes(100_000))
    with store.transaction():
        store.save_state(STATE, at=1.0)
    assert store.model("demand") == STATE


def test_a_reader_cannot_write(store: StateStore, path: Path) -> None:
    """Who only reads cannot change anything, even by mistake."""
    del store
    with StateReader.read_only(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("delete from models")


def test_pruning_keeps_decisions_and_alarms(store: StateStore) -> None:
    """Old checks, scores and Profiles go; transitions, alarms and newer checks stay."""
    for index, at in ((7, 10.0), (8, 20.0)):
        window = Window(index, index * 100.0, (index + 1) * 100.0)
        store.save_check("demand", "window", window, assessment(), at=at, version=4)
        store.save_profile("demand", window, version=4, rows=5, profile=b"p")
    store.save_transition(STATE, Transition(STATE, "because", Event.CONFIRMED), at=1.0, actor="driftd", config_hash="")
    store.prune("demand", before=15.0)
    assert [check.window_index for check in store.checks("demand")] == [8]
    assert {score.window_index for score in store.scores("demand")} == {8}
    assert len(store.history("demand")) == 1


def test_pruning_forgets_looks_at_a_registry(store: StateStore) -> None:
    """There are many a day, and none has a line in the history; a move of the alias, and a look under way, stay."""
    look = Action(RegistryArguments(RegistryTask.LOOK, 4))
    seen = Transition(STATE, "looking", None, (look,))
    moved = Transition(STATE, "moved", Event.ALIAS_SET, (Action(RegistryArguments(RegistryTask.MOVE, 4)),))
    for at, made in ((10.0, seen), (11.0, moved), (12.0, seen)):
        with store.transaction():
            store.save_transition(STATE, made, at=at, actor="driftd", config_hash="c")
    for action in store.open_actions("demand")[:2]:
        store.finish_action(action.id, at=20.0, status="done", result={})
    store.prune("demand", before=30.0)
    assert [(action.status, action.arguments["task"]) for action in store.actions("demand")] == [
        ("intended", "look"),
        ("done", "move"),
    ]


def test_history_that_cannot_be_pruned_is_told_and_tried_again(store: StateStore, tmp_path: Path) -> None:
    """A database that takes no deletion fails no round of the daemon: the next hour's upkeep takes it up."""
    config = Config.model_validate(
        {"retention": {"checks": "25d", "share": 1}, "models": {"demand": {"task": "regression", "target": "y"}}}
    )
    store.save_state(STATE, at=1.0)
    for index in range(7, 38):
        store.save_check("demand", "window", Window(index, 0.0, 1.0), assessment(), at=DAY * index, version=4)
    places, metrics, now = Places(tmp_path), Metrics(), 37.5 * DAY
    store._db.execute("pragma query_only = on")
    assert not prune(places, {}, store, config, metrics, now)
    store._db.execute("pragma query_only = off")
    assert prune(places, {}, store, config, metrics, now)
    assert [check.window_index for check in store.checks("demand")] == list(range(37, 11, -1))


def test_a_short_look_leaves_nothing_beside_a_closed_database(tmp_path: Path) -> None:
    """Where no daemon has it open, readers make no log and no index, which they could not remove again."""
    StateStore.open(tmp_path / "state.db").close()
    before = sorted(path.name for path in tmp_path.iterdir())
    with StateReader.read_only(tmp_path / "state.db") as reader:
        assert reader.models() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_look_that_began_before_the_daemon_sees_what_it_writes(tmp_path: Path) -> None:
    """Who waits for an answer may ask before the daemon has opened its database."""
    StateStore.open(tmp_path / "state.db").close()
    with StateReader.read_only(tmp_path / "state.db") as reader:
        assert reader.models() == []
        with StateStore.open(tmp_path / "state.db") as store:
            store.save_state(STATE, 1.0)
        assert reader.models() == [STATE]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._db.execute("delete from transitions")


def test_a_look_without_rights_during_which_a_daemon_wrote_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read of a folder that one may not write may be of two moments once the file changed: it says so."""
    StateStore.open(tmp_path / "state.db").close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    reader = StateReader.read_only(tmp_path / "state.db")
    with StateStore.open(tmp_path / "state.db") as store:
        store.save_state(STATE, 1.0)
    with pytest.raises(sqlite3.OperationalError, match="ask again"):
        reader.close()


def test_a_look_beside_a_daemon_sees_what_it_wrote(tmp_path: Path) -> None:
    """What is still in the log of a daemon that runs is read, too."""
    with StateStore.open(tmp_path / "state.db") as store:
        store.save_state(STATE, 1.0)
        with StateReader.read_only(tmp_path / "state.db") as reader:
            assert reader.models() == [STATE]
