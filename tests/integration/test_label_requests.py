"""`driftd label-requests` on a real model: drawn, remembered, and weighed when the labels come back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.cli.main import main
from driftd.config.load import load
from driftd.loop.checks import read_cohort, weigh_requested
from driftd.paths import Places
from driftd.records import Alarm, Build, BuildStep, Phase, Trigger, Window
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.sources import open_source
from driftd.sources.protocol import Source
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd.store.state.label_draws import LabelDraw, LabelRequest, post_label_draw
from driftd.store.state.reader import StateReader
from driftd.store.state.writer import StateStore
from driftd_detectors.monitor import Monitor
from driftd_detectors.reference import Reference
from driftd_detectors.settings import MonitorSettings
from driftd_detectors.window_data import ServedBy
from lineage_world import DAY, MODEL, NOW, SECOND, copy_world, look, rows

pytestmark = pytest.mark.slow
Command = Callable[..., tuple[int, str, str]]
UNTIL = SECOND + 20 * DAY


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The last ten days have no label; the labels of their certain, northern rows never come by themselves."""
    found = copy_world(tmp_path)
    write_logs(tmp_path, set())
    return found


def write_logs(folder: Path, labelled: set[str]) -> pd.DataFrame:
    """The logs, where of the last ten days only these predictions have their label; returns the whole truth."""
    truth = rows()
    late = truth["at"] >= UNTIL - 10 * DAY
    hidden = late & ~truth["id"].isin(labelled)
    known = truth.assign(y=truth["y"].where(~hidden), label_at=(truth["label_at"] + 5 * DAY * late).where(~hidden))
    known.to_parquet(folder / "logs" / "one.parquet")
    look(folder)
    return truth[late]


