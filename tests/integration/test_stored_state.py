"""A state directory that commit 844b24d left is read whole, and the loop goes on from it.

`tests/data/state_844b24d/state.tar.xz` is what that commit's own daemon left after 16 hours of one model: two versions,
events in the database and in sealed segments, an alarm, a build with two looks of the gate, a promotion, probation, an
override, two configs, a refused request, an hour of events that no check has seen, and a request for a build that no
daemon has read. `expected.json` holds what that commit's own commands printed of it.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.clock import VirtualClock
from driftd.config.load import load
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe import families, model_families
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.migrations import ensure_current
from driftd.store.schema_versions import pending_steps
from driftd.store.state.reader import StateReader
from driftd.store.state.request_queue import post_request
from driftd.store.state.writer import StateStore
from driftd_processes import driftd
from fault_counts import daemon, events_of, wait
from loop_world import MODEL, World, hour

pytestmark = pytest.mark.slow

STORED = Path(__file__).parents[1] / "data" / "state_844b24d"
EXPECTED = json.loads((STORED / "expected.json").read_text("utf-8"))
HOURS, LEFT_AT = 76, 1_700_273_460.0  # of the archive: the hours on record, and the time when its daemon ended
UNCHECKED = 472_297  # the window of the last hour


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """What version 2 was trained for."""
    return frame, truth - 5 * frame["a"].to_numpy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The archive, unpacked where nobody knew it; only the config names the new place."""
    with tarfile.open(STORED / "state.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # new in Python 3.11.4
        archive.extractall(tmp_path)
    config = tmp_path / "config.yaml"
    text = config.read_text("utf-8")
    assert "state_dir: /srv/driftd/state\n" in text
    config.write_text(text.replace("/srv/driftd", str(tmp_path)))
    return tmp_path


def printed(folder: Path, *command: str) -> Any:
    """What a command prints as JSON."""
    done = driftd(folder, *command, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_commands_tell_what_they_told(folder: Path) -> None:
    """`history`, `versions` and `explain` print every field as they did; `status` goes by the stored evidence."""
    ensure_current(Places(folder / "state").state_db, "state")  # as the daemon does when it starts
    assert printed(folder, "history") == EXPECTED["history"]
    for version, before in zip(printed(folder, "versions"), EXPECTED["versions"], strict=True):
        assert {**version, **before} == version  # newer fields may stand beside those of before
    explained = printed(folder, "explain", "--alarm", "1")
    explained["alarm"].pop("report")
    before = EXPECTED["alarm"]
    assert explained["alarm"] == {**before["alarm"], "cleared_at": None}  # a newer field
    story = {line["id"]: line for line in explained["story"]}
    for line in before["story"]:  # which begins with the alarm by now
        assert {**story[line["id"]], **line} == story[line["id"]]
    assert explained["decision"]["figures"]["alarm"] == 1
    assert (explained["rows"], explained["window_by"]) == (before["rows"], before["window_by"])
    (model,) = printed(folder, "status")["models"]
    assert (model["phase"], model["version"], model["verdicts"]["quality"]) == ("steady", 2, "ok")
    assert "learning: 8 of 14" in model["evidence"]["data"]["sentence"]


def test_the_databases_are_sound_and_the_served_version_answers(folder: Path) -> None:
    """Both databases come to today's schema; version 2 is loaded by its hash and predicts."""
    places = Places(folder / "state")
    ensure_current(places.state_db, "state")
    ensure_current(places.events_db(MODEL), "events")
    for path in (places.state_db, places.events_db(MODEL)):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    with StateReader.read_only(places.state_db) as reader:
        assert len(reader.configs()) == 4
        assert reader.chain_faults() == []  # its decisions came into the chain
        assert reader.count_decisions() == len(EXPECTED["history"])
        assert [request.kind for request in reader.waiting_requests()] == ["retrain"]
        assert reader.check(MODEL, "window", UNCHECKED - 1) is not None
    assert Registry(places).current(MODEL) == 2
    frame, truth = concept(*hour(200))
    with Driftd(places.root, MODEL) as application:
        predictions = application.predict(frame)
    assert {prediction.version for prediction in predictions} == {2}
    assert float(np.abs(np.array([p.prediction for p in predictions], dtype=float) - truth).mean()) < 2


def test_the_loop_goes_on_from_it(folder: Path) -> None:
    """The next window is checked with the stored evidence; the waiting request becomes a version out of old rows."""
    places = Places(folder / "state")
    world = World(folder, VirtualClock(LEFT_AT), places, World.open(folder / "config.yaml", places), HOURS)
    try:
        world.daemon.begin(LEFT_AT)
        world.daemon.watch(LEFT_AT)
        world.daemon.catch_up(LEFT_AT)
        store = world.daemon.assembly.store
        check = store.check(MODEL, "window", UNCHECKED)
        assert check is not None
        assert "learning: 9 of 14" in check.reason
        assert "build_started" in world.events[len(EXPECTED["history"]) :]
        world.live(8, concept, until=lambda item: item.events.count("promoted") + item.events.count("rejected") > 1)
        manifest = Registry(places).manifest(MODEL, 3)
        assert manifest.parent == 2
        assert manifest.trigger == "manual"
        assert manifest.data["training_rows"] > 500
        assert not world.daemon.obstacles
    finally:
        world.close()


def test_the_daemon_starts_on_it(folder: Path) -> None:
    """`driftd run`, years later, checks the hour that was left, refuses the old request, and builds when asked anew."""
    places = Places(folder / "state")

    def is_checked() -> bool:
        if pending_steps(places.state_db, "state"):
            return False  # the daemon has not migrated it yet
        with StateReader.read_only(places.state_db) as reader:
            return reader.check(MODEL, "window", UNCHECKED) is not None and not reader.waiting_requests()

    log = folder / "log"
    with daemon(folder / "config.yaml", log):
        wait(is_checked, "the hour is checked and the request is answered")
        assert events_of(places, MODEL).count("request_refused") == 2
        with StateReader.read_only(places.state_db) as reader:  # a clock years ahead of the events: nothing is skipped
            assert reader.cursor(MODEL, "window") == UNCHECKED + 1
        printed(folder, "retrain", MODEL)
        wait(lambda: events_of(places, MODEL).count("build_started") == 2, "a build starts")
    assert "Traceback" not in log.read_text("utf-8")


LATER = Path(__file__).parents[1] / "data" / "state_e02b064"
LATER_LEFT_AT, LATER_UNCHECKED, YEAR = 1_700_230_260.0, 472_285, 31_557_600.0


@pytest.fixture
def later(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon over a day that e02b064 ran: refreshes with siblings, snapshots gone, an unchecked hour, a request."""
    with tarfile.open(LATER / "state.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # new in Python 3.11.4
        archive.extractall(tmp_path)
    config, places = tmp_path / "config.yaml", Places(tmp_path / "state")
    config.write_text(config.read_text("utf-8").replace("/srv/driftd", str(tmp_path)))
    store = StateStore.open(places.state_db)
    daemon = Daemon(Assembly(config, load(config), places, store, Metrics(), children=0))
    daemon.begin(LATER_LEFT_AT)
    daemon.round(LATER_LEFT_AT)
    yield daemon
    daemon.close()


def doubts(daemon: Daemon) -> tuple[float | None, ...]:
    """What the daemon says of the clock: windows passed over, whether it is doubted, whether old checks are kept."""
    board = daemon.assembly.metrics.board
    ahead = board.value(model_families.AHEAD, MODEL)
    return ahead, board.value(model_families.CLOCK_DOUBTED, MODEL), board.value(families.DELETION_HELD, MODEL, "checks")


def test_a_state_with_refreshes_goes_on(later: Daemon) -> None:
    """The hour is checked with the stored evidence, the request begins a build, and nothing counts as passed over."""
    store = later.assembly.store
    assert not later.obstacles
    assert store.cursor(MODEL, "window") == LATER_UNCHECKED + 1
    assert store.waiting_requests() == []
    assert store.history(MODEL, 1)[0].event == "build_started"
    assert doubts(later) == (0, 0, 0)
    assert Registry(later.assembly.places).versions(MODEL) == (1, 2, 3, 4, 5)


def test_no_clock_of_another_year_harms_it(later: Daemon) -> None:
    """One and five years ahead and ten behind no window is passed over and no check goes; back again all is as before.

    What an older daemon passed over on such a clock is told, and mended by `driftd reset-cursor`, once.
    """
    store, places = later.assembly.store, later.assembly.places
    checks = len(store.check_times(MODEL))
    for years, expected in ((1, (0, 1, 0)), (5, (0, 1, 1)), (-10, (87_659, 0, 1)), (0, (0, 0, 0))):
        later.round(LATER_LEFT_AT + years * YEAR)
        assert store.cursor(MODEL, "window") == LATER_UNCHECKED + 1
        assert len(store.check_times(MODEL)) == checks
        assert doubts(later) == expected
    for kind, number in (("window", 11_111), ("labels", 11_000)):
        store.save_cursor(MODEL, kind, LATER_UNCHECKED + number)
    later.round(LATER_LEFT_AT)
    assert doubts(later)[0] == 11_109
    for outcome in ("11,109 windows were passed over", "is the clock right?"):
        number = post_request(
            places.state_db, at=LATER_LEFT_AT, who="ada", model=MODEL, kind="reset-cursor", arguments={"text": ""}
        )
        later.round(LATER_LEFT_AT)
        answered = store.request(number)
        assert answered is not None
        assert outcome in str(answered.outcome)
    assert doubts(later) == (0, 0, 0)


def asked(daemon: Daemon, kind: str, at: float, **arguments: Any) -> str:
    """What the daemon answers a request in its next round."""
    given = {"text": "INC-1", **arguments}
    number = post_request(daemon.assembly.places.state_db, at=at, who="ada", model=MODEL, kind=kind, arguments=given)
    daemon.round(at)
    answered = daemon.assembly.store.request(number)
    assert answered is not None
    return str(answered.outcome)


def test_checks_that_are_held_go_when_a_person_says_so(later: Daemon) -> None:
    """By the clock of five years ahead all are too old and kept; asked for, they go, and are held no more."""
    store, now = later.assembly.store, LATER_LEFT_AT + 5 * YEAR
    count = len(store.check_times(MODEL))
    later.round(now)
    assert (doubts(later)[2], len(store.check_times(MODEL))) == (1, count)
    sentence = asked(later, "prune-checks", now)
    assert sentence.startswith(f"ada has {count} of {count} checks that are older than ")
    assert "(INC-1) deleted" in sentence
    assert store.check_times(MODEL) == []
    assert doubts(later)[2] == 0
    assert store.history(MODEL, 1)[0].event == "checks_forgotten"
    assert asked(later, "prune-checks", now) == "no check is older than retention.checks"


def test_a_cursor_is_not_set_back_by_a_clock_that_is_behind(later: Daemon) -> None:
    """What `driftd status` suggests then forgets no check: the clock is to be set first, or a person insists."""
    store, now = later.assembly.store, LATER_LEFT_AT - 10 * YEAR
    times, cursor = store.check_times(MODEL), store.cursor(MODEL, "window")
    assert "the clock seems to be behind; set it (timedatectl)" in asked(later, "reset-cursor", now)
    assert (store.check_times(MODEL), store.cursor(MODEL, "window")) == (times, cursor)
    assert "windows were passed over" in asked(later, "reset-cursor", now, force=1.0)
    assert store.check_times(MODEL) == []


@pytest.mark.parametrize(
    ("kind", "given", "outcome"),
    [
        ("reset-evidence", {"text": "f\udcfcr Montag"}, ": f\\udcfcr Montag"),
        ("rollback", {"version": [1]}, "it cannot be answered: TypeError"),
    ],
)
def test_a_request_that_no_daemon_can_answer_fails_no_round(
    later: Daemon, kind: str, given: dict[str, Any], outcome: str
) -> None:
    """A byte of the command line that is not UTF-8 is spelled; what makes no sense is answered; the model goes on."""
    assert outcome in asked(later, kind, LATER_LEFT_AT, **given)
    assert later.assembly.store.waiting_requests() == []
    assert later.assembly.metrics.board.value(model_families.STEP_ERRORS, MODEL) == 0
