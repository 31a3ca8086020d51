"""The commands that answer by lineage: what served at a time, how two versions differ, what became of a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_samples import DAY, NOON, STATE, Run, check, decide, publish
from driftd.events import Event
from driftd.paths import Places
from driftd.records import DecisionFigures, Transition
from driftd.registry import Trainer
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd.store.state.writer import StateStore
from driftd_detectors.schema import Feature, Kind, Schema, Task

SCHEMA = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))


@pytest.fixture
def lived(store: StateStore, tmp_path: Path) -> StateStore:
    """Version 1 from noon on, version 2 by an approval a day later, version 1 again after two more."""
    publish(tmp_path / "state")
    publish(tmp_path / "state", 2, parent=1, metrics={"loss": 0.25}, trainer=Trainer("own.trainers:fit", "g"))
    decide(store, "adopted", "it served already", at=NOON, version=1)
    begun = Transition(STATE, "ann says yes", Event.SWAP_STARTED, (), DecisionFigures(version=2))
    with store.transaction():
        store.save_transition(STATE, begun, at=NOON + DAY - 60, actor="ann", config_hash="c0ffee")
    decide(store, "promoted", "version 2 serves", at=NOON + DAY, version=2)
    decide(store, "rolled_back", "it was worse", at=NOON + 3 * DAY, version=1)
    return store


@pytest.mark.parametrize(
    ("when", "version", "until"),
    [
        ("2024-10-04T12:00", 1, NOON + DAY),
        ("2024-10-05T11:59:59", 1, NOON + DAY),
        ("2024-10-05T12:00", 2, NOON + 3 * DAY),
        ("2024-10-08", 1, None),
        ("now", 1, None),
    ],
)
def test_which_version_served_at_a_time(
    lived: StateStore, driftd: Run, when: str, version: int, until: float | None
) -> None:
    """The version, and until when it served, to the second of the swaps."""
    code, printed, _ = driftd("at", when, "demand", "--json")
    (served,) = json.loads(printed)
    assert (code, served["version"], served["until"]) == (0, version, until)


def test_who_let_a_version_serve(lived: StateStore, driftd: Run) -> None:
    """The answer names the person who approved it, what it was made from, and the decision."""
    _, printed, _ = driftd("at", "2024-10-06", "demand")
    assert printed.splitlines() == [
        "demand: version 2, from 2024-10-05 12:00 UTC until 2024-10-07 12:00 UTC",
        "  made from snapshot 5eed5eed5eed by own.trainers:fit (trigger manual)",
        "  decision 3, let serve by ann: version 2 serves",
    ]


def test_before_the_first_version_nothing_served(lived: StateStore, driftd: Run) -> None:
    """All models are told of when none is named."""
    code, printed, _ = driftd("at", "2020-01-01")
    assert code == 0
    assert printed.splitlines() == [
        "demand: no version was under watch yet",
        "supply: no version was under watch yet",
    ]


def test_a_time_that_is_none_is_refused_with_an_example(lived: StateStore, driftd: Run) -> None:
    """The complaint says how a time is written."""
    code, _, said = driftd("at", "yesterday")
    assert code == 2
    assert "2026-03-01T12:00" in said


def test_how_two_versions_differ(lived: StateStore, driftd: Run) -> None:
    """What is alike is left out; what a version lacks is a dash."""
    _, printed, _ = driftd("diff", "1", "2", "demand", "--recorded", "--json")
    assert json.loads(printed)["differences"] == [
        {"part": "code", "name": "fingerprint", "a": "f", "b": "g"},
        {"part": "quality", "name": "loss", "a": None, "b": "0.25"},
    ]
    _, same, _ = driftd("diff", "1", "1", "demand")
    assert same.strip() == "versions 1 and 1 of demand are alike"


def test_what_is_nested_in_a_lineage_is_compared_value_by_value(lived: StateStore, driftd: Run, tmp_path: Path) -> None:
    """A version with another portion of its rows differs in that key alone, by its whole name."""
    for version, rows in ((3, 100), (4, 200)):
        publish(tmp_path / "state", version, data={"portion": {"use": "newest", "rows": rows}})
    _, printed, _ = driftd("diff", "3", "4", "demand", "--recorded", "--json")
    assert json.loads(printed)["differences"] == [{"part": "data", "name": "portion.rows", "a": "100", "b": "200"}]


def test_a_version_that_is_not_there_has_no_difference(lived: StateStore, driftd: Run) -> None:
    """The command fails and names the manifest."""
    code, _, said = driftd("diff", "1", "9", "demand")
    assert code != 0
    assert "9" in said


def test_the_tree_of_versions(lived: StateStore, driftd: Run) -> None:
    """Each version stands below the one that it was built to replace; the one that serves bears a star."""
    _, printed, _ = driftd("versions", "demand", "--tree")
    assert [line.split(",")[0] for line in printed.splitlines()] == ["1   candidate", "  2 * candidate"]


def test_what_became_of_a_prediction(lived: StateStore, driftd: Run, tmp_path: Path) -> None:
    """Its version, features and labels, the window that counted it, and what was said of that window."""
    check(lived)
    keep_events(tmp_path / "state")
    code, printed, _ = driftd("prediction", "p1", "demand", "--json")
    found = json.loads(printed)
    assert code == 0
    assert {name: found[name] for name in ("at", "version", "prediction", "features", "window", "verdict")} == {
        "at": NOON,
        "version": 2,
        "prediction": 0.5,
        "features": {"x": 1.5},
        "window": 20_000,
        "verdict": "suspected",
    }
    assert [(label["label"], label["at"]) for label in found["labels"]] == [(1.0, NOON + 60), (2.0, NOON + 120)]


def test_a_prediction_for_people(lived: StateStore, driftd: Run, tmp_path: Path) -> None:
    """The same in sentences; a feature that is missing and a window that was not checked are told."""
    keep_events(tmp_path / "state")
    _, printed, _ = driftd("prediction", "p2", "demand")
    assert printed.splitlines() == [
        "p2: 0.75, by version 2 at 2024-10-04 12:01 UTC",
        "  x: missing",
        "no label has come",
        "counted in the window of 2024-10-04 00:00 UTC: not checked yet",
        "its labels: not evaluated yet",
    ]


def test_a_prediction_that_is_not_kept_is_told(lived: StateStore, driftd: Run, tmp_path: Path) -> None:
    """The command fails, and says that retention may have taken it."""
    keep_events(tmp_path / "state")
    code, _, said = driftd("prediction", "nobody", "demand")
    assert code != 0
    assert "retention" in said


def keep_events(state: Path) -> None:
    """Two predictions, the first with a label that was corrected."""
    places = Places(state)
    store = EventStore.open(places.events_db("demand"), SCHEMA, segments=places.segments("demand"))
    events = [
        {"prediction_id": "p1", "at": NOON, "version": 2, "prediction": 0.5, "features": {"x": 1.5}},
        {"prediction_id": "p2", "at": NOON + 60, "version": 2, "prediction": 0.75, "features": {"x": None}},
        {"prediction_id": "p1", "label": 1.0, "at": NOON + 60},
        {"prediction_id": "p1", "label": 2.0, "at": NOON + 120},
    ]
    for event in events:
        batch, refused = read_events([event], SCHEMA, NOON + 200)
        assert refused == []
        store.append(batch)
    store.close()
