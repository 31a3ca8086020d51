"""Expectations on the rows of a snapshot: what holds, what fails, by how many rows, and which one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from driftd.config.stage_schema import CheckData, ColumnExpectation
from driftd.paths import Places
from driftd.training.expectations import Outcome, check_column
from driftd.training.snapshot_rows import SnapshotRows
from driftd.training.snapshots import take_snapshot
from driftd.training.tasks.check_data import LibraryAbsentError, check_snapshot, describe
from driftd.training.user_functions import PluginError
from driftd_detectors.schema import Feature, Kind, Schema, Task

ROWS = 1000
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "y",
    (
        Feature("price", Kind.NUMBER),
        Feature("colour", Kind.CATEGORY),
        Feature("member", Kind.BOOLEAN),
        Feature("seen", Kind.TIMESTAMP),
    ),
)


def snapshot_of(folder: Path, rows: int = ROWS) -> SnapshotRows:
    """Rows whose prices are 0, 1, 2, ..., every tenth of them missing; the colours are two and one stray."""
    number = np.arange(rows, dtype=np.float64)
    prices = np.where(number % 10 == 9, np.nan, number)
    table = pa.table(
        {
            "price": prices,
            "colour": ["blue" if row == 7 else "red" if row % 2 else "green" for row in range(rows)],
            "member": [row % 2 == 0 for row in range(rows)],
            "seen": pa.array((number * 1e6).astype(np.int64), pa.timestamp("us", "UTC")),
            "y": ["no" if row % 3 else "yes" for row in range(rows)],
            "driftd_id": [f"id-{row}" for row in range(rows)],
            "driftd_at": 1_700_000_000.0 + number,
            "driftd_label_at": 1_700_000_000.0 + number,
            "driftd_version": np.ones(rows, dtype=np.int64),
        }
    )
    return SnapshotRows(take_snapshot(Places(folder), "m", [table], SCHEMA))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> SnapshotRows:
    return snapshot_of(tmp_path_factory.mktemp("rows"))


def outcomes(snapshot: SnapshotRows, column: str, **wanted: object) -> list[Outcome]:
    return list(check_column(snapshot, column, ColumnExpectation.model_validate(wanted)))


@pytest.mark.parametrize(
    ("column", "wanted", "sentence"),
    [
        (
            "price",
            {"min": 1},
            "price min: expected no value below 1, found 0; 1 rows fail (such as 0.0 of id-0)",
        ),
        (
            "price",
            {"max": 500},
            "price max: expected no value above 500, found 998; 449 rows fail (such as 501.0 of id-501)",
        ),
        (
            "price",
            {"nulls": "9%"},
            "price nulls: expected at most 9% of the values missing, found 10%; 100 rows fail",
        ),
        (
            "colour",
            {"values": ["red", "green"]},
            "colour values: expected one of red, green, found others; 1 rows fail (such as blue of id-7)",
        ),
        (
            "colour",
            {"unique": True},
            "colour unique: expected no value twice, found 997 repetitions; 997 rows fail (such as green of id-2)",
        ),
        (
            "member",
            {"values": [True]},
            "member values: expected one of True, found others; 500 rows fail (such as False of id-1)",
        ),
        (
            "seen",
            {"max": 10},
            "seen max: expected no value above 10, "
            "found 999; 989 rows fail (such as 1970-01-01 00:00:11+00:00 of id-11)",
        ),
        (
            "y",
            {"values": ["yes"]},
            "y values: expected one of yes, found others; 666 rows fail (such as no of id-1)",
        ),
        (
            "colour",
            {"min": 1},
            "colour range: expected a number or a time, found a category",
        ),
        (
            "price",
            {"dtype": "category"},
            "price dtype: expected category, found number",
        ),
        (
            "prize",
            {"min": 1},
            "prize: expected a feature or the target, found no such column (there are: price, colour, member, seen, y)",
        ),
    ],
)
def test_what_fails_is_told_with_its_rows(
    snapshot: SnapshotRows, column: str, wanted: dict[str, object], sentence: str
) -> None:
    """What was expected, what was found, how many rows fail, and one of them."""
    (outcome,) = outcomes(snapshot, column, **wanted)
    assert not outcome.passed
    assert outcome.sentence == sentence


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("price", {"min": 0, "max": 998, "nulls": "10%", "unique": True, "dtype": "number"}),
        ("colour", {"values": ["red", "green", "blue"], "nulls": 0}),
        ("member", {"values": [True, False], "dtype": "boolean"}),
        ("seen", {"min": 0, "max": 999, "unique": True}),
    ],
)
def test_what_holds_passes(snapshot: SnapshotRows, column: str, wanted: dict[str, object]) -> None:
    """A value that is missing is neither too small nor strange nor there twice."""
    assert all(outcome.passed for outcome in outcomes(snapshot, column, **wanted))


def test_rows_are_read_piece_by_piece(snapshot: SnapshotRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """No expectation reads a whole table: what is checked may be larger than memory."""
    assert [len(frame) for frame in snapshot.frames()] == [ROWS]

    def refuse(*_: object) -> None:
        raise AssertionError("the whole table was read")

    monkeypatch.setattr("driftd.training.stored_rows.StoredRows.read", refuse)
    outcomes(snapshot, "price", min=0, max=5, nulls=0, unique=True)
    outcomes(snapshot, "colour", values=["red"], unique=True)


def test_a_frame_has_the_newest_rows(snapshot: SnapshotRows) -> None:
    """As many as are asked for, or those since a time."""
    assert snapshot.frame(most=3)["driftd_id"].tolist() == ["id-997", "id-998", "id-999"]
    assert len(snapshot.frame(since=1_700_000_000.0 + 990)) == 10
    assert len(snapshot) == ROWS
    assert snapshot.target == "y"


CODE = """
import sys

