"""`driftd rehearse` and `driftd replay`, as a user runs them: real rows, the real daemon, real builds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.demonstration.stream import FEATURES, TARGET, flights
from driftd.events import Event
from driftd.rehearsal.stream import DAY
from driftd.store.state.reader import StateReader
from driftd_processes import driftd
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

FLIGHTS = """\
state_dir: {state}
models:
  airtime:
    task: regression
    target: minutes_in_air
    window: {{every: 2d}}
    parameters: {{max_iter: 20, learning_rate: 0.3}}
    retrain: {{on: [performance]}}
rehearsal: {{costs: {{build: 5, page: 20, error: 0.1}}}}
"""


def rehearsed(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the command says as JSON."""
    ended = driftd(folder, "rehearse", *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def way(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The figures of one way of keeping the model."""
    return dict(next(way for way in report["ways"] if way["name"] == name))


def digests(folder: Path) -> dict[str, str]:
    """Every file of a folder by its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- real rows from a file --------------------------------------------------------------------------------------------

ARGUMENTS = ("--data", "flights.parquet", "--train-until", "2013-03-01", "--every", "14", "--report", "report.html")
VARY = ("--vary", "retrain.on=[performance, refresh]")


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every fourth flight of January to July, and a config that builds after alarms alone."""
    folder = tmp_path_factory.mktemp("flights")
    frame = flights().frame
    rows = frame[frame["at"] < frame["at"].iloc[0] + 200 * DAY].iloc[::4]
    rows[["prediction_id", "at", "label_at", *FEATURES, TARGET]].to_parquet(folder / "flights.parquet")
    (folder / "config.yaml").write_text(FLIGHTS.format(state=folder / "state"))
    return folder


@pytest.fixture(scope="module")
def report(year: Path) -> dict[str, Any]:
    """A rehearsal of two configs."""
    return rehearsed(year, *ARGUMENTS, *VARY)


def test_the_daemon_lives_through_the_rows(report: dict[str, Any]) -> None:
    """The changed winds of spring raise an alarm, a build follows, and its version serves, with a reason for each."""
    config = way(report, "as it is")
    assert config["alarms"] >= 1
    assert config["builds"] >= 1
    assert config["swaps"] >= 1
    events = [line["event"] for line in config["decisions"]]
    assert events.index(Event.ALARM) < events.index(Event.BUILD_STARTED) < events.index(Event.PROMOTED)
    assert all(line["reason"] for line in config["decisions"])
    assert config["error"] < way(report, "left alone")["error"]


def test_the_rivals_stand_beside_it_on_the_same_rows(report: dict[str, Any]) -> None:
    """The first version left alone is the zero of all differences; one that is rebuilt does better here."""
    static, rebuilt = way(report, "left alone"), way(report, "rebuilt every 14 windows")
    assert (static["builds"], static["to_static"]["mean"]) == (0, 0.0)
    assert rebuilt["builds"] == (report["windows"] - 1) // 14
    assert rebuilt["to_static"]["upper"] < 0
    assert rebuilt["to_static"]["lower"] < rebuilt["to_static"]["mean"] < rebuilt["to_static"]["upper"]
    for found in report["ways"]:
        assert len(found["means"]) == report["windows"] == len(report["starts"])


def test_a_varied_config_decides_otherwise(report: dict[str, Any]) -> None:
    """With refreshes it builds more often, errs surely less, and costs what its builds and pages cost."""
    default, other = way(report, "as it is"), way(report, "retrain.on=[performance, refresh]")
    assert other["builds"] > default["builds"]
    assert other["to_default"]["mean"] == pytest.approx(other["error"] - default["error"])
    for found in (default, other):
        loss = 0.1 * found["error"] * report["labelled"] / 1000
        assert found["cost"] == pytest.approx(5 * found["builds"] + 20 * found["pages"] + loss)
    assert "as it is" in report["recommendation"]


def test_two_rehearsals_give_the_same_figures(year: Path, report: dict[str, Any]) -> None:
    """The same rows and config give the same report, to the last digit and to the last reason."""
    assert rehearsed(year, *ARGUMENTS, *VARY) == report


def test_the_tables_fit_a_terminal(year: Path, report: dict[str, Any]) -> None:
    """The report is a page that lies where it was asked for; the state folder of the config was never made."""
    page = (year / "report.html").read_text()
    assert report["recommendation"].split(":")[0] in page
    assert not (year / "state").exists()


def test_data_that_cannot_be_replayed_say_what_is_missing(year: Path) -> None:
    """No time, no target, a column that is not there: one sentence each, and nothing is trained."""
    frame = pd.read_parquet(year / "flights.parquet")
    frame.drop(columns=["at", "label_at"]).to_parquet(year / "timeless.parquet")
    frame.drop(columns=[TARGET]).to_parquet(year / "unlabelled.parquet")
    for arguments, said in (
        (("--data", "timeless.parquet"), "name it with --time"),
        (("--data", "unlabelled.parquet"), "no column 'minutes_in_air', the target"),
        (("--data", "flights.parquet", "--time", "when"), "no column 'when' in the data"),
        (("--data", "flights.parquet", "--train-until", "2014-01-01"), "name an earlier --train-until"),
        (("--data", "flights.parquet", "--vary", "detect.budget=1"), "models.airtime.detect.budget"),
        (("--data", "flights.parquet", "--cost", "builds=1"), "'builds=1' is not one of build=NUMBER"),
    ):
        ended = driftd(year, "rehearse", *arguments)
        assert ended.returncode != 0
        assert said in ended.stderr, ended.stderr


# --- the daemon's own record ------------------------------------------------------------------------------------------


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    return frame, truth + 2.5 * (frame["b"].to_numpy() > 0)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A production that saw a change, built, and serves what it built."""
    world = World.begin(tmp_path_factory.mktemp("lived"))
    world.live(8)
    world.live(30, concept, until=lambda item: Event.PROMOTED in item.events)
    world.live(3, concept)
    world.close()
    return world


def test_a_rehearsal_of_the_own_source_repeats_production_and_leaves_it_alone(lived: World) -> None:
    """It begins with the version that served first, finds the same change, and not one byte of the state is another."""
    before = digests(lived.places.root)
    report = rehearsed(lived.folder, "--every", "8", "--report", "own.html")
    assert digests(lived.places.root) == before
    config = way(report, "as it is")
    events = [line["event"] for line in config["decisions"]]
    assert events[:3] == [Event.ADOPTED, Event.ALARM, Event.BUILD_STARTED]
    assert Event.PROMOTED in events
    assert config["not_logged"] == 0


def test_a_replay_comes_to_what_is_on_record(lived: World) -> None:
    """Under the config that was in force, every decision is the one that was taken; the state stays as it is."""
    before = digests(lived.places.root)
    ended = driftd(lived.folder, "replay", "--json")
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert digests(lived.places.root) == before
    with StateReader.read_only(lived.places.state_db) as reader:
        decisions = len(reader.decisions_of(MODEL)) - 1  # without the adoption
    assert (said["differences"], said["ends"], said["decisions"]) == ([], None, decisions)


@pytest.mark.parametrize(
    ("change", "recorded", "changed", "ends"),
    [
        ("retrain: {{on: [], cooldown: 1h}}", "build started", "nothing", "would still have served"),
        ("detect: {{false_alarms_per_year: 0.000001}}", "alarm, build started", "nothing", "would still have served"),
    ],
)
def test_a_changed_config_would_have_decided_otherwise(
    lived: World, tmp_path: Path, change: str, recorded: str, changed: str, ends: str
) -> None:
    """The decision that differs is named with its sentence, and the replay ends where the record tells no more."""
    text = CONFIG.replace("retrain: {{on: [performance], cooldown: 1h}}", change)
    if "detect" in change:
        text = CONFIG.replace("    retrain:", f"    {change}\n    retrain:")
    (tmp_path / "changed.yaml").write_text(text.format(state=lived.places.root))
    ended = driftd(tmp_path, "replay", "--config", "changed.yaml", "--json")
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    kinds = [event for each in said["differences"] for event in each["recorded"].split(", ")]
    assert set(recorded.split(", ")) <= set(kinds)
    assert changed in {each["changed"] for each in said["differences"]} or changed == "nothing"
    assert all(each["sentence"] for each in said["differences"])
    assert ends in said["ends"]


def test_a_key_that_changes_the_evidence_is_named_and_not_followed(lived: World, tmp_path: Path) -> None:
    """The stored checks hold the evidence of before: the replay says so instead of a figure that means nothing."""
    text = CONFIG.replace("    retrain:", "    detect: {{data: {{tolerance: 0.2}}}}\n    retrain:")
    (tmp_path / "changed.yaml").write_text(text.format(state=lived.places.root))
    ended = driftd(tmp_path, "replay", "--config", "changed.yaml", "--json")
    said = json.loads(ended.stdout)
    assert said["changes"] == []
    assert "detect.data.tolerance: it changes the evidence itself" in said["not_followed"][0]
