"""Builds of real streams in real child processes: snapshot, train, judge, verify, shadow."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Schema, Task, class_name, learn_schema
from limits import HANG

pytestmark = pytest.mark.slow

STREAMS = Path(__file__).parents[3] / "shared" / "data"
LATE = 1e7  # seconds after the last row: every label is known


@dataclass
class World:
    """One stream behind a real `files` source, and the jobs of its model."""

    places: Places
    schema: Schema
    config: ModelConfig
    at: np.ndarray

    def run(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Run a job to its end and return its value."""
        output = {"model": "m", "model_config": self.config.model_dump(mode="json"), "state_dir": str(self.places.root)}
        folder = self.places.job(f"{task}-{time.monotonic_ns()}")
        job = start_job(folder, task, output | arguments, JobLimits(threads=1), SHARED)
        until = time.monotonic() + HANG
        while (result := job.poll()) is None:
            assert time.monotonic() < until, "the job did not end"
            time.sleep(0.02)
        assert result.ok, f"{result.error}\n{result.tail}"
        json.dumps(dict(result.value), allow_nan=False)
        return dict(result.value)

    def build(self, version: int, until: float, *, change_at: float | None = None, trigger: str = "manual") -> Any:
        """Snapshot and train a version; returns the value of the training."""
        snapshot = self.run("snapshot", schema=self.schema.to_dict(), since=0.0, until=until, change_at=change_at)
        return self.run(
            "train",
            version=version,
            snapshot=snapshot["digest"],
            change_at=change_at,
            trigger=trigger,
            reason="a test",
            parent=version - 1 or None,
            seed=7,
            until=until,
        )

    def judge(self, challenger: int, champion: int | None, until: float, trigger: str = "performance") -> Any:
        """Judge a challenger."""
        return self.run("judge", challenger=challenger, champion=champion, trigger=trigger, until=until)

    @property
    def registry(self) -> Registry:
        return Registry(self.places)


def world(
    root: Path,
    name: str,
    task: Task,
    metric: str,
    rows: slice,
    tilt: Any = None,
    segments: tuple[str, ...] = (),
    data: str = "all",
) -> World:
    """A part of a stream of the catalogue, written as the logs of an application."""
    path = STREAMS / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"the stream {path} is not on this machine")
    stream = pd.read_parquet(path).iloc[rows].reset_index(drop=True)
    at = stream["ts"].astype("datetime64[us]").astype("int64").to_numpy() / 1e6 if "ts" in stream else None
    at = np.arange(len(stream)) * 60.0 + 1.6e9 if at is None else at
    label_at = (
        stream["label_ts"].astype("datetime64[us]").astype("int64").to_numpy() / 1e6 if "label_ts" in stream else at
    )
    features = stream.drop(columns=["ts", "label_ts"], errors="ignore")
    if tilt is not None:
        features["target"] = tilt(features["target"].to_numpy(), at)
    schema = learn_schema(features, task=task, target="target")
    logs = features.assign(
        id=[f"r{n}" for n in range(len(stream))], at=at, label_at=np.maximum(label_at, at), version=1
    )
    logs["prediction"] = logs["target"].iloc[0]
    if task is Task.CLASSIFICATION:
        logs["target"] = [class_name(item) for item in logs["target"].tolist()]
    (root / "logs").mkdir()
    logs.to_parquet(root / "logs" / "one.parquet")
    names = {item: item for item in ("id", "at", "prediction", "version", "label_at")} | {"label": "target"}
    config = ModelConfig.model_validate(
        {
            "task": task,
            "target": "target",
            "source": {"kind": "files", "path": str(root / "logs"), "columns": names},
            "window": {"every": "1d"},
            "retrain": {"data": data},
            "detect": {"performance": {"metric": metric}, "segments": segments},
        }
    )
    places = Places(root / "state")
    source = open_source("m", config, schema, places)
    source.refresh(float(at[-1] + LATE))
    source.close()
    return World(places, schema, config, at)


def check_version(item: World, version: int) -> None:
    """A judged version verifies, and has a reference that reads back."""
    assert item.run("verify", version=version)["rows_compared"] == 64
    Reference.from_bytes(item.registry.file("m", version, "reference.bin").read_bytes())


