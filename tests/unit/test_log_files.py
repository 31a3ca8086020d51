"""Log files that grow, break off, rotate and lie."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.paths import Places
from driftd.records import Window
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.protocol import closed_until
from driftd_detectors.columns import Coded
from driftd_detectors.schema import Feature, Kind, Schema, Task
from event_samples import ALL, START

SCHEMA = Schema(Task.REGRESSION, "price", (Feature("size", Kind.NUMBER), Feature("town", Kind.CATEGORY)))
NOW = START + 1e6


def source_of(root: Path, **settings: Any) -> FilesSource:
    (root / "logs").mkdir(exist_ok=True)
    return FilesSource("m", SCHEMA, Places(root / "state"), FilesSettings(str(root / "logs"), **settings))


def line(number: int, **changes: Any) -> str:
    row = {"prediction_id": f"p{number}", "at": START + number, "prediction": number, "size": number, "town": "x"}
    return json.dumps(row | changes) + "\n"


def write(path: Path, text: str) -> None:
    with path.open("a") as log:
        log.write(text)


def predictions(source: FilesSource, window: Window = ALL) -> list[float]:
    return [value for _, outcomes in source.chunks(window) for value in outcomes.prediction.tolist()]


def sizes(source: FilesSource) -> list[float | None]:
    return [
        None if np.isnan(value) else value
        for columns, _ in source.chunks(ALL)
        for value in np.asarray(columns.values["size"]).tolist()
    ]


def test_a_half_written_line_waits(tmp_path: Path) -> None:
    """A line without its end is read when it is whole, once."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.jsonl"
    whole = line(2)
    write(log, line(1) + whole[:20])
    assert source.refresh(NOW).rows == 1
    write(log, whole[20:] + line(3)[:-1])
    assert source.refresh(NOW).rows == 2
    assert predictions(source) == [1, 2]
    assert source.refresh(log.stat().st_mtime + 100).rows == 3  # nothing was written for a minute: it is the last line


def test_a_file_whose_name_is_not_utf_8_is_told_and_hinders_no_other(tmp_path: Path) -> None:
    """Nothing can write down such a name: the fault spells it, the other files are read and remembered."""
    source = source_of(tmp_path)
    write(tmp_path / "logs" / os.fsdecode(b"f\xfcr.jsonl"), line(1))
    write(tmp_path / "logs" / "app.jsonl", line(2))
    extent = source.refresh(NOW)
    assert extent.rows == 1
    assert "udcfcr.jsonl" in extent.faults[0]
    assert "names that are not UTF-8" in extent.faults[0]
    extent.faults[0].encode()
    write(tmp_path / "logs" / "app.jsonl", line(3))
    assert source_of(tmp_path).refresh(NOW).rows == 2


