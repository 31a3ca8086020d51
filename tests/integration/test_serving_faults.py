"""`driftd serve` and the SDK where things go wrong: no room, garbage, limits, forks; and how small the server stays."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from driftd import Driftd
from driftd.paths import Places
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.artefact import store_estimator
from driftd.registry.manifest import write_manifest
from driftd.store.events.reader import EventReader
from driftd_detectors.schema import Feature, Kind, Schema, Task
from fault_counts import fail_calls
from limits import HANG, time_limit, wait

pytestmark = pytest.mark.slow

MODEL = "demand"
SCHEMA = Schema(Task.CLASSIFICATION, "y", (Feature("x", Kind.NUMBER), Feature("z", Kind.NUMBER)), ("no", "yes"))
CONFIG = """\
state_dir: {state}
serve: {{listen: "127.0.0.1:0", max_body: 50000, max_batch: 50}}
models:
  demand: {{task: classification, target: y, window: {{every: 1h}}}}
  empty: {{task: regression, target: y, window: {{every: 1h}}}}
"""
GOOD = {"features": {"x": 1.0, "z": 0.5}}
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(item for item in sys.path if item)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of two models, one of which has a version."""
    places = Places(tmp_path / "state")
    registry = Registry(places)
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=200), "z": rng.normal(size=200)})
    estimator = HistGradientBoostingClassifier(max_iter=5).fit(frame, np.where(frame["x"] > 0, "yes", "no"))
    folder = registry.stage(MODEL)
    artefact = store_estimator(estimator, folder, allow_joblib=False)
    write_manifest(folder, Manifest(MODEL, 1, 0.0, SCHEMA, "s", Trainer("a:b", "f"), 0, "manual", "asked", artefact))
    registry.publish(MODEL, 1, folder)
    registry.point(MODEL, 1)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=places.root))
    return path


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "driftd.cli.main", "serve", "--config", str(path)]


