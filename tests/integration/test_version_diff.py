"""`driftd diff` on real versions: quality by segment, shifts of the data, parameters, and the code as a diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from driftd.paths import Places
from driftd.registry import Registry
from driftd_processes import driftd
from lineage_world import FIRST, MODEL, SECOND, copy_world, run_task

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Path:
    copy_world(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the real command measures."""
    folder = tmp_path_factory.mktemp("measured")
    copy_world(folder)
    done = driftd(folder, "diff", "1", "2", MODEL, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["measured"]
    return found


def test_two_versions_differ_by_segment(measured: dict[str, Any]) -> None:
    """Where the stream changed the new version gains, by rows that neither learned from; elsewhere both are alike."""
    assert measured["remarks"] == []
    assert measured["metric"] == "mae"
    assert measured["since"] >= SECOND - 11 * 86_400
    segments = {each["segment"]: each for each in measured["segments"]}
    assert set(segments) == {"", "region = north", "region = south"}
    south, north = segments["region = south"], segments["region = north"]
    assert south["gain_lower"] > 1
    assert south["other_loss"] - south["loss"] == pytest.approx(south["gain"])
    assert south["lower"] < south["loss"] < south["upper"]
    assert abs(north["gain"]) < south["gain"] / 2
    assert south["rows"] + north["rows"] == segments[""]["rows"]


def test_the_rows_that_they_learned_from_are_compared(measured: dict[str, Any]) -> None:
    """The feature that moved comes first, with what it was and is."""
    first, *others = measured["shifts"]
    assert first["feature"] == "b"
    assert first["distance"] > 3 * others[0]["distance"]
    assert float(first["b"]) > float(first["a"]) + 0.3
    assert all(each["distance"] < 0.1 for each in others)


def test_code_and_parameters_before_and_after(world: Path) -> None:
    """The file of the trainer is diffed, since its source is kept; the parameter is told with both values."""
    done = driftd(world, "diff", "1", "2", MODEL, "--recorded", "--json")
    found = json.loads(done.stdout)
    assert {"part": "parameters", "name": "alpha", "a": "1", "b": "2"} in found["differences"]
    (change,) = found["code"]
    assert change["file"] == "lineage_trainer.py"
    assert "+    # the south is warmer now" in change["diff"].splitlines()
    assert found["measured"] is None


def test_what_the_gate_judged_by_segment_is_on_record(world: Path) -> None:
    """The judgement of version 2 beside version 1 is told without reading a row."""
    found = json.loads(driftd(world, "diff", "1", "2", MODEL, "--recorded", "--json").stdout)
    judged = {each["segment"]: each for each in found["judged"]}
    assert judged["region = south"]["gain"] > 1
    assert found["judged_metric"] == "mae"
    backwards = json.loads(driftd(world, "diff", "2", "1", MODEL, "--recorded", "--json").stdout)
    assert backwards["judged"] == []


def test_a_diff_for_people(world: Path) -> None:
    """The same in tables and lines."""
    printed = driftd(world, "diff", "1", "2", MODEL).stdout
    for said in (
        "region = south",
        "+    # the south is warmer now",
        "gain of version 2 (95 %)",
        "learned from, largest",
    ):
        assert said in printed


def test_a_source_that_was_changed_is_not_shown(world: Path) -> None:
    """The diff says that what is kept does not match its hash, instead of showing it."""
    path = world / "state" / "models" / MODEL / "versions" / "1" / "trainer_source.json"
    path.write_text('{"lineage_trainer.py": "harmless"}')
    found = json.loads(driftd(world, "diff", "1", "2", MODEL, "--recorded", "--json").stdout)
    assert found["code"] == []
    assert "does not match its manifest" in found["code_note"]


def test_without_newer_rows_nothing_is_scored(world: Path) -> None:
    """The version that saw every labelled row cannot be scored on them, and the value says so."""
    value = run_task(world, "diff", a=1, b=2, until=FIRST)
    assert value["segments"] == []
    assert any("no labelled row is newer" in remark for remark in value["remarks"])  # type: ignore[attr-defined]


def test_another_column_may_cut_the_segments(world: Path) -> None:
    """A number is cut into fifths; a column that there is not is a remark."""
    value = run_task(world, "diff", a=1, b=2, until=SECOND + 20 * 86_400, columns=("b", "nowhere"))
    names = [each["segment"] for each in value["segments"]]  # type: ignore[attr-defined]
    assert len(names) == 6
    assert "nowhere is no feature of version 2" in value["remarks"]  # type: ignore[operator]


def test_a_snapshot_that_is_gone_is_a_remark(world: Path) -> None:
    """The rest of the diff is told all the same."""
    registry = Registry(Places(world / "state"))
    digest = registry.manifest(MODEL, 1).snapshot
    (world / "state" / "snapshots" / MODEL / digest / "data.parquet").unlink()
    found = json.loads(driftd(world, "diff", "1", "2", MODEL, "--json").stdout)["measured"]
    assert found["shifts"] == []
    assert any("cannot be compared" in remark for remark in found["remarks"])
    assert found["segments"]