def test_only_new_lines_are_read(tmp_path: Path) -> None:
    """Appending costs the appended bytes: an earlier part may even have become unreadable."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.jsonl"
    write(log, "".join(line(n) for n in range(20)))
    source.refresh(NOW)
    size = log.stat().st_size
    with log.open("r+b") as raw:
        raw.seek(300)
        raw.write(b"#" * (size - 600))  # neither its first bytes nor the last that were read
    write(log, line(20))
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (21, ())


def test_a_restart_goes_on(tmp_path: Path) -> None:
    """Another process knows the same rows under the same numbers, without looking at the files again."""
    first = source_of(tmp_path)
    for name in ("b", "a"):
        write(tmp_path / "logs" / f"{name}.jsonl", line(ord(name)))
        first.refresh(NOW)
    again = source_of(tmp_path)
    assert predictions(again, Window(0, 0.0, 2.0, by="rows")) == [98, 97]
    assert again.refresh(NOW).rows == 2


def test_a_half_copied_parquet_file(tmp_path: Path) -> None:
    """A file without its end is named as a fault, tried again, and read once it is whole."""
    source = source_of(tmp_path)
    table = pa.table({"at": [START, START + 1], "prediction": [1.0, 2.0], "size": [3, 4], "town": ["x", None]})
    pq.write_table(table, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "logs" / "day.parquet").write_bytes(content[: len(content) // 2])
    write(tmp_path / "logs" / "ok.jsonl", line(7))
    extent = source.refresh(NOW)
    assert extent.rows == 1
    assert len(extent.faults) == 1
    assert "day.parquet cannot be read just now" in extent.faults[0]
    assert source.refresh(NOW).faults == extent.faults
    (tmp_path / "logs" / "day.parquet").write_bytes(content)
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (3, ())
    assert predictions(source) == [7, 1, 2]


def test_a_parquet_file_rewritten_with_more_rows(tmp_path: Path) -> None:
    """A daily file that is written anew each hour gives its new rows only."""
    source = source_of(tmp_path)
    for rows in (3, 5):
        table = pa.table(
            {"at": [START + n for n in range(rows)], "prediction": [float(n) for n in range(rows)], "size": [1] * rows}
        )
        pq.write_table(table, tmp_path / "day.parquet.new")
        (tmp_path / "day.parquet.new").rename(tmp_path / "logs" / "day.parquet")
        assert source.refresh(NOW).rows == rows
    assert predictions(source) == [0, 1, 2, 3, 4]


def test_a_parquet_file_replaced_by_a_shorter_one(tmp_path: Path) -> None:
    """A file that lost rows is another file: all of its rows are new."""
    source = source_of(tmp_path)
    for rows in ([1.0, 2.0, 3.0], [8.0, 9.0]):
        table = pa.table({"at": [START + value for value in rows], "prediction": rows, "size": rows})
        pq.write_table(table, tmp_path / "logs" / "latest.parquet")
        source.refresh(NOW)
    assert source.refresh(NOW).rows == 5
    assert predictions(source) == [8, 9]


def test_rotation_by_renaming(tmp_path: Path) -> None:
    """A renamed log is the same file; the new one under its old name is another."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.log"
    write(log, line(1) + line(2))
    source.refresh(NOW)
    log.rename(tmp_path / "logs" / "app.log.1")
    write(log, line(3))
    assert source.refresh(NOW).rows == 3
    assert predictions(source) == [1, 2, 3]


def test_rotation_by_cutting(tmp_path: Path) -> None:
    """A log that was cut and begun anew gives its new rows; the old ones are gone, which is said and not fatal."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.log"
    write(log, line(1) + line(2))
    source.refresh(NOW)
    log.write_text(line(3))
    assert source.refresh(NOW).rows == 3
    assert predictions(source) == [3]


def test_an_inode_that_is_used_again(tmp_path: Path) -> None:
    """A new file that got the inode, or the path, of a deleted one is read from its beginning, however long it is."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.log"
    write(log, line(1))
    source.refresh(NOW)
    log.unlink()
    write(tmp_path / "logs" / "new.log", line(2) + line(3))
    assert source.refresh(NOW).rows == 3
    with (tmp_path / "logs" / "new.log").open("r+b") as raw:
        raw.write((line(4) + line(5) + line(6)).encode())
    assert source.refresh(NOW).rows == 6


def test_lines_that_are_no_rows(tmp_path: Path) -> None:
    """Garbage between good lines is left out, and the good lines keep their order."""
    source = source_of(tmp_path)
    write(tmp_path / "logs" / "app.jsonl", line(1) + "garbage {\n" + "\n[1]\n" + line(2) + '"text"\n' + line(3))
    assert source.refresh(NOW).rows == 3
    assert predictions(source) == [1, 2, 3]


def test_a_csv_row_with_too_many_fields(tmp_path: Path) -> None:
    """A row that does not fit the header is left out; quoted line breaks belong to their field."""
    source = source_of(tmp_path)
    rows = '1700000001,1,5,"a\nb"\n2,2\n1700000003,3,6,c,d,e\n1700000004,4,7,"x, y"\n'
    write(tmp_path / "logs" / "app.csv", f"at,prediction,size,town\n{rows}")
    assert source.refresh(NOW).rows == 2
    ((columns, outcomes),) = source.chunks(ALL)
    town = columns.values["town"]
    assert isinstance(town, Coded)
    assert [town.labels[code] for code in town.codes] == ["a\nb", "x, y"]
    assert outcomes.prediction.tolist() == [1, 4]


def test_csv_text_that_looks_like_numbers(tmp_path: Path) -> None:
    """A category 007 stays 007, and one bad number does not cost the column its numbers."""
    source = source_of(tmp_path)
    rows = "1700000001,1,5,007\n1700000002,2,abc,01\n1700000003,3,,\n1700000004,4,7.5,1\n"
    write(tmp_path / "logs" / "app.csv", f"at,prediction,size,town\n{rows}")
    source.refresh(NOW)
    ((columns, _),) = source.chunks(ALL)
    assert sizes(source) == [5, None, None, 7.5]
    assert dict(columns.unreadable) == {"size": 1}
    town = columns.values["town"]
    assert isinstance(town, Coded)
    assert [town.labels[code] if code >= 0 else None for code in town.codes] == ["007", "01", None, "1"]


