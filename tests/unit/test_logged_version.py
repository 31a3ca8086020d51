"""A version that is only known by its log: what its reference says where labels, scores or names are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_limits

from driftd import Driftd
from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Manifest, Registry
from driftd.registry.artefact import ArtefactError
from driftd.registry.versions import NothingServedError
from driftd.training.bootstrap import FileColumns, read_logged
from driftd.training.compare import predicted_by_logged
from driftd.training.snapshots import take_snapshot
from driftd.training.tasks import judge, train
from driftd.training.tasks.logged import Arguments, run
from driftd_detectors.columns import Outcomes, columns_of
from driftd_detectors.monitor import Monitor
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.reference import Reference
from driftd_detectors.settings import MonitorSettings
from driftd_detectors.window_data import ServedBy

pytestmark = pytest.mark.slow

HOUR, START, ROWS = 3600.0, 1_800_000_000.0 // 3600 * 3600, 2000
BASE = {"task": "classification", "target": "y", "serving": "external", "window": {"every": "1h"}}
COLUMNS = FileColumns(id="id", time="at", label_time="label_at", prediction="said", score="score", version="version")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a job, whose threads are limited."""
    with threadpool_limits(1):
        yield


def log(*, task: str = "classification", labelled: float = 0.9) -> pd.DataFrame:
    """What a system logged, oldest first; the newest rows have no label yet."""
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"price": rng.normal(20, 5, ROWS), "noise": rng.normal(size=ROWS)})
    rows["id"], rows["at"] = np.arange(ROWS), START + np.arange(ROWS) * 60.0
    rows["score"] = 1 / (1 + np.exp(-(rows["price"] - 20)))
    late = rows["score"] > rng.random(ROWS)
    classes = task == "classification"
    rows["said"] = np.where(rows["score"] > 0.5, "late", "early") if classes else rows["price"] * 2
    rows["y"] = np.where(late, "late", "early") if classes else rows["price"] * 2 + rng.normal(size=ROWS)
    rows["label_at"], rows["version"] = rows["at"] + 600.0, 41
    young = rows.index >= int(labelled * ROWS)
    rows.loc[young, "y"] = None if classes else np.nan
    rows.loc[young, "label_at"] = np.nan
    return rows


def made_of(
    folder: Path, rows: pd.DataFrame, columns: FileColumns = COLUMNS, **keys: Any
) -> tuple[Manifest, Reference, Registry]:
    """The version that the job makes of a log."""
    config, places = ModelConfig.model_validate({**BASE, **keys}), Places(folder / "state")
    now = float(rows["at"].max()) + HOUR
    table, _ = read_logged(config, rows, columns, now)
    pq.write_table(table, folder / "log.parquet")
    arguments = Arguments(
        model="demand",
        model_config=config.model_dump(mode="json"),
        state_dir=str(places.root),
        version=1,
        rows=str(folder / "log.parquet"),
        source="orders.parquet",
        snapshot="",
        until=now,
    )
    first, again = run(arguments), run(arguments)
    assert first == again  # a job that is run twice gives back what it made
    registry = Registry(places)
    reference = Reference.from_bytes(registry.file("demand", 1, "reference.bin").read_bytes())
    return registry.manifest("demand", 1), reference, registry


def test_the_reference_is_of_the_log(tmp_path: Path) -> None:
    """All rows are its Profile, the mature labels its losses, their times its delay, and the numbers are kept."""
    manifest, reference, registry = made_of(tmp_path, log())
    assert (manifest.is_logged, manifest.schema.classes) == (True, ("early", "late"))
    assert (manifest.data["held_out_rows"], manifest.data["labelled_rows"]) == (ROWS, 1800)
    assert (manifest.data["logged_version"], manifest.data["last_at"]) == (41, START + (ROWS - 1) * 60.0)
    assert reference.profile.rows == ROWS
    assert reference.loss == "brier"
    assert reference.losses["brier"].rows == 1800
    assert reference.label_delay.is_known
    assert reference.importance["price"] > 10 * reference.importance["noise"]
    assert "orders.parquet" in manifest.reason
    with pytest.raises(ArtefactError, match="the version is served elsewhere"):
        registry.load("demand", 1)
    registry.point("demand", 1)
    with Driftd(tmp_path / "state", "demand") as sdk:
        with pytest.raises(NothingServedError, match="the version is served elsewhere"):
            sdk.predict({"price": 20.0, "noise": 0.0})
        event = {"prediction_id": "1", "features": {"price": 20.0, "noise": 0.0}, "prediction": "late", "version": 41}
        assert sdk.log([event])[0].predictions == 1


