"""Refreshes on the real loop: fresh versions from all rows, judged by siblings, watched until the next."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.config.model_schema import Retrain, TrainingData
from driftd.events import Event
from driftd.paths import Places
from driftd.records import Phase
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.state.records import StoredTransition
from driftd.training import snapshots, stored_rows, training_rows
from driftd.training.bootstrap import FileColumns, labelled_table
from driftd.training.job_main import run_task
from driftd.training.siblings import load_generations
from driftd.training.snapshots import read_snapshot, take_snapshot
from driftd.training.stretches import first_generations
from driftd_detectors.reference import Reference
from fault_counts import daemon, events_of, open_kinds
from first_versions import first_version_of
from limits import time_limit, wait
from loop_world import CONFIG, HOUR, LABEL_DELAY, MODEL, ROWS, START, World, hour
from row_windows import CONFIG as ROW_CONFIG
from row_windows import first_version, live

pytestmark = pytest.mark.slow

# Storm control holds back what comes within hours: these tests want each refresh that is due.
EVERY_THREE = "refresh: {{rows: 2%, every: 3 windows}}, cooldown: 1m, budget: {{builds: 99, per: 1d}}"
REFRESHED = CONFIG.replace("on: [performance], cooldown: 1h", f"on: [performance, refresh], {EVERY_THREE}").replace(
    "max_iter: 30", "max_iter: 10"
)


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round; the features themselves do not change."""
    return frame, truth - 5 * frame["a"].to_numpy()


def history(world: World) -> list[StoredTransition]:
    return list(reversed(world.daemon.assembly.store.history(MODEL, 1000)))


def promoted(world: World) -> list[int]:
    return [line.figures["version"] for line in history(world) if line.event == Event.PROMOTED]


def test_rows_that_have_grown_are_refreshed_again_and_again_during_probation(tmp_path: Path) -> None:
    """Each three windows a version from all rows serves, without hold-out, judged by siblings that never saw the rows.

    What it promises is the loss of its siblings on unseen rows; its probation lasts until the next refresh.
    """
    world = World.begin(tmp_path, hours=60, config=REFRESHED)
    world.live(8)
    versions = promoted(world)
    assert len(versions) >= 2
    state, store = world.daemon.models[MODEL].state, world.daemon.assembly.store
    assert state.phase is Phase.PROBATION
    assert state.probation is not None
    assert state.probation.until_refresh
    assert not {"confirmed", "alarm", "build_failed"} & set(world.events)
    said = [line.reason for line in history(world) if line.event == Event.PROMOTED]
    assert "no older version is surely better" in said[0]
    registry = world.daemon.assembly.registry
    losses = [check.figures["loss"] for check in store.checks(MODEL, 1000, "labels") if "loss" in check.figures]
    found = load_generations(world.places, MODEL, 1000, allow_joblib=False)
    assert [generation.number for generation in found[:3]] == [0, 1, 2]  # the first two as if built with version 1
    for generation in found[2:]:
        manifest = registry.manifest(MODEL, generation.number)
        rows = read_snapshot(world.places, MODEL, manifest.snapshot)
        trained = int(manifest.data["training_rows"])
        assert manifest.trigger == "refresh"
        assert {"all", "recent", "half_life"} <= set(generation.recipes)
        assert len(rows.at) - trained <= 2 * ROWS  # those of the windows whose labels are still coming
        assert rows.at[trained - 1] < generation.seen_until <= manifest.created_at
        stored = registry.file(MODEL, generation.number, "reference.bin").read_bytes()
        reference = Reference.from_bytes(stored)
        assert reference.losses["mae"].rows < trained
        assert reference.losses["mae"].mean == pytest.approx(float(np.mean(losses)), rel=0.2)
    model_config = load(tmp_path / "config.yaml").models[MODEL].model_dump(mode="json")
    order = {"model": MODEL, "model_config": model_config, "state_dir": str(world.places.root)}
    again = run_task("reproduce", order | {"version": versions[-1], "scratch": str(tmp_path)})
    assert again["outcome"] == "same", again["sentence"]
    world.close()