def test_text_that_looks_like_a_time(tmp_path: Path) -> None:
    """A category of dates keeps its texts, in CSV and in JSON lines."""
    source = source_of(tmp_path)
    write(tmp_path / "logs" / "a.jsonl", line(1, town="2020-01-01") + line(2, town="2020-01-02"))
    write(tmp_path / "logs" / "b.csv", "at,prediction,size,town\n1700000003,1,5,2020-01-03\n")
    source.refresh(NOW)
    ((columns, _),) = source.chunks(ALL)
    town = columns.values["town"]
    assert isinstance(town, Coded)
    assert [town.labels[code] for code in town.codes] == ["2020-01-01", "2020-01-02", "2020-01-03"]


def test_a_column_that_changes_its_type(tmp_path: Path) -> None:
    """Numbers that become text are unreadable and counted, in Parquet and in JSON lines; others stay."""
    source = source_of(tmp_path)
    pq.write_table(pa.table({"at": [START], "prediction": [1.0], "size": ["12"]}), tmp_path / "logs" / "a.parquet")
    write(tmp_path / "logs" / "b.jsonl", line(2, size="12") + line(3, size=4) + line(5))
    source.refresh(NOW)
    assert sizes(source) == [None, None, 4, 5]
    ((columns, _),) = source.chunks(ALL)
    assert dict(columns.unreadable) == {"size": 2}


def test_a_column_that_vanishes(tmp_path: Path) -> None:
    """A feature that no file of the window has is absent; one that some have is missing in the rest."""
    source = source_of(tmp_path)
    pq.write_table(pa.table({"at": [START], "prediction": [1.0], "size": [1]}), tmp_path / "logs" / "a.parquet")
    source.refresh(NOW)
    ((columns, _),) = source.chunks(ALL)
    assert set(columns.values) == {"size"}
    write(tmp_path / "logs" / "b.jsonl", line(2))
    source.refresh(NOW)
    ((columns, _),) = source.chunks(ALL)
    assert set(columns.values) == {"size", "town"}


def test_names_and_labels_of_the_users_own(tmp_path: Path) -> None:
    """`columns` says what the file's columns mean; a label beside its row is known with it, or when it says."""
    source = source_of(tmp_path, columns={"id": "key", "at": "when", "prediction": "guess", "label": "truth"})
    pq.write_table(
        pa.table(
            {
                "key": [1, 2],
                "when": pa.array([1_700_000_000_000_000, 1_700_000_001_500_000], pa.timestamp("us")),
                "guess": [1.0, 2.0],
                "truth": [None, 3.5],
                "size": [1, 2],
            }
        ),
        tmp_path / "logs" / "a.parquet",
    )
    extent = source.refresh(NOW)
    assert extent.first_at == START
    outcomes = source.outcomes(ALL, NOW)
    assert outcomes.at.tolist() == [START, START + 1.5]
    np.testing.assert_array_equal(outcomes.label, [np.nan, 3.5])
    np.testing.assert_array_equal(outcomes.label_at, [np.nan, START + 1.5])
    assert source.count_labelled(0.0, NOW) == 1
    (table,) = source.read_labelled(0.0, NOW, NOW)
    assert table.column("driftd_id").to_pylist() == ["2"]
    assert table.column("price").to_pylist() == [3.5]


def test_driftds_own_events_as_lines(tmp_path: Path) -> None:
    """Lines in the JSON form of an event, with an object `features`, are read too."""
    source = source_of(tmp_path)
    event = {"prediction_id": "a", "at": START, "prediction": 1, "features": {"size": 3, "town": "y"}}
    write(tmp_path / "logs" / "app.jsonl", json.dumps(event) + "\n" + json.dumps(event | {"prediction": 2}) + "\n")
    source.refresh(NOW)
    assert sizes(source) == [3, 3]