@contextmanager
def serving(path: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """A real server on a free port."""
    process = subprocess.Popen(command(path), env=ENVIRONMENT, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            output = json.loads(line)
            if output["event"] == "serving":
                with httpx.Client(base_url=f"http://{output['address']}", timeout=HANG) as client:
                    yield client, process
                break
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def post(http: httpx.Client, route: str, body: object) -> httpx.Response:
    return http.post(f"/v1/models/{MODEL}/{route}", json=body)


def logged(path: Path) -> int:
    places = Places(path.parent / "state")
    reader = EventReader(places.events_db(MODEL), SCHEMA, places.segments(MODEL))
    try:
        return reader.count()
    finally:
        reader.close()


def event(number: int) -> dict[str, object]:
    return {"prediction_id": f"e{number}", "prediction": "yes", "score": 0.7, **GOOD}


def test_without_room_nothing_is_acknowledged_and_predictions_go_on(config: Path) -> None:
    """Without room: ingestion 503 with a time to come back, predictions `logged: false`; with room all goes on."""
    with serving(config) as (http, process):
        kept = sum(post(http, "predictions", event(number)).status_code == 200 for number in range(3))
        limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        refused = post(http, "predictions", event(100))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        answer = post(http, "predict", GOOD)
        assert answer.status_code == 200
        assert (answer.json()["logged"], answer.json()["prediction"]) == (False, "yes")
        assert answer.json()["reason"]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
        assert post(http, "predictions", event(100)).json()["accepted"] == 1
        assert post(http, "predict", GOOD).json()["logged"] is True
        metrics = http.get("/metrics").text
    assert 'driftd_serve_not_kept_total{model="demand"} 1.0' in metrics
    assert 'driftd_serve_unlogged_predictions_total{model="demand"} 1.0' in metrics
    assert logged(config) == kept + 2


@pytest.mark.parametrize(("call", "error"), [("fdatasync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO")])
def test_errors_of_the_disk_are_refused_and_leave_nothing_behind(config: Path, call: str, error: str) -> None:
    """While writes or syncs fail nothing is acknowledged and predictions go on; afterwards events are taken again."""
    with serving(config) as (http, process):
        kept = [number for number in range(3) if post(http, "predictions", event(number)).status_code == 200]
        with fail_calls(process.pid, call, error):
            assert post(http, "predictions", event(100)).status_code == 503
            answer = post(http, "predict", GOOD)
            assert (answer.status_code, answer.json()["logged"]) == (200, False)
        wait(lambda: post(http, "predictions", event(101)).status_code == 200, "events are taken again")
        kept.append(101)
        assert post(http, "predictions", event(100)).status_code == 200  # the client's second try
    assert len(kept) == 4
    assert logged(config) in {5, 6}  # a prediction that said `logged: false` may have been kept all the same


def test_a_server_that_only_ingests_stays_small(config: Path) -> None:
    """Without `preload`, pandas and scikit-learn come with the first prediction, not before."""

    def loaded(process: subprocess.Popen[bytes]) -> set[str]:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        return {name for name in ("pandas", "sklearn", "scipy", "pyarrow") if f"/{name}/" in maps}

    config.write_text(config.read_text().replace("max_body:", "preload: false, max_body:"))
    with serving(config) as (http, process):
        assert post(http, "predictions", [event(number) for number in range(20)]).json()["accepted"] == 20
        assert post(http, "feedback", {"prediction_id": "e1", "label": "no"}).json()["accepted"] == 1
        http.get("/metrics")
        http.get("/-/ready")
        assert loaded(process) == set()
        assert post(http, "predict", GOOD).status_code == 200
        assert {"pandas", "sklearn"} <= loaded(process)


GARBAGE = [
    None,
    True,
    "text",
    [],
    {},
    {"features": None},
    {"features": []},
    {"features": {"x": [1, 2]}},
    {"features": {"x": {"deep": [{}]}}},
    {"features": {"x": "tall"}},
    {"features": {"x": 10**400}},
    {**GOOD, "at": "yesterday"},
    {**GOOD, "at": 1e300},
    {**GOOD, "prediction_id": ""},
    {**GOOD, "prediction_id": "x" * 300},
    {**GOOD, "prediction_id": {"a": 1}},
]


def test_garbage_never_fails_the_server_and_never_its_neighbours(config: Path) -> None:
    """Whatever an event is, each route answers below 500, names a field, and serves what stands beside it."""
    with serving(config) as (http, _):
        for route in ("predict", "predictions", "feedback"):
            for bad in GARBAGE:
                beside = {"prediction_id": "l", "label": "no"} if route == "feedback" else event(0)
                alone, batch = post(http, route, [bad]), post(http, route, [beside, bad, beside])
                assert alone.status_code == 422, (route, bad, alone.text)
                assert batch.status_code == 200, (route, bad, batch.text)
                output = batch.json()
                if route == "predict":
                    assert [item.get("version") for item in output] == [1, None, 1]
                    assert set(output[1]) == {"index", "error", "field"}
                else:
                    assert [item["index"] for item in output["refused"]] == [1]
        assert post(http, "predict", {"features": {}}).json()["version"] == 1  # all missing is not malformed
        assert 'driftd_serve_refusals_total{field="features",model="demand"}' in http.get("/metrics").text


def test_requests_are_bounded_and_misdirected_ones_are_told_where_to_go(config: Path) -> None:
    """413 beyond the configured body and batch, 404 with the known models, 405, and nothing of a path is a file."""
    with serving(config) as (http, _):
        assert post(http, "predictions", [event(n) for n in range(51)]).status_code == 413
        large = http.post(f"/v1/models/{MODEL}/predictions", content=b"[" + b" " * 60_000)
        assert (large.status_code, "max_body" in large.text) == (413, True)
        assert post(http, "predictions", event(1)).status_code == 200
        for name in ("nobody", "..%2F..%2Fetc", "%2e%2e", "DEMAND"):
            assert http.post(f"/v1/models/{name}/predict", json=GOOD).status_code in {404, 405}, name
        assert "demand, empty" in http.post("/v1/models/nobody/predict", json=GOOD).text
        assert http.get(f"/v1/models/{MODEL}/predict").status_code == 405
        assert "/v1/models/{model}/predict" in http.get("/etc/passwd").json()["error"]
        assert http.post("/v1/models/empty/predict", json=GOOD).status_code == 503
        assert http.post("/v1/models/empty/predictions", json=event(1)).status_code == 503
        wait(lambda: http.get("/-/ready").status_code == 200, "the version is warm")
        assert "empty: no version" in http.get("/-/ready").text


def test_ready_is_said_when_the_first_prediction_is_fast(config: Path) -> None:
    """Ready means that the version is loaded and has predicted a row; a server that cannot load it says 0 and why."""
    with serving(config) as (http, process):
        wait(lambda: http.get("/-/ready").status_code == 200, "the version is warm")
        assert "sklearn" in Path(f"/proc/{process.pid}/maps").read_text()
        assert f'driftd_serve_version{{model="{MODEL}"}} 1.0' in http.get("/metrics").text
        began = time.perf_counter()
        assert post(http, "predict", GOOD).status_code == 200
        assert time.perf_counter() - began < time_limit(1.0)  # a model that is not loaded yet takes longer
    artefact = config.parent / "state" / "models" / MODEL / "versions" / "1" / "model.skops"
    artefact.write_bytes(b"damaged")
    with serving(config) as (http, _):
        wait(lambda: "does not match its manifest" in http.get("/-/ready").text, "the damage is told")
        assert http.get("/-/ready").status_code == 503
        assert f'driftd_serve_version{{model="{MODEL}"}} 0.0' in http.get("/metrics").text
        assert f'driftd_serve_linked_version{{model="{MODEL}"}} 1.0' in http.get("/metrics").text


def test_a_used_address_is_told_in_one_sentence(config: Path) -> None:
    """A second server on the same address ends at once, with what to do."""
    with serving(config) as (http, _):
        config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{http.base_url.port}"))
        second = subprocess.run(
            command(config), env=ENVIRONMENT, capture_output=True, text=True, timeout=HANG, check=False
        )
    assert second.returncode == 1
    assert "another program listens there" in second.stderr
    assert "Traceback" not in second.stderr


def test_background_logging_keeps_everything_by_the_end(config: Path) -> None:
    """With `durable=False` calls do not wait, and closing keeps what was waiting."""
    with Driftd(config.parent / "state", MODEL, durable=False) as sdk:
        answers = [sdk.predict({"x": 1.0, "z": float(number)}) for number in range(50)]
        assert all(item.logged for item in answers)
        assert sdk.dropped == 0
    assert logged(config) == 50


def test_events_are_bounded_by_waiting_and_counted(config: Path) -> None:
    """What does not fit into memory while the store is busy is answered, not logged, and counted; nothing waits."""
    with Driftd(config.parent / "state", MODEL, durable=False, waiting=10) as sdk:
        opened = sdk._events._open
        assert opened is not None
        with opened[0]._lock:
            answers = [sdk.predict([{"x": 1.0}] * 4) for _ in range(10)]
        assert sdk.dropped == sum(not item.logged for batch in answers for item in batch) > 0
        kept = sum(item.logged for batch in answers for item in batch)
    assert logged(config) == kept


def test_a_forked_child_answers_but_says_that_it_logs_nothing(config: Path) -> None:
    """One connection in two processes would lose events: the child answers `logged=False`, the parent loses nothing."""
    program = f"""
import os
from driftd import Driftd
sdk = Driftd({str(config.parent / "state")!r}, {MODEL!r})
assert sdk.predict({{"x": 1.0}}).logged
child = os.fork()
answers = [sdk.predict({{"x": 1.0}}) for _ in range(5)]
assert all(one.logged == bool(child) for one in answers), answers
assert child or "fork" in answers[0].reason
sdk.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, timeout=HANG, check=True)
    assert logged(config) == 6