def test_a_concept_change_is_learned_judged_and_promoted(tmp_path: Path) -> None:
    """Air times that jump by a third: the new version learns from the rows since then and wins by days."""
    change = 0.0

    def tilt(target: np.ndarray, at: np.ndarray) -> np.ndarray:
        nonlocal change
        change = float(at[int(len(at) * 0.6)])
        return np.where(at >= change, target * 1.33, target)

    item = world(
        tmp_path, "nyc_airtime", Task.REGRESSION, "mae", slice(0, 24_000), tilt, segments=("origin",), data="auto"
    )
    item.build(1, float(item.at[10_000]))
    assert item.judge(1, None, float(item.at[10_000]))["decision"] == "promote"
    until = float(item.at[19_000])
    second = item.build(2, until, change_at=change, trigger="performance")
    assert second["data"] in {"since_change", "weighted"}
    assert min(second["tried"], key=second["tried"].get) == second["data"]
    judged = item.judge(2, 1, until)
    again = item.judge(2, 1, float(item.at[-1] + LATE))
    assert again["rows"] > judged["rows"]
    assert again["decision"] == "promote", again["sentence"]
    assert again["gain"] > 10
    assert {guard["name"] for guard in again["guards"]} >= {"segment origin = JFK", "latency", "size"}
    manifest = item.registry.manifest("m", 2)
    assert manifest.gate is not None
    assert (manifest.gate["look"], manifest.status, manifest.parent) == (2, "promote", 1)
    assert manifest.metrics["mae"] < manifest.gate["champion_metrics"]["mae"]
    check_version(item, 2)


def test_the_same_order_gives_the_same_bytes(tmp_path: Path) -> None:
    """Snapshot, seed and trainer decide every byte of the artefact, in whatever process it is made."""
    item = world(tmp_path, "nyc_airtime", Task.REGRESSION, "mae", slice(0, 4_000), data="auto")
    until = float(item.at[-1] + LATE)
    item.build(1, until)
    item.build(2, until)
    first, second = (item.registry.manifest("m", version) for version in (1, 2))
    assert first.snapshot == second.snapshot
    assert first.files["model.skops"] == second.files["model.skops"]
    assert first.files["probe.parquet"] == second.files["probe.parquet"]


def test_late_labels_do_not_mislead_the_gate(tmp_path: Path) -> None:
    """Bookings whose labels come after months: a first judgement and one with all labels agree on who is better."""
    item = world(tmp_path, "hotel_bookings", Task.CLASSIFICATION, "roc_auc", slice(0, 20_000))
    item.build(1, float(item.at[9_000]))
    first = item.judge(1, None, float(item.at[9_000]))
    assert (first["decision"], first["metric"]) == ("promote", "error") or first["metric"] == "brier"
    item.build(2, float(item.at[17_000]))
    early = item.judge(2, 1, float(item.at[17_000]))
    full = item.judge(2, 1, float(item.at[-1] + LATE))
    assert early["gain"] == pytest.approx(full["gain"], abs=0.06)
    assert "roc_auc" in item.registry.manifest("m", 2).metrics
    check_version(item, 2)


def test_a_class_that_the_champion_never_saw_is_its_error(tmp_path: Path) -> None:
    """Cover types appear over time: champion and challenger know different classes and are still compared."""
    item = world(tmp_path, "covertype", Task.CLASSIFICATION, "accuracy", slice(0, 16_000))
    seen = {
        class_name(value) for value in pd.read_parquet(STREAMS / "covertype.parquet")["target"].iloc[:1500].tolist()
    }
    item.schema = replace(item.schema, classes=())
    item.build(1, float(item.at[1_500]))
    item.judge(1, None, float(item.at[1_500]))
    item.build(2, float(item.at[12_000]))
    known = [set(item.registry.manifest("m", version).schema.classes) for version in (1, 2)]
    assert known[0] <= seen
    assert known[0] < known[1]
    judged = item.judge(2, 1, float(item.at[-1] + LATE))
    assert judged["decision"] in {"promote", "inconclusive"}
    assert judged["rows"] >= 4000
    check_version(item, 2)


def test_a_watch_confirms_a_good_version_and_rolls_a_bad_one_back(tmp_path: Path) -> None:
    """After the swap the logged version is compared with the other one on the same live rows."""
    cut = 0.0

    def tilt(target: np.ndarray, at: np.ndarray) -> np.ndarray:
        nonlocal cut
        cut = float(at[int(len(at) * 0.5)])
        return np.where(at >= cut, target + 60, target)

    item = world(tmp_path, "nyc_airtime", Task.REGRESSION, "mae", slice(0, 16_000), tilt, data="since_change")
    item.build(1, float(item.at[7_900]))
    item.judge(1, None, float(item.at[7_900]))
    item.build(2, float(item.at[11_000]), change_at=cut)
    item.judge(2, 1, float(item.at[11_000]))
    since, until = float(item.at[11_500]), float(item.at[-1] + LATE)
    assert item.run("shadow", new=2, old=1, since=since, until=until)["labels"] == 0  # the logs are of version 1
    bad = item.run("shadow", new=1, old=2, since=since, until=until)
    assert bad["decision"] == "roll_back", bad["sentence"]
    assert bad["labels"] == len(item.at) - np.searchsorted(item.at, since)
