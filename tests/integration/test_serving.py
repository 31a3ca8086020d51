"""`driftd serve` and the SDK, with real HTTP, a real store and real versions."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import httpx
import pandas as pd
import pytest

from driftd import Driftd
from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.events.reader import EventReader
from driftd.training.bootstrap import FileColumns, make_first_version
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job
from driftd_processes import serve
from limits import time_limit, wait
from loop_world import hour

pytestmark = pytest.mark.slow

MODEL = "demand"
CONFIG = """\
state_dir: {state}
serve: {{listen: "127.0.0.1:0"}}
models:
  demand: {{task: regression, target: y, window: {{every: 1h}}, parameters: {{max_iter: 5}}}}
"""
ROW = {"a": 0.5, "b": -1.0, "c": "red"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose model has two versions, the first of which serves."""
    folder = tmp_path_factory.mktemp("serving")
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(state=folder / "state"))
    rows = pd.concat([frame.assign(y=truth) for frame, truth in map(hour, range(10))])
    config, places = load(path).models[MODEL], Places(folder / "state")
    first = make_first_version(MODEL, config, rows, FileColumns(), places, now=time.time())
    order = {
        "model": MODEL,
        "model_config": config.model_copy(update={"parameters": {"max_iter": 20}}).model_dump(mode="json"),
        "state_dir": str(places.root),
        "until": time.time(),
        "version": 2,
        "snapshot": first.snapshot,
        "change_at": None,
        "seed": 2,
        "parent": 1,
        "trigger": "manual",
        "reason": "a second version to swap to",
    }
    job = start_job(places.job("second"), "train", order, JobLimits(), SHARED)
    while (result := job.poll()) is None:
        time.sleep(0.02)
    assert result.ok, result.error
    return path


@pytest.fixture
def places(made: Path) -> Places:
    registry = Registry(Places(made.parent / "state"))
    registry.point(MODEL, 1)
    return Places(made.parent / "state")


def logged(places: Places) -> int:
    schema = Registry(places).manifest(MODEL, 1).schema
    reader = EventReader(places.events_db(MODEL), schema, places.segments(MODEL))
    try:
        return reader.count()
    finally:
        reader.close()


def test_predict_feedback_and_ingestion_over_http(made: Path, places: Places) -> None:
    """A prediction names its version and is logged; feedback and predictions made elsewhere are accepted once."""
    with serve(made) as (http, _):
        answer = http.post(f"/v1/models/{MODEL}/predict", json={"features": ROW}).json()
        assert answer["version"] == 1
        assert answer["logged"] is True
        many = http.post(f"/v1/models/{MODEL}/predict", json=[{"features": ROW}, {"features": {}}]).json()
        assert len(many) == 2
        output = {"prediction_id": answer["prediction_id"], "label": 3.5}
        assert http.post(f"/v1/models/{MODEL}/feedback", json=output).json()["accepted"] == 1
        elsewhere = {"prediction_id": "mine", "features": ROW, "prediction": 1.5}
        assert http.post(f"/v1/models/{MODEL}/predictions", json=elsewhere).json()["accepted"] == 1
        again = http.post(f"/v1/models/{MODEL}/predictions", json=elsewhere)
        assert (again.status_code, again.json()["duplicates"]) == (200, 1)
        wait(lambda: http.get("/-/ready").status_code == 200, "the version is warm")
        assert "driftd_serve_events_total" in http.get("/metrics").text


@pytest.mark.parametrize(
    ("route", "body", "status", "words"),
    [
        ("predictions", b"{", 400, "not JSON"),
        ("predictions", b"7", 400, "an array of at least one object"),
        ("predictions", json.dumps({"features": ROW, "prediction": 1.0}).encode(), 422, "prediction_id"),
        (
            "predictions",
            json.dumps({"prediction_id": "x", "features": {"a": "tall"}, "prediction": 1}).encode(),
            422,
            "a",
        ),
        ("predict", json.dumps({"rows": []}).encode(), 422, "features"),
        ("feedback", json.dumps({"prediction_id": "x"}).encode(), 422, "label"),
    ],
)
def test_a_malformed_event_is_refused_with_its_field(
    made: Path, places: Places, route: str, body: bytes, status: int, words: str
) -> None:
    """4xx, the field named, and the server goes on."""
    with serve(made) as (http, _):
        answer = http.post(f"/v1/models/{MODEL}/{route}", content=body)
        assert answer.status_code == status, answer.text
        assert words in answer.text
        assert http.post("/v1/models/nobody/predict", json={}).status_code == 404
        assert http.get("/-/healthy").status_code == 200