def test_a_log_without_labels_is_watched_by_features_and_predictions(tmp_path: Path) -> None:
    """No loss is known, the first check says something all the same, and labels that come later are no fault."""
    rows = log().drop(columns=["y", "label_at"])
    columns = FileColumns(id="id", time="at", prediction="said", score="score")
    manifest, reference, _ = made_of(tmp_path, rows, columns)
    assert manifest.schema.classes == ("early", "late")
    assert reference.losses == {}
    assert not reference.label_delay.is_known
    assert "none of them has a label" in (manifest.gate or {})["sentence"]
    window = rows.head(200)
    at = window["at"].to_numpy()
    said = np.array([manifest.schema.classes.index(name) for name in window["said"]], dtype=np.float64)
    missing, version = np.full(200, np.nan), np.zeros(200, dtype=np.int64)
    outcomes = Outcomes(at, said, window["score"].to_numpy(), missing, missing, version, manifest.schema.classes)
    monitor = Monitor.begin(reference, MonitorSettings(windows_per_year=8766.0, window_seconds=HOUR))
    profile = profile_of(columns_of(window, manifest.schema), outcomes, reference.layout)
    monitor, assessment = monitor.check(profile, float(at[0]))
    assert assessment.verdict in ("ok", "inconclusive")
    labelled = Outcomes(at, said, window["score"].to_numpy(), said, at + 60.0, version, manifest.schema.classes)
    _, later = monitor.check_labels(labelled, float(at[0]), HOUR * 100)
    assert later.verdict != "error"


def test_a_log_without_scores_is_judged_by_the_plain_error(tmp_path: Path) -> None:
    """The Brier score and log loss need a score; the error does not."""
    manifest, reference, _ = made_of(
        tmp_path, log().drop(columns="score"), FileColumns(id="id", time="at", label_time="label_at", prediction="said")
    )
    assert reference.loss == "error"
    assert "brier" not in reference.losses
    assert manifest.metrics["loss"] == pytest.approx(1 - manifest.metrics["accuracy"])


def test_a_regression_is_watched_by_its_numbers(tmp_path: Path) -> None:
    """Without classes and scores; what has no number as its prediction is left out."""
    rows = log(task="regression")
    rows.loc[:9, "said"] = np.nan
    columns = FileColumns(id="id", time="at", label_time="label_at", prediction="said")
    manifest, reference, _ = made_of(tmp_path, rows.drop(columns="score"), columns, task="regression")
    assert (reference.loss, reference.profile.rows) == ("mae", ROWS - 10)
    assert manifest.metrics["loss"] == pytest.approx(0.8, abs=0.1)


def test_classes_that_only_one_side_has_are_classes(tmp_path: Path) -> None:
    """What was never predicted, and what was never the label, both have their code; `classes` gives the order."""
    rows = log()
    rows.loc[rows["price"] > 30, "y"] = "lost"
    manifest, _, _ = made_of(tmp_path, rows)
    assert manifest.schema.classes == ("early", "late", "lost")
    (tmp_path / "named").mkdir()
    named, _, _ = made_of(tmp_path / "named", log(), classes=["late", "early"])
    assert named.schema.classes == ("late", "early")


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("on_record", [True, False])
def test_a_challenger_is_judged_against_what_was_logged(tmp_path: Path, scored: bool, on_record: bool) -> None:
    """By the score where there is one, else by the plain error; where no prediction is on record, by nothing."""
    rows, columns = log(), COLUMNS if scored else replace(COLUMNS, score=None)
    manifest, _, registry = made_of(tmp_path, rows, columns)
    config = ModelConfig.model_validate({**BASE, "parameters": {"max_iter": 10}})
    places, now = Places(tmp_path / "state"), float(rows["at"].max()) + HOUR
    table, schema = read_logged(config, rows, columns, now)
    snapshot = take_snapshot(places, "demand", [table], schema, logged=on_record)
    output: dict[str, Any] = {"model": "demand", "model_config": config.model_dump(mode="json"), "until": now}
    output |= {"state_dir": str(places.root), "trigger": "performance"}
    train.run(train.Arguments(**output, version=42, snapshot=snapshot.digest, seed=1, reason="drift", parent=1))
    judged = judge.run(judge.Arguments(**output, challenger=42, champion=1))
    gate = registry.manifest("demand", 42).gate or {}
    assert str(judged["sentence"]).endswith("it is compared with what version 1 logged for these rows")
    if not on_record:
        assert (judged["decision"], judged["rows"]) == ("inconclusive", 0)
        return
    held_out = rows.dropna(subset=["y"]).tail(int(str(judged["rows"])))
    assert gate["metric"] == ("brier" if scored else "error")
    wrong = float(np.mean(held_out["said"] != held_out["y"]))
    late = (held_out["y"] == "late").to_numpy()
    brier = float(np.mean((held_out["score"].to_numpy() - late) ** 2))
    assert gate["champion_metrics"]["loss"] == pytest.approx(brier if scored else wrong, rel=1e-6)
    assert manifest.version == gate["champion"]


def test_rows_are_told_apart_by_the_numbers_of_driftd() -> None:
    """A logged champion's rows may have any number but those of versions of driftd; else only its own or none."""
    at = np.array([10.0, 20.0, 30.0, 40.0])
    nothing, version = np.full(4, np.nan), np.array([0, 41, 42, -1])
    outcomes = Outcomes(at, nothing, nothing, nothing, nothing, version)
    assert ServedBy(1, frozenset({42})).foreign_rows(outcomes) == 1
    assert ServedBy(42).foreign_rows(outcomes) == 1  # 41
    assert ServedBy(42, since=15.0).foreign_rows(outcomes) == 2  # and the nameless row of before
    said = pytest.importorskip("pyarrow").array([1.0, 2.0, None, 4.0])
    table = pytest.importorskip("pyarrow").table({"driftd_version": version, "driftd_prediction": said})
    schema = type("S", (), {"classes": ()})()
    assert predicted_by_logged(table, schema, {42}).tolist() == [True, True, False, True]  # type: ignore[arg-type]  # classes alone are read