def test_without_times(tmp_path: Path) -> None:
    """Rows without a time happened when they were found."""
    source = source_of(tmp_path)
    pq.write_table(pa.table({"prediction": [1.0, 2.0], "size": [3, 4]}), tmp_path / "logs" / "a.parquet")
    assert source.refresh(START + 5).first_at == START + 5
    assert source.outcomes(ALL, NOW).at.tolist() == [START + 5] * 2


def test_late_rows_are_counted(tmp_path: Path) -> None:
    """Rows that come after their window was closed are counted as late, and still read."""

    class Spec:
        every, rows = 60.0, None

    closed: Callable[[float], float] = lambda now: closed_until(Spec(), now, 10.0)  # noqa: E731 - one use
    (tmp_path / "logs").mkdir()
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")), closed)
    base = (START // 60 + 1) * 60
    write(tmp_path / "logs" / "a.jsonl", line(0, at=base))
    assert source.refresh(base + 65).late == 0  # the window up to base + 60 is not closed yet
    write(tmp_path / "logs" / "a.jsonl", line(1, at=base + 1))
    assert source.refresh(base + 75).late == 0
    write(tmp_path / "logs" / "a.jsonl", line(2, at=base + 2) + line(3, at=base + 70))
    assert source.refresh(base + 80).late == 1
    assert predictions(source) == [0, 1, 2, 3]


def test_files_that_are_not_ready(tmp_path: Path) -> None:
    """Hidden and temporary files are not looked at; a folder inside is."""
    source = source_of(tmp_path)
    for name in (".hidden.jsonl", "_part.jsonl", "app.jsonl.tmp"):
        write(tmp_path / "logs" / name, line(1))
    (tmp_path / "logs" / "2024").mkdir()
    write(tmp_path / "logs" / "2024" / "app.jsonl", line(2))
    source.refresh(NOW)
    assert predictions(source) == [2]


def test_a_pattern(tmp_path: Path) -> None:
    """`path` may be a pattern or a single file."""
    (tmp_path / "logs").mkdir()
    write(tmp_path / "logs" / "a.jsonl", line(1))
    write(tmp_path / "logs" / "b.txt", line(2))
    for pattern, expected in (("logs/*.jsonl", [1]), ("logs/b.txt", [2]), ("logs/?.*", [1, 2]), ("none/*.x", [])):
        places = Places(tmp_path / pattern.replace("/", "_").replace("*", "_"))
        source = FilesSource("m", SCHEMA, places, FilesSettings(str(tmp_path / pattern)))
        source.refresh(NOW)
        assert sorted(predictions(source)) == expected


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A mistyped path is said, not taken for a silent feed; once the folder is there, it is read."""
    settings = FilesSettings(str(tmp_path / "lgos" / "*.jsonl"))
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), settings, lambda now: now // 60 * 60)
    extent = source.refresh(NOW)
    assert extent.rows == 0
    assert "lgos" in extent.faults[0]
    assert "does not exist" in extent.faults[0]
    (tmp_path / "lgos").mkdir()
    write(tmp_path / "lgos" / "a.jsonl", line(1))
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (1, ())


@pytest.mark.parametrize("mount_point_stays", [True, False])
def test_a_folder_that_goes_away(tmp_path: Path, *, mount_point_stays: bool) -> None:
    """While all files are gone, as after an unmounting, no window becomes complete; with them, all do."""
    source, logs, away = source_of(tmp_path), tmp_path / "logs", tmp_path / "away"
    write(logs / "a.jsonl", line(1))
    assert source.refresh(NOW).complete_until == NOW
    logs.rename(away)
    if mount_point_stays:
        logs.mkdir()
    extent = source.refresh(NOW + 500)
    assert extent.complete_until == NOW
    assert ("is it mounted?" if mount_point_stays else "does not exist") in extent.faults[0]
    if mount_point_stays:
        logs.rmdir()
    away.rename(logs)
    extent = source.refresh(NOW + 900)
    assert (extent.complete_until, extent.faults, extent.rows) == (NOW + 900, (), 1)


def test_a_damaged_catalogue(tmp_path: Path) -> None:
    """When what was known of the files is lost, they are looked at again."""
    source_of(tmp_path).refresh(NOW)
    write(tmp_path / "logs" / "a.jsonl", line(1))
    source_of(tmp_path).refresh(NOW)
    (place,) = (tmp_path / "state").rglob("files.json")
    place.write_bytes(b'{"version": 1, "files"')
    assert source_of(tmp_path).refresh(NOW).rows == 1