def test_the_rest_of_a_batch_is_kept(made: Path, places: Places) -> None:
    """One bad event of a batch is refused by index; its neighbours are accepted."""
    batch = [{"prediction_id": f"n{i}", "features": ROW, "prediction": 1.0} for i in range(3)]
    batch[1]["prediction"] = "high"
    with serve(made) as (http, _):
        answer = http.post(f"/v1/models/{MODEL}/predictions", json=batch).json()
    assert answer["accepted"] == 2
    assert [(item["index"], item["field"]) for item in answer["refused"]] == [(1, "prediction")]


def test_swaps_under_traffic_fail_and_mix_no_request(made: Path, places: Places) -> None:
    """While the link flips hundreds of times, every batch is answered by exactly one version, as that one answers."""
    registry = Registry(places)
    rows = hour(99)[0].head(20)
    expected = {}
    for version in (1, 2):
        registry.point(MODEL, version)
        with Driftd(places.root, MODEL) as sdk:
            expected[version] = [answer.prediction for answer in sdk.predict(rows)]
    assert expected[1] != expected[2]
    stop, flips, answers = threading.Event(), 0, 0

    def flip() -> None:
        nonlocal flips
        while not stop.is_set():
            registry.point(MODEL, 1 + flips % 2)
            flips += 1
            time.sleep(0.002)

    body = [{"features": row} for row in rows.to_dict("records")]
    seen = set()
    with serve(made) as (http, _):
        http.post(f"/v1/models/{MODEL}/predict", json=body)
        flipper = threading.Thread(target=flip)
        flipper.start()
        while answers < 150 or flips <= 200 or len(seen) < 2:
            answers += 1
            answer = http.post(f"/v1/models/{MODEL}/predict", json=body)
            assert answer.status_code == 200, answer.text
            (version,) = {item["version"] for item in answer.json()}
            assert [item["prediction"] for item in answer.json()] == pytest.approx(expected[version])
            seen.add(version)
        stop.set()
        flipper.join()
    assert seen == {1, 2}
    assert flips > 200


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(made: Path, places: Places, tmp_path: Path) -> None:
    """A damaged artefact is refused by its hash; the version before goes on answering and says why."""
    artefact = places.version(MODEL, 2) / "model.skops"
    whole = artefact.read_bytes()
    try:
        with Driftd(places.root, MODEL) as sdk:
            assert sdk.predict(ROW).version == 1
            artefact.write_bytes(whole[:-10])
            Registry(places).point(MODEL, 2)
            answer = sdk.predict(ROW)
            assert answer.version == 1
            assert sdk.fault is not None
            assert "does not match its manifest" in sdk.fault
    finally:
        artefact.write_bytes(whole)
        Registry(places).point(MODEL, 1)


def test_every_acknowledged_event_survives_kill_9(made: Path, places: Places) -> None:
    """The server is killed amid traffic; what it had acknowledged is in the store."""
    before, acknowledged = logged(places), 0
    with serve(made) as (http, process):
        killer = threading.Thread(target=lambda: (wait(lambda: acknowledged > 100, "traffic"), process.kill()))
        killer.start()
        try:
            for number in range(100_000):
                batch = [{"prediction_id": f"k{number}-{i}", "features": ROW, "prediction": 1.0} for i in range(20)]
                acknowledged += http.post(f"/v1/models/{MODEL}/predictions", json=batch).json()["accepted"]
        except httpx.HTTPError:
            pass
    assert acknowledged > 100
    assert logged(places) - before >= acknowledged


def test_sigterm_ends_the_server_cleanly(made: Path, places: Places) -> None:
    """SIGTERM ends it within seconds with exit code 0, what was handed in kept."""
    with serve(made) as (http, process):
        http.post(f"/v1/models/{MODEL}/predict", json={"features": ROW})
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=time_limit(8)) == 0
