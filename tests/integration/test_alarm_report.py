"""The `report` job, end to end: a real version, snapshot and event store, and a real child process."""

from __future__ import annotations

import time
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from driftd.demonstration import stream
from driftd.paths import Places
from driftd.records import Window
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.artefact import store_estimator
from driftd.registry.features import feature_frame
from driftd.registry.manifest import write_manifest
from driftd.rehearsal.rivals import fit
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, JobResult, job_environment, start_job
from driftd.training.snapshots import take_snapshot
from driftd_detectors.schema import Feature, Kind, Schema, Task

pytestmark = pytest.mark.slow

MODEL = "airtime"
TEXTS = ("carrier", "origin", "dest")
SCHEMA = Schema(
    Task.REGRESSION,
    stream.TARGET,
    tuple(Feature(name, Kind.CATEGORY if name in TEXTS else Kind.NUMBER) for name in stream.FEATURES),
)
JULY = Window(195, 15_900 * stream.DAY, 15_914 * stream.DAY)  # 14 days from 14 July 2013


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory: version 1 trained on the winter, and July's flights in the event store with their labels."""
    root = tmp_path_factory.mktemp("state")
    places, registry = Places(root), Registry(Places(root))
    first, rest = stream.split(stream.load())
    snapshot = take_snapshot(places, MODEL, [_labelled(first)], SCHEMA)
    rows, target = feature_frame(first, SCHEMA), first[stream.TARGET]
    estimator = fit(rows, target, first["at"].to_numpy(), SCHEMA, {"max_iter": 30})
    folder = registry.stage(MODEL)
    artefact = store_estimator(estimator, folder, allow_joblib=False)
    trainer = Trainer("driftd.trainers:gradient_boosting", "f")
    write_manifest(folder, Manifest(MODEL, 1, 0.0, SCHEMA, snapshot.digest, trainer, 1, "manual", "first", artefact))
    registry.publish(MODEL, 1, folder)

    july = rest[(rest["at"] >= JULY.start) & (rest["at"] < JULY.end)]
    predicted = estimator.predict(feature_frame(july, SCHEMA))
    events: list[dict[str, Any]] = [
        {
            "prediction_id": row.prediction_id,
            "at": row.at,
            "version": 1,
            "features": {name: getattr(row, name) for name in stream.FEATURES},
            "prediction": float(guess),
        }
        for row, guess in zip(july.itertuples(), predicted, strict=True)
    ]
    events += [
        {"prediction_id": row.prediction_id, "label": getattr(row, stream.TARGET), "at": row.label_at}
        for row in july.itertuples()
    ]
    store = EventStore.open(places.events_db(MODEL), SCHEMA, segments=places.segments(MODEL))
    batch, refused = read_events(events, SCHEMA, JULY.end + 3 * stream.DAY)
    assert not refused
    store.append(batch)
    store.close()
    return root


def _labelled(rows: pd.DataFrame) -> pa.Table:
    """Rows as `Source.labelled` gives them."""
    own = {"prediction_id": "driftd_id", "at": "driftd_at", "label_at": "driftd_label_at"}
    return pa.Table.from_pandas(rows.rename(columns=own).assign(driftd_version=0), preserve_index=False)


def order(state: Path, **changes: Any) -> dict[str, Any]:
    """The arguments that the daemon gives."""
    config = {
        "task": "regression",
        "target": stream.TARGET,
        "detect": {"data": {"stattests": changes.pop("stattests", {})}},
    }
    output = {"id": 12, "sentence": "mae 15.6 against 7.1 learned", "kind": "performance", "leaders": [["mae", 1.0]]}
    alarm = output | changes.pop("alarm", {})
    window = asdict(changes.pop("window", JULY))
    return {
        "model": MODEL, "model_config": config, "state_dir": str(state), "version": 1, "alarm": alarm, "window": window,
    } | changes  # fmt: skip


def run_job(folder: Path, arguments: dict[str, Any]) -> JobResult:
    """Run the job as the daemon does and wait for its end."""
    SHARED.ensure(job_environment(JobLimits()))
    SHARED.await_ready()
    job = start_job(folder, "report", arguments, JobLimits(wall_seconds=240, nice=0), SHARED)
    while (result := job.poll()) is None:
        time.sleep(0.1)
    return result


def test_an_alarm_gets_its_page_and_its_opinions(state: Path, tmp_path: Path) -> None:
    """The page stands where the alarm's link leads, with driftd's reason, Evidently's quality part and each opinion."""
    chosen = {"distance": "ks", "carrier": "psi", "dest": "chisquare", "dow": "fisher_exact", "gate": "ks"}
    result = run_job(tmp_path / "job", order(state, stattests=chosen))
    assert result.ok, f"{result.error}\n{result.tail}"
    path = Places(state).report(MODEL, 12)
    assert result.value["path"] == str(path)
    page = path.read_text("utf-8")
    assert "mae 15.6 against 7.1 learned" in page
    assert "Regression Model Performance" in page
    assert [item["column"] for item in result.value["stattests"]] == list(chosen)
    verdicts = {item["column"]: item["drifted"] for item in result.value["stattests"]}
    assert verdicts["distance"] in {True, False}
    assert verdicts["dow"] is None
    assert verdicts["gate"] is None
    assert all(escape(item["sentence"]) in page for item in result.value["stattests"])
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_window_without_rows_still_gets_a_page(state: Path, tmp_path: Path) -> None:
    """A silent feed raises alarms too: its page says that there was nothing to compare."""
    silent = Window(1, 0.0, stream.DAY)
    result = run_job(tmp_path / "job", order(state, window=silent, alarm={"id": 13, "kind": "quality"}))
    assert result.ok, f"{result.error}\n{result.tail}"
    assert "Evidently could show nothing of these samples." in result.value["notes"]
    assert Places(state).report(MODEL, 13).is_file()


def test_a_version_that_is_gone_fails_the_job_with_its_reason(state: Path, tmp_path: Path) -> None:
    """Without the version there is no reference: the job fails with a sentence, and no page is left half written."""
    result = run_job(tmp_path / "job", order(state, version=9, alarm={"id": 14}))
    assert not result.ok
    assert "there is no version 9 of airtime" in result.error
    assert not Places(state).report(MODEL, 14).exists()
