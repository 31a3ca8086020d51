"""`benchmarks/decisions.py`: how it reads a stream, and its figures on a small one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
DAY = 86_400.0
ANYTHING = {"window": None, "first": 0.1, "rows": None}


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import decisions  # type: ignore[import-not-found]  # noqa: PLC0415 - only from here is it on the path

    module: ModuleType = decisions
    return module


def rows(days: int = 40, a_day: int = 30) -> pd.DataFrame:
    """Rows with times, and labels two days late; what `x` means turns round after 16 days."""
    rng, count = np.random.default_rng(3), days * a_day
    x, sign = rng.normal(size=count), np.where(np.arange(count) < 16 * a_day, 1.0, -1.0)
    ts = pd.Timestamp("2021-03-01") + pd.to_timedelta(np.arange(count) / a_day, unit="D")
    frame = pd.DataFrame({"x": x, "kind": rng.choice(["a", "b"], count), "meta_id": np.arange(count), "ts": ts})
    return frame.assign(label_ts=ts + pd.Timedelta(days=2), target=5 * sign * x + rng.normal(0, 0.3, count))


def test_a_stream_is_cut_by_its_own_times(decisions: ModuleType) -> None:
    """A window has about a hundred rows, version 1 ends with a window, and no row of it has a label from later."""
    stream = decisions.stream_of("s", rows(), **ANYTHING).stream
    assert (stream.task, stream.features) == ("regression", ("x", "kind"))
    assert (stream.window, stream.until % stream.window) == (4 * DAY, 0.0)
    assert (stream.first["label_at"] <= stream.until).all()
    assert len(stream.first) < 120
    assert stream.rest["prediction_id"].is_unique


def test_a_stream_without_times_comes_in_order(decisions: ModuleType) -> None:
    """Rows in order make about 150 windows of a day; a whole-number target of few values is a class, as text."""
    frame = rows().drop(columns=["ts", "label_ts"]).assign(target=lambda frame: (frame["target"] > 0).astype(int))
    stream = decisions.stream_of("s", frame, **ANYTHING).stream
    assert (stream.task, stream.window) == ("classification", DAY)
    assert set(stream.frame["target"]) == {"0", "1"}
    assert 145 <= (stream.frame["at"].iloc[-1] - stream.frame["at"].iloc[0]) / DAY <= 150
    thinned = decisions.stream_of("s", frame, **{**ANYTHING, "rows": 400})
    assert len(thinned.stream.frame) == 400
    assert "one of 3" in thinned.said


def test_a_stream_that_is_not_there_is_named(decisions: ModuleType, tmp_path: Path) -> None:
    """The error says which file is missing and what to do."""
    with pytest.raises(
        SystemExit, match=r"covertype\.parquet is not there: name the folder with the streams by --data"
    ):
        decisions.case_of("covertype", tmp_path, ANYTHING)


@pytest.mark.slow
@pytest.mark.soak
def test_the_ways_of_keeping_a_model_are_measured_side_by_side(tmp_path: Path) -> None:
    """Every prediction counts for each of them, builds are those of the schedule, fits are counted."""
    file = tmp_path / "small.parquet"
    rows(days=26).to_parquet(file)
    command = [sys.executable, ROOT / "benchmarks/decisions.py", "--json", "--stream", file]
    found = subprocess.run(
        [*command, "--window", str(DAY), "--first", "0.3"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("daemon", "detectors"))},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    (figures,) = json.loads(found.stdout)
    policies = figures["policies"]
    assert (figures["windows"], figures["replayed"]) == (18, 540)
    assert [policies[name]["builds"] for name in ("left alone", "every 28 windows", "every 7 windows")] == [1, 1, 3]
    assert policies["every window"]["builds"] == policies["every window"]["fits"] == 18
    assert policies["left alone"]["to_static"] == 1.0
    assert policies["every window"]["error"] < policies["left alone"]["error"]
    assert policies["driftd"]["fits"] >= policies["driftd"]["builds"] >= 1
    assert np.isfinite([row["error"] for row in policies.values()]).all()
