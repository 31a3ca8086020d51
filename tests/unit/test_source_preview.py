"""What is said of log files before any daemon reads them, and of their rows once one does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from driftd.cli.check_config import source_warnings
from driftd.config.load import load
from driftd.doctor.models import source_finding
from driftd.observe import model_families
from driftd.observe.exposition import MetricStore
from driftd.observe.model_metrics import ModelMetrics
from driftd.sources.protocol import Extent
from driftd.views.row_counts import row_counts
from event_samples import START

CONFIG = """\
state_dir: {root}/state
models:
  demand:
    task: classification
    target: y
    features: {{size: number, town: category}}
    source: {{kind: files, path: {root}/logs, {more}}}
"""


def warnings(root: Path, more: str = "format: auto") -> list[str]:
    path = root / "config.yaml"
    path.write_text(CONFIG.format(root=root, more=more))
    return list(source_warnings(load(path)))


def write(root: Path, name: str, text: str) -> None:
    (root / "logs").mkdir(exist_ok=True)
    (root / "logs" / name).write_text(text)


ROW = {"prediction_id": "a", "at": START, "prediction": 1, "size": 3, "town": "x"}


def test_a_source_as_it_should_be(tmp_path: Path) -> None:
    """Files that are read as they are say nothing, and nothing of the look is kept."""
    write(tmp_path, "a.jsonl", json.dumps(ROW) + "\n")
    assert warnings(tmp_path) == []
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("name", "text", "more", "said"),
    [
        ("a.csv", "prediction_id;at;size\n1;2;3\n", "format: auto", 'set dialect: {separator: ";"}'),
        ("a.csv", "prediction_id;at;size\n1;2;3\n", 'dialect: {separator: ";"}', "no file has a column 'prediction'"),
        ("a.jsonl", json.dumps(ROW) + "\n", "columns: {at: when}", "has no column 'when' (columns: {at: when})"),
        (
            "a.jsonl",
            json.dumps(ROW) + "\n",
            "columns: {label: truth}",
            "the column 'truth' that `columns` maps to label",
        ),
        ("a.jsonl", json.dumps({**ROW, "at": START * 1000}) + "\n", "format: auto", "is in milliseconds"),
        ("a.jsonl", json.dumps({**ROW, "at": "noon"}) + "\n", "format: auto", "1 of 1 rows have no readable time"),
        (
            "a.jsonl",
            json.dumps({**ROW, "at": "2026-03-01 12:00 CET"}) + "\n",
            "format: auto",
            "zone abbreviations such as CET are not read",
        ),
        ("a.xlsx", "PK", "format: auto", "'.xlsx' is not one that driftd reads"),
        ("a.jsonl", "", "format: auto", "there is no row yet"),
        ("a.jsonl", json.dumps(ROW) + "\n", "feedback: /nonexistent/labels", "/nonexistent/labels does not exist"),
    ],
)
def test_what_is_wrong_with_a_source(tmp_path: Path, name: str, text: str, more: str, said: str) -> None:
    """Each fault of the first rows is told with the key of the model's source, before any daemon runs."""
    write(tmp_path, name, text)
    found = warnings(tmp_path, more)
    assert any(said in item for item in found), found
    assert all(item.startswith("models.demand.source: ") for item in found)


def test_labels_before_their_rows_are_told(tmp_path: Path) -> None:
    """They are counted, with an example, so that exchanged columns and two zones are found; a rounded time is none."""
    rows = [
        {**ROW, "prediction_id": str(n), "y": 1, "label_at": START + late} for n, late in enumerate((-3600, -0.4, 5))
    ]
    write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (found,) = warnings(tmp_path, "columns: {label: y}")
    assert "1 labels became known before the time of their own row" in found
    assert "are the columns 'at' and 'label_at' exchanged, or of two zones?" in found
    write(tmp_path, "a.jsonl", json.dumps(rows[-1]) + "\n")
    assert warnings(tmp_path, "columns: {label: y}") == []
    write(tmp_path, "a.jsonl", json.dumps({**rows[0], "label_at": -62_135_596_801}) + "\n")
    assert "(-62135596801 s after 1970 UTC for a row of " in " ".join(warnings(tmp_path, "columns: {label: y}"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A path that does not exist is a warning: it may be there by the start."""
    assert warnings(tmp_path) == [f"models.demand.source: {tmp_path}/logs does not exist"]


EXTENT = Extent(
    first_at=START,
    complete_until=START,
    rows=1000,
    late=12,
    counts={"malformed": 3.0, "impossible_time": 400.0, "labels": 500.0, "unjoined": 499.0, "late": 12.0},
)


def test_every_surface_counts_the_same_rows() -> None:
    """What the source counts is what the metrics, `driftd status`, the page and doctor say."""
    board = MetricStore()
    ModelMetrics(board, "demand").source(
        predictions=EXTENT.rows,
        late=EXTENT.late,
        faults=0,
        newest_prediction=START,
        newest_feedback=None,
        counts=EXTENT.counts,
    )
    counts = row_counts(board, "demand")
    assert counts.set_aside == {"malformed": 3, "impossible_time": 400}
    assert (counts.late, counts.labels, counts.unjoined) == (12, 500, 499)
    assert counts.sentence == (
        "rows set aside: 3 malformed, 400 with an impossible time, 12 late (in no check, but in training); "
        "label feed: 500 came, 1 joined a prediction"
    )
    assert row_counts(board, "supply").sentence == ""
    finding = source_finding("demand", "files", EXTENT)
    assert (
        "1,000 predictions so far (besides: 3 malformed, 400 impossible time, 12 late, 499 labels unjoined)"
        in finding.said
    )
    assert {"no_time", "impossible_time", "malformed", "no_label", "refused", "duplicates"} == set(
        model_families.SET_ASIDE
    )


def test_a_store_that_answers_is_told_with_its_objects() -> None:
    """`driftd doctor` says how many objects of which prefix the predictions are in."""
    finding = source_finding("demand", "files", replace(EXTENT, files=1234, counts={}), "s3://bucket/logs")
    assert finding.said.endswith("answers: 1,000 predictions so far in 1,234 objects of s3://bucket/logs")


def test_a_fault_of_an_engine_is_told_with_its_page() -> None:
    """Nobody is told to mount a table."""
    away = replace(EXTENT, faults=("db: a right is missing",))
    assert "your-warehouse.md" in source_finding("demand", "sql", away).todo
    assert "your-spark-cluster.md" in source_finding("demand", "spark", away).todo
    assert "mount it" in source_finding("demand", "files", away).todo