@pytest.fixture
def driftd(places: Places, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process at the end of the rows; its exit code, output and complaints."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["driftd", *arguments])
        monkeypatch.setenv("DRIFTD_CONFIG", str(places.root.parent / "config.yaml"))
        monkeypatch.setattr("driftd.cli.label_requests.time.time", lambda: NOW)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_a_draw_is_written_and_remembered(driftd: Command, places: Places, tmp_path: Path) -> None:
    """A CSV of predictions without labels, each with probability and weight; the store knows the same ones."""
    code, printed, said = driftd(
        "label-requests", MODEL, "--number", "80", "--seed", "5", "--to", str(tmp_path / "l.csv")
    )
    assert code == 0, said
    assert "80 of" in printed
    with (tmp_path / "l.csv").open(newline="") as file:
        asked = list(csv.DictReader(file))
    truth = write_logs(tmp_path, set())
    assert len(asked) == 80
    assert {line["prediction_id"] for line in asked} <= set(truth["id"])
    assert all(float(line["weight"]) == pytest.approx(1 / float(line["probability"])) for line in asked)
    with StateReader.read_only(places.state_db) as reader:
        draw = reader.label_draw(MODEL)
    assert draw is not None
    assert {request.prediction_id for request in draw.requests} == {line["prediction_id"] for line in asked}
    assert draw.predictions == len(truth)
    again = json.loads(driftd("label-requests", MODEL, "--again", "--json")[1])
    assert {line["prediction_id"] for line in again["requests"]} == {line["prediction_id"] for line in asked}


def test_no_prediction_is_drawn_from_twice(driftd: Command) -> None:
    """A second draw begins where the first one ended, and finds nothing new yet."""
    assert driftd("label-requests", MODEL, "--number", "20")[0] == 0
    code, _, said = driftd("label-requests", MODEL, "--number", "20")
    assert code != 0
    assert "without a label" in said


def test_the_segment_of_a_standing_alarm_is_drawn_more_often(driftd: Command, places: Places, tmp_path: Path) -> None:
    """Of the rows that an alarm names, five times as many are drawn as of others that are as uncertain."""
    with StateStore.open(places.state_db, durable=False) as store:
        alarm = Alarm("performance", "region=south", 20.0, 10.0, "the south got worse", None)
        store.save_alarm(MODEL, alarm, Window(1, SECOND, SECOND + 1), at=SECOND, version=2, leaders=[])
    found = json.loads(driftd("label-requests", MODEL, "--number", "100", "--seed", "1", "--json")[1])
    region = rows().set_index("id")["region"]
    drawn = [region[line["prediction_id"]] for line in found["requests"]]
    assert {line["boost"] for line in found["requests"]} == {1.0, 5.0}
    assert drawn.count("south") > drawn.count("north")


def test_labels_that_come_back_are_weighed(driftd: Command, places: Places, tmp_path: Path) -> None:
    """The cohort knows the drawn rows by their identity, and its weights stand for all rows without a label."""
    with StateStore.open(places.state_db, durable=False) as store:
        alarm = Alarm("performance", "region=south", 20.0, 10.0, "the south got worse", None)
        store.save_alarm(MODEL, alarm, Window(1, SECOND, SECOND + 1), at=SECOND, version=2, leaders=[])
    asked = json.loads(driftd("label-requests", MODEL, "--number", "300", "--seed", "2", "--json")[1])["requests"]
    truth = write_logs(tmp_path, {line["prediction_id"] for line in asked})
    config = load(tmp_path / "config.yaml").models[MODEL]
    source = open_source(MODEL, config, Registry(places).manifest(MODEL, 2).schema, places)
    source.refresh(NOW + 6 * DAY)
    weights, south = _weights_of(source, places, tmp_path)
    assert weights.sum() == pytest.approx(len(truth), rel=0.15)
    share = float((truth["region"] == "south").mean())
    weighted, plain = float(np.average(south, weights=weights)), float(np.mean(south))
    assert plain > 1.8 * share
    assert weighted == pytest.approx(share, rel=0.25)


def _weights_of(source: Source, places: Places, folder: Path) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """What each label of the last ten days counts, and whether its row is of the south."""
    registry = Registry(places)
    reference = Reference.from_bytes(registry.file(MODEL, 2, "reference.bin").read_bytes())
    monitor = Monitor.begin(reference, MonitorSettings(windows_per_year=365, window_seconds=DAY))
    region, found, south = rows().sort_values("at").set_index("at")["region"], [], []
    with StateReader.read_only(places.state_db) as reader:
        for index in range(int((UNTIL - 10 * DAY) / DAY), int(UNTIL / DAY)):
            window = Window(index, index * DAY, (index + 1) * DAY)
            cohort = read_cohort(source, window, monitor, ServedBy(2), NOW + 6 * DAY)
            cohort = weigh_requested(cohort, reader.requested_labels(MODEL, window))
            if cohort.outcomes.sampling is not None:
                known = cohort.outcomes.labelled
                found.append(cohort.outcomes.sampling[known])
                south += [region[at] == "south" for at in cohort.outcomes.at[known]]
    return np.concatenate(found), np.array(south)


def test_rows_of_the_store_are_known_again(driftd: Command, places: Places, tmp_path: Path) -> None:
    """The embedded store gives a row another hash than files do: its requests are found again all the same."""
    config = tmp_path / "config.yaml"
    lines = [line for line in config.read_text().splitlines() if "source:" not in line]
    config.write_text("\n".join(lines) + "\n")
    schema = Registry(places).manifest(MODEL, 2).schema
    store = EventStore.open(places.events_db(MODEL), schema, segments=places.segments(MODEL))
    events = [
        {
            "prediction_id": f"s{n}",
            "at": NOW - 3600 + n,
            "version": 2,
            "prediction": float(n % 7),
            "features": {"a": 0.1, "b": 2.0, "region": "south" if n % 3 else "north"},
        }
        for n in range(300)
    ]
    batch, refused = read_events(events, schema, NOW)
    assert refused == []
    store.append(batch)
    asked = json.loads(driftd("label-requests", MODEL, "--number", "30", "--seed", "3", "--json")[1])["requests"]
    back = [{"prediction_id": line["prediction_id"], "label": 1.0, "at": NOW + 10} for line in asked]
    store.append(read_events(back, schema, NOW + 20)[0])
    store.close()
    reference = Reference.from_bytes(Registry(places).file(MODEL, 2, "reference.bin").read_bytes())
    source = open_source(MODEL, load(config).models[MODEL], schema, places)
    window = Window(0, NOW - 7200, NOW)
    with StateReader.read_only(places.state_db) as reader:
        requested = reader.requested_labels(MODEL, window)
    cohort = read_cohort(
        source,
        window,
        Monitor.begin(reference, MonitorSettings(windows_per_year=365, window_seconds=DAY)),
        ServedBy(2),
        NOW + 100,
    )
    weighed = weigh_requested(cohort, requested)
    assert weighed.outcomes.sampling is not None
    known = weighed.outcomes.labelled
    assert known.sum() == 30
    assert (weighed.outcomes.sampling[known] > 1).all()
    assert weighed.outcomes.sampling[known].sum() == pytest.approx(300, rel=0.3)


def test_the_requests_of_a_model_are_bounded(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, so that the table never grows past its bound."""
    monkeypatch.setattr("driftd.store.state.label_draws.MOST_REQUESTS", 10)
    for number in range(3):
        requests = [
            LabelRequest(
                prediction_id=f"p{number}-{n}",
                predicted_at=number * 100.0 + n,
                probability=0.5,
                uncertainty=1.0,
                boost=1.0,
                row_hash=f"{n:016x}",
            )
            for n in range(8)
        ]
        span = {"since": number * 100.0, "until": number * 100.0 + 100}
        post_label_draw(
            places.state_db,
            LabelDraw(model=MODEL, drawn_at=1.0, seed=1, predictions=9, requests=requests, **span),  # type: ignore[arg-type]
        )
    with StateReader.read_only(places.state_db) as reader:
        kept = reader.requested_labels(MODEL, Window(0, 0.0, 1e9))
    assert kept is not None
    assert len(kept.hashes) == 10


def test_a_gate_that_waits_is_aimed_at(driftd: Command, places: Places) -> None:
    """Predictions on which the version that serves and the waiting one disagree are drawn more often."""
    with StateStore.open(places.state_db, durable=False) as store:
        state = store.model(MODEL)
        assert state is not None
        build = Build(1, Trigger.MANUAL, "asked", BuildStep.COLLECT, SECOND)
        store.save_state(replace(state, phase=Phase.RETRAINING, build=build), SECOND)
    asked = json.loads(driftd("label-requests", MODEL, "--number", "60", "--seed", "3", "--json")[1])["requests"]
    truth = rows().set_index("id")
    truth = truth[truth["at"] >= UNTIL - 10 * DAY]
    said = [
        version.predict(feature_frame(truth, version.schema)).prediction
        for version in (Registry(places).load(MODEL, number, allow_joblib=True) for number in (1, 2))
    ]
    apart = pd.Series(np.abs(said[0] - said[1]), index=truth.index)
    assert apart[[line["prediction_id"] for line in asked]].mean() > 1.2 * apart.mean()


def _save_draw(places: Places, day: int) -> LabelDraw:
    """A draw of one prediction, made at the end of a day."""
    request = LabelRequest(
        prediction_id=f"p{day}",
        predicted_at=day * DAY,
        probability=0.5,
        uncertainty=1.0,
        boost=1.0,
        row_hash=f"{day:x}",
    )
    draw = LabelDraw(
        model=MODEL,
        drawn_at=(day + 1) * DAY,
        since=day * DAY,
        until=(day + 1) * DAY,
        seed=1,
        predictions=9,
        requests=[request],
    )
    post_label_draw(places.state_db, draw)
    return draw


def test_older_draws_can_be_named_until_they_are_forgotten(driftd: Command, places: Places) -> None:
    """The newest draw by a time is shown; those beyond the retention of checks go, and the newest one stays."""
    first, second, _ = (_save_draw(places, day) for day in (20_000, 20_001, 20_002))
    shown = json.loads(driftd("label-requests", MODEL, "--at", "2024-10-05", "--json")[1])
    assert [line["prediction_id"] for line in shown["requests"]] == ["p20000"]
    assert shown["draws"] == [20_003 * DAY, second.drawn_at, first.drawn_at]
    assert driftd("label-requests", MODEL, "--at", "2024-10-04")[0] != 0
    with StateStore.open(places.state_db, durable=False) as store:
        store.prune(MODEL, before=second.drawn_at)
        assert store.label_draw_times(MODEL) == [20_003 * DAY, second.drawn_at]
        assert store.drawn_labels(MODEL, 0.0)[0].drawn.keys() == {"p20001"}
        store.prune(MODEL, before=20_100 * DAY)
        assert store.label_draw_times(MODEL) == [20_003 * DAY]