def passes(snapshot):
    return len(snapshot) == 1000

def refuses(snapshot):
    return "the prices are old"

def raises(snapshot):
    assert snapshot.frame()["price"].max() < 5, "a price is 5 or more"

def leaves(snapshot):
    sys.exit(3)
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A module of the user; gives the reference of one of its functions."""
    (tmp_path / "own_checks.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name: f"own_checks:{name}"


def test_functions_of_the_user_say_what_they_found(snapshot: SnapshotRows, code: Callable[[str], str]) -> None:
    """A text, false, an exception and sys.exit are a failure with its words; all of them are called."""
    names = ("passes", "refuses", "raises", "leaves")
    wanted = CheckData(functions=tuple(map(code, names)))
    found = list(check_snapshot(snapshot, wanted))
    assert [outcome.passed for outcome in found] == [True, False, False, False]
    assert [outcome.found for outcome in found[1:]] == [
        "'the prices are old'",
        "AssertionError: a price is 5 or more",
        "sys.exit(3)",
    ]


def test_a_function_that_is_not_there_fails_its_expectation(snapshot: SnapshotRows) -> None:
    """With the words of the import."""
    (outcome,) = check_snapshot(snapshot, CheckData(functions=("no_such_module:check",)))
    assert not outcome.passed
    assert outcome.found.startswith(PluginError.__name__)
    assert "no_such_module:check cannot be imported" in outcome.found


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (CheckData(pandera="shop:schema"), "stages.check_data.pandera needs Pandera, which is not installed"),
        (CheckData(great_expectations="suite.json"), "needs Great Expectations, which is not installed"),
    ],
)
def test_a_library_that_is_not_installed_is_told(
    snapshot: SnapshotRows, wanted: CheckData, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build fails with how it is installed; it is none of driftd's own requirements."""
    for name in ("pandera", "pandera.errors", "great_expectations"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(LibraryAbsentError, match=said):
        list(check_snapshot(snapshot, wanted))


def test_the_sentence_names_the_first_that_fail(snapshot: SnapshotRows) -> None:
    """Of many, how many more there are."""
    wanted = CheckData.model_validate(
        {"rows": {"min": 5000}, "columns": {"price": {"min": 1, "max": 2, "nulls": 0}, "colour": {"nulls": 0}}}
    )
    found = list(check_snapshot(snapshot, wanted))
    failed = [outcome for outcome in found if not outcome.passed]
    assert describe(found, failed, ROWS).startswith(
        "4 of 5 expectations on 1,000 rows fail: rows min: expected at least 5,000 rows, found 1,000; price min"
    )
    assert describe(found, failed, ROWS).endswith("; and 1 more")
    assert describe(found[:1], [], ROWS) == "all 1 expectations hold for 1,000 rows"