def test_an_alarm_brings_refreshes_forward(tmp_path: Path) -> None:
    """After a change the real detector's alarm starts a refresh before one is due, and two more follow it."""
    slow = REFRESHED.replace("rows: 2%, every: 3 windows", "rows: 500%, every: 50 windows")
    world = World.begin(tmp_path, hours=60, config=slow)
    world.live(3)
    assert "build_started" not in world.events
    world.live(11, concept)
    lines = history(world)
    begun = [line for line in lines if line.event == Event.BUILD_STARTED]
    alarms = [line for line in lines if line.event == Event.ALARM and line.figures["kind"] == "performance"]
    assert {line.figures["trigger"] for line in begun} == {"performance"}
    assert begun[0].figures["alarm"] == alarms[0].figures["alarm"]
    assert begun[0].at == alarms[0].at
    of_last = [line.at for line in begun if line.figures["alarm"] == alarms[-1].figures["alarm"]]
    assert [round((at - of_last[0]) / HOUR) for at in of_last] == [0, 4, 7]
    state = world.daemon.models[MODEL].state
    assert state.refresh is not None
    assert state.refresh.recipe == "since_change"
    losses = [
        check.figures["loss"]
        for check in reversed(world.daemon.assembly.store.checks(MODEL, 1000, "labels"))
        if "loss" in check.figures
    ]
    assert losses[-1] < 0.5 * max(losses)
    world.close()


CONSTANT = """\
from sklearn.dummy import DummyRegressor

def train(data, context):
    return DummyRegressor().fit(data[list(context.features)], data[context.target])
"""


def refresh_once(
    folder: Path, config: str, delay: float = LABEL_DELAY, **of_the_model: object
) -> tuple[Places, dict[str, object]]:
    """Version 1 of ninety hours, and what a refresh after the last thirty of them, labelled, says."""
    path, places = folder / "config.yaml", Places(folder / "state")
    path.write_text(config.format(state=places.root))
    model = load(path).models[MODEL]
    parts = []
    for number in range(90):
        frame, truth = hour(number)
        at = START + number * HOUR + np.arange(ROWS) * HOUR / ROWS
        parts.append(frame.assign(y=truth, at=at, label_at=at + delay * np.linspace(0.5, 1.5, ROWS)))
    rows = pd.concat(parts)
    columns = FileColumns(time="at", label_time="label_at")
    first = rows[np.fmax(rows["at"], rows["label_at"]) < START + 60 * HOUR]
    first_version_of(MODEL, model, first, columns, places, now=START + 60 * HOUR)
    manifest = Registry(places).manifest(MODEL, 1)
    until = START + 90 * HOUR
    known = rows[rows["label_at"] < until]
    later = take_snapshot(places, MODEL, [labelled_table(known, manifest.schema, columns, until)], manifest.schema)
    order = {
        "model": MODEL,
        "model_config": model.model_copy(update=of_the_model).model_dump(mode="json"),
        "state_dir": str(places.root),
        "schema": manifest.schema.to_dict(),
        "since": 0.0,
        "until": until,
        "base": later.digest,
        "version": 2,
        "seed": 2,
        "champion": 1,
        "served": [1],
        "trigger": "refresh",
        "reason": "rows have grown",
    }
    value = run_task("refresh", order)
    assert run_task("refresh", order) == value  # the very same job, after a crash
    return places, dict(value)


def test_the_first_refresh_is_judged_by_what_would_have_been_built_before(tmp_path: Path) -> None:
    """Without siblings on disk, those of the champion's time are built first: the first refresh is judged, too."""
    places, value = refresh_once(tmp_path, CONFIG)
    assert value["serves"] == 2
    assert "judged: 1 on" in str(value["sentence"])
    assert value["rows"] == pytest.approx(90 * ROWS, abs=2 * ROWS)
    manifest = Registry(places).manifest(MODEL, 2)
    assert manifest.status == "promote"
    assert manifest.parent == 1


def test_a_refresh_of_too_many_rows_trains_on_a_sample_and_is_built_again_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows stay on the disk, each recipe gets a sample, the lineage says which, and a judgement reads the same rows."""
    monkeypatch.setattr(training_rows, "HELD_VALUES", 0)
    monkeypatch.setattr(stored_rows, "_GROUP_ROWS", 5_000)
    monkeypatch.setattr(snapshots, "RUN_BYTES", 500_000)
    sampled = Retrain(data=TrainingData(sample=2000))
    places, value = refresh_once(tmp_path, CONFIG, retrain=sampled, parameters={"max_iter": 5})
    manifest = Registry(places).manifest(MODEL, 2)
    sample = manifest.data["sample"]
    assert value["rows"] == pytest.approx(90 * ROWS, abs=2 * ROWS)
    assert (sample["seen"], sample["kept"], sample["seed"]) == (value["rows"], 2000, 2)
    assert len(sample["strata"]) == 10
    model_config = load(tmp_path / "config.yaml").models[MODEL].model_dump(mode="json")
    order = {"model": MODEL, "model_config": model_config, "state_dir": str(places.root)}
    again = run_task("reproduce", order | {"version": 2, "scratch": str(tmp_path)})
    assert again["outcome"] == "same", again["sentence"]


def test_where_labels_come_late_recipes_have_twins_and_the_refresh_is_still_judged(tmp_path: Path) -> None:
    """Labels after twenty windows: young rows count by their arrival, and what is promised comes from mature ones."""
    places, value = refresh_once(tmp_path, CONFIG, delay=20 * HOUR)
    assert value["serves"] == 2, value["sentence"]
    (newest,) = load_generations(places, MODEL, 1000, allow_joblib=False)[-1:]
    assert newest.recipes == ("all", "recent", "all_weighted", "half_life_weighted")
    assert newest.unseen_from("all") < newest.unseen_from("all_weighted") == newest.seen_until
    assert "reference.bin" in Registry(places).manifest(MODEL, 2).files


def test_the_cautious_rule_serves_only_what_is_surely_better(tmp_path: Path) -> None:
    """With `promote.serve: surely_better` the champion stays where nothing changed, and the version's words say why."""
    places, value = refresh_once(tmp_path, CONFIG.replace("promote: {{", "promote: {{serve: surely_better, "))
    assert value["serves"] == 1
    assert "is not surely better (promote.serve is surely_better)" in str(value["sentence"])
    assert Registry(places).manifest(MODEL, 2).status == "reject"


def test_a_refit_that_is_broken_is_not_served_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a trainer begins to say always the same, the champion serves on, and the sentence says why."""
    (tmp_path / "constant_trainer.py").write_text(CONSTANT)
    monkeypatch.syspath_prepend(str(tmp_path))
    sound = first_generations
    monkeypatch.setattr(  # siblings of before are of the sound trainer
        "driftd.training.refit.first_generations",
        lambda trainer, *rest: sound(replace(trainer, trainer="driftd.trainers:gradient_boosting"), *rest),
    )
    _, value = refresh_once(tmp_path, CONFIG, trainer="constant_trainer:train")
    assert value["serves"] == 1
    assert value["is_broken"]
    assert "it says the same of each of the newest 1000 rows" in str(value["sentence"])


def test_a_daemon_that_is_killed_in_a_refresh_comes_back_to_the_right_place(tmp_path: Path) -> None:
    """`kill -9` while a refresh is at work: after the restart it is made once, and its version serves."""
    path, places = tmp_path / "config.yaml", Places(tmp_path / "state")
    text = ROW_CONFIG.replace(
        "on: [performance]", "on: [performance, refresh], refresh: {{rows: 2%, every: 3 windows}}"
    )
    path.write_text(text.format(state=places.root))
    first_version(path, places)
    with Driftd(places.root, MODEL) as application:
        for number in range(120, 126):
            live(application, number)
    for _ in range(2):
        with daemon(path) as process:
            wait(lambda: "refresh" in open_kinds(places, MODEL), "a refresh is under way")
            time.sleep(0.7)
            process.kill()
    with daemon(path) as process:
        wait(lambda: "promoted" in events_of(places, MODEL), "promoted")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=time_limit(8)) == 0
    events = events_of(places, MODEL)
    assert events.count("build_started") == 1
    assert "build_failed" not in events
    assert Registry(places).current(MODEL) == 2
    assert {path.name for path in places.siblings(MODEL).iterdir()} == {"0", "1", "2"}
