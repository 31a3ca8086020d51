"""Every row of a log file ends in exactly one counted place."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import tempfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlite_utils  # noqa: F401 - so that migrations run in this process: a child takes half a second each
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftd.paths import Places
from driftd.records import Window
from driftd.sources.catalogue import LogFile
from driftd.sources.dialects import end_of_rows
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.protocol import Extent
from driftd.sources.row_counts import share_faults, usable_rows
from driftd.sources.text_files import LONGEST_CSV_ROW_BYTES
from driftd_detectors.batches.arrow_columns import read_times
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.times import time_obstacle
from event_samples import ALL, START

SCHEMA = Schema(Task.REGRESSION, "price", (Feature("size", Kind.NUMBER), Feature("town", Kind.CATEGORY)))
NOW = START + 1e6
HOUR = 3600.0
FORMATS = ("jsonl", "csv", "parquet", "jsonl.gz")

GOOD_TIMES = (START, START + 7200, "2023-11-14T23:00:00Z", "2023-11-15 01:30:00", "2023-11-15", str(START), "20231115")
LOST_TIMES = (None, "yesterday", "2023-13-45", "")
IMPOSSIBLE_TIMES = (START * 1000, START * 1e6, START * 1e9, -5.0, "2099-01-01T00:00:00Z", NOW + 2 * 86_400)
SIZES = (1, 2.5, None, "n/a", "3")
BROKEN_JSON = ('{"prediction_id": "a", "at"', "[1, 2]", "text", "null", '{"at": 1}{"at": 2}', '{"a": \udc80}')
BROKEN_CSV = ("1,2", "1,2,3,4,5,6,7", "x")


@dataclass(frozen=True)
class Row:
    """One row of a file: what its time is, or a line that is no row."""

    at: object = None
    size: object = 1
    broken: str | None = None

    @property
    def reason(self) -> str:
        """Where the row must be counted."""
        if self.broken is not None:
            return "malformed"
        if self.at in LOST_TIMES:
            return "no_time"
        return "impossible_time" if self.at in IMPOSSIBLE_TIMES else "window"


def rows_of(broken: tuple[str, ...]) -> st.SearchStrategy[list[list[Row]]]:
    """Some looks' worth of rows."""
    times = st.sampled_from(GOOD_TIMES) | st.sampled_from(LOST_TIMES) | st.sampled_from(IMPOSSIBLE_TIMES)
    good = st.builds(Row, at=st.sampled_from(GOOD_TIMES), size=st.sampled_from(SIZES))
    odd = st.builds(Row, at=times, size=st.sampled_from(SIZES))
    kinds = [good, good, odd] + ([st.builds(Row, broken=st.sampled_from(broken))] if broken else [])
    return st.lists(st.lists(st.one_of(kinds), max_size=8), min_size=1, max_size=3).map(
        lambda looks: [[Row(at=START), *looks[0]], *looks[1:]]
    )


def json_text(rows: list[Row], first: int) -> bytes:
    lines = []
    for number, row in enumerate(rows, start=first):
        whole = {"prediction_id": f"p{number}", "at": row.at, "prediction": 1.0, "size": row.size, "town": "x"}
        lines.append(row.broken if row.broken is not None else json.dumps(whole))
    return "".join(line + "\n" for line in lines).encode(errors="surrogateescape")


def csv_text(rows: list[Row], first: int) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not first:
        writer.writerow(["prediction_id", "at", "prediction", "size", "town"])
    for number, row in enumerate(rows, start=first):
        if row.broken is not None:
            text.write(row.broken + "\n")
        else:
            town = 'a "b"\nc' if number % 3 == 0 else "x"
            writer.writerow([f"p{number}", "" if row.at is None else row.at, 1.0, row.size, town])
    return text.getvalue().encode()


def append(folder: Path, name: str, rows: list[Row], first: int) -> None:
    """Write some more rows to the file (or, for what cannot grow, to another one)."""
    if name == "parquet":
        times = pa.array([None if row.at is None else str(row.at) for row in rows], pa.string())
        count = len(rows)
        columns = {"at": times, "prediction": [1.0] * count, "size": [1.0] * count, "town": ["x"] * count}
        pq.write_table(pa.table(columns), folder / f"{first:05d}.parquet")
        return
    text = csv_text(rows, first) if "csv" in name else json_text(rows, first)
    if name.endswith(".gz"):
        (folder / f"{first:05d}.{name}").write_bytes(gzip.compress(text))
        return
    with (folder / f"log.{name}").open("ab") as log:
        log.write(text)


def in_hours(source: FilesSource) -> int:
    """The rows of all windows of an hour, added up."""
    first = START // HOUR * HOUR
    windows = [Window(0, first - 100 * HOUR + n * HOUR, first - 99 * HOUR + n * HOUR) for n in range(400)]
    return sum(columns.rows for window in windows for columns, _ in source.chunks(window))


@pytest.mark.parametrize(
    ("name", "examples"),
    [(name, 10) for name in FORMATS] + [pytest.param(name, 500, marks=pytest.mark.soak) for name in FORMATS],
)
def test_rows_in_the_files_are_the_sum_of_the_counts(name: str, examples: int) -> None:
    """Whatever the rows of a file are like, each is in one window or counted under one reason."""
    broken = {"jsonl": BROKEN_JSON, "jsonl.gz": BROKEN_JSON, "csv": BROKEN_CSV}.get(name, ())

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows_of(broken))
    def law(looks: list[list[Row]]) -> None:
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "logs"
            folder.mkdir()
            source = FilesSource("m", SCHEMA, Places(Path(root) / "state"), FilesSettings(str(folder)))
            written: list[Row] = []
            for look, rows in enumerate(looks):
                append(folder, name, rows, len(written))
                written += rows
                extent = source.refresh(NOW + look * 0.001)
            expected = dict.fromkeys(("window", "no_time", "impossible_time", "malformed"), 0)
            for row in written:
                expected[row.reason] += 1
            counted = {reason: int(extent.counts[reason]) for reason in expected if reason != "window"}
            assert {"window": extent.rows, **counted} == expected
            assert len(written) == extent.rows + sum(counted.values())
            assert sum(columns.rows for columns, _ in source.chunks(ALL)) == extent.rows
            by_rows = Window(0, 0, extent.rows, by="rows")
            assert sum(columns.rows for columns, _ in source.chunks(by_rows)) == extent.rows
            again = FilesSource("m", SCHEMA, Places(Path(root) / "state"), FilesSettings(str(folder)))
            assert again.refresh(NOW + 1).counts["malformed"] == expected["malformed"]
            assert sum(columns.rows for columns, _ in again.chunks(ALL)) == extent.rows

    law()


def test_windows_of_an_hour_have_every_row_once(tmp_path: Path) -> None:
    """A value of another type or a torn line costs no neighbour its time: every hour has all of its rows."""
    (tmp_path / "logs").mkdir()
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    for hour, odd in enumerate((Row(at=START, size="n/a"), Row(broken="torn {"), Row(at=START, size=1))):
        rows = [Row(at=f"2023-11-15T{hour:02d}:00:{second:02d}Z") for second in range(50)]
        append(tmp_path / "logs", f"{hour}.jsonl", [*rows, odd], 100 * hour)
    extent = source.refresh(NOW)
    assert (extent.rows, extent.counts["malformed"]) == (152, 1)
    assert in_hours(source) == 152


def test_feedback_rows_are_the_sum_of_the_counts(tmp_path: Path) -> None:
    """A label is kept, repeated, refused, absent, or without a usable time; one that joins nothing is counted too."""
    for name in ("logs", "feedback"):
        (tmp_path / name).mkdir()
    settings_ = FilesSettings(str(tmp_path / "logs"), feedback=str(tmp_path / "feedback"))
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), settings_)
    append(tmp_path / "logs", "jsonl", [Row(at=START) for _ in range(5)], 0)
    lines: list[Any] = [
        {"prediction_id": "p1", "label": 1.5, "at": START + 5},
        {"prediction_id": "p1", "label": 1.5, "at": START + 5},
        {"prediction_id": "p2", "label": 2.5, "at": None},
        {"prediction_id": "p3", "label": None, "at": START + 5},
        {"prediction_id": None, "label": 3.5, "at": START + 5},
        {"prediction_id": "p4", "label": 3.5, "at": "soon"},
        {"prediction_id": "p4", "label": 3.5, "at": START * 1000},
        {"prediction_id": "stranger", "label": 3.5, "at": START + 5},
        "no object",
    ]
    (tmp_path / "feedback" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    counts = source.refresh(NOW).counts
    reasons = ("duplicates", "no_label", "refused", "no_time", "impossible_time", "malformed")
    assert {reason: counts[reason] for reason in reasons} == dict.fromkeys(reasons, 1)
    assert (counts["labels"], counts["unjoined"]) == (3, 1)
    assert len(lines) == 6 + 3
    assert source.outcomes(ALL, NOW + 1).label_at[2] == NOW  # a label without a time became known when it was found


def test_a_feed_of_labels_that_joins_nothing_is_a_fault(tmp_path: Path) -> None:
    """Labels under other ids than the predictions are told with an id of each."""
    for name in ("logs", "feedback"):
        (tmp_path / name).mkdir()
    settings_ = FilesSettings(str(tmp_path / "logs"), feedback=str(tmp_path / "feedback"))
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), settings_)
    append(tmp_path / "logs", "jsonl", [Row(at=START) for _ in range(30)], 0)
    labels = [{"prediction_id": f"q{number}", "label": 1.0, "at": START + 1} for number in range(30)]
    (tmp_path / "feedback" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in labels))
    (fault,) = source.refresh(NOW).faults
    assert "30 came, 0 joined" in fault
    assert "'q0'" in fault
    assert "'p0'" in fault
    append(tmp_path / "logs", "jsonl", [Row(at=START) for _ in range(5)], 30)
    more = [{"prediction_id": f"p{number}", "label": 1.0, "at": START + 1} for number in range(35)]
    (tmp_path / "feedback" / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in more))
    assert source.refresh(NOW + 1).faults == (fault,)  # counted anew only after a while
    extent = source.refresh(NOW + HOUR)
    assert (extent.counts["labels"], extent.counts["unjoined"], extent.faults) == (65, 30, ())


def extent_of(tmp_path: Path, times: list[object]) -> Extent:
    (tmp_path / "logs").mkdir(exist_ok=True)
    append(tmp_path / "logs", "jsonl", [Row(at=at) for at in times], 0)
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    return source.refresh(NOW)


def test_times_in_milliseconds_are_named(tmp_path: Path) -> None:
    """A file of milliseconds is a fault with file, row, column, value and remedy; none of its rows is in a window."""
    extent = extent_of(tmp_path, [START * 1000, START * 1000 + 1])
    assert (extent.rows, extent.counts["impossible_time"]) == (0, 2)
    (fault,) = extent.faults
    for part in ("log.jsonl", "row 1", "'at'", "1700000000000", "milliseconds", "divide by 1,000"):
        assert part in fault


def test_a_row_of_2099_cannot_be_the_newest(tmp_path: Path) -> None:
    """The newest prediction is one that can have been made, at most now: one row cannot silence an alert."""
    extent = extent_of(tmp_path, [START] * 99 + ["2099-01-01T00:00:00Z"])
    assert (extent.rows, extent.newest_at, extent.faults) == (99, START, ())
    assert extent.counts["impossible_time"] == 1
    ahead = extent_of(tmp_path / "ahead" if (tmp_path / "ahead").mkdir() is None else tmp_path, [NOW + HOUR])
    assert (ahead.rows, ahead.newest_at) == (1, NOW)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (-1.0, "since 1973"),
        (float("nan"), "since 1973"),
        (0.0, "since 1973"),
        (20260131.0, "looks like the date 2026-01-31"),
        (20260131235959.0, "looks like the date 2026-01-31"),
        (253402214400.0, "more than a day ahead"),
        (46000.25, "a spreadsheet's count of days"),
        (20261399.0, "since 1973, got 20261399"),
        (START * 1e3, "milliseconds"),
        (START * 1e6, "microseconds"),
        (START * 1e9, "nanoseconds"),
        (NOW + 90_000, "more than a day ahead"),
        (float("inf"), "more than a day ahead"),
        (NOW + 80_000, None),
        (1e8, None),
    ],
)
def test_bounds_of_times(at: float, said: str | None) -> None:
    """A time before 1973, more than a day ahead or in another unit is named as what it is."""
    found = time_obstacle(at, NOW)
    assert found is None if said is None else said in str(found)


def test_a_column_of_times_is_read_as_its_texts_are() -> None:
    """Whether the texts of a column have one form, cast as a whole, or several, each has the same time."""
    texts = ["2023-11-14T23:00:00Z", "2023-11-15 01:30:00", "2023-11-15", "20231115", "1700000000", "1700000000.5"]
    mixed = read_times(pa.array([*texts, "x"]))
    alone = [float(read_times(pa.array([text]))[0]) for text in texts]
    np.testing.assert_array_equal(mixed, [*alone, np.nan])
    assert alone[4:] == [1.7e9, 1.7e9 + 0.5]
    assert alone[2] == alone[3]


def test_a_row_of_tomorrow_stays_where_it_was_counted(tmp_path: Path) -> None:
    """A row that was impossible when it was found does not come back once its time has come."""
    (tmp_path / "logs").mkdir()
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    for look, at in enumerate((START, NOW + 2 * 86_400.0, START + 1)):
        append(tmp_path / "logs", "jsonl", [Row(at=at)], look)
        extent = source.refresh(NOW + look * 3 * 86_400.0)
    assert (extent.rows, extent.counts["impossible_time"]) == (3, 0)  # found a day after its time
    late = FilesSource("m", SCHEMA, Places(tmp_path / "other"), FilesSettings(str(tmp_path / "logs")))
    assert late.refresh(NOW).counts["impossible_time"] == 1
    append(tmp_path / "logs", "jsonl", [Row(at=START)], 9)
    assert late.refresh(NOW + 5 * 86_400.0).rows == 3
    assert sum(columns.rows for columns, _ in late.chunks(ALL)) == 3


def test_a_stray_quote_stops_nothing() -> None:
    """A quote within an unquoted field is a letter; one at a field's start holds the row back until it is closed."""
    assert end_of_rows(b'1,19" rack\n2,b\n3', ",") == 15
    assert end_of_rows(b'1,a\n2,"b\nc"\n3,d\n', ",") == 16
    assert end_of_rows(b'1,a\n2,"b\nc\n3,d\n', ",") == 4
    assert end_of_rows(b'1;"a;b"\n2;",\n', ";") == 8
    assert end_of_rows(b'"a""b"c,"x"\r\n', ",") == 13


def test_an_open_quote_is_given_up(tmp_path: Path) -> None:
    """The line of a quote that nobody closes is malformed after a megabyte; the rows behind it are read."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "a.csv"
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    row = f"{START},1,5,{'x' * 200}\n"
    path.write_text(f'at,prediction,size,town\n{row}{START},1,5,"open\n' + row * 9)
    extent = source.refresh(NOW)
    assert (extent.rows, extent.counts["malformed"]) == (1, 0)  # it may still be closed
    with path.open("a") as log:
        log.write(row * (LONGEST_CSV_ROW_BYTES // len(row) + 1))
    extent = source.refresh(NOW)
    assert (extent.rows, extent.counts["malformed"]) == (11 + LONGEST_CSV_ROW_BYTES // len(row), 1)
    assert sum(columns.rows for columns, _ in source.chunks(ALL)) == extent.rows


def test_an_open_quote_of_a_finished_file(tmp_path: Path) -> None:
    """In a file that nobody writes any more, the line of an open quote is malformed at once."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "a.csv"
    path.write_text(f'at,prediction,size,town\n{START},1,5,x\n{START},1,5,"open\n{START},1,5,y\n')
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    extent = source.refresh(path.stat().st_mtime + 100)
    assert (extent.rows, extent.counts["malformed"]) == (2, 1)
    (fault,) = extent.faults
    assert "line 3: a quote that is not closed" in fault


def test_a_share_is_held_against_what_came_lately() -> None:
    """A fault that was mended ends: rows of files written more than a day before the newest do not count."""
    day = 86_400 * 10**9
    old = LogFile("a", 1, begun_at=0.0, changed_at=0, rows=10, no_time=10, examples={"no_time": "a, row 1"})
    new = LogFile("b", 2, begun_at=0.0, changed_at=2 * day, rows=1000, no_time=10)
    assert share_faults([old]) == ["10 of 10 rows have no readable time (a, row 1)"]
    assert share_faults([old, new]) == []


def test_python_writes_nan(tmp_path: Path) -> None:
    """A line with NaN is a row, beside rows of odd types as beside others."""
    (tmp_path / "logs").mkdir()
    rows = [Row(at=START, size=float("nan")), Row(at=START, size="n/a"), Row(at=START, size=2)]
    append(tmp_path / "logs", "jsonl", rows, 0)
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    assert (source.refresh(NOW).rows, source.refresh(NOW).counts["malformed"]) == (3, 0)


def test_labels_that_become_known_in_milliseconds(tmp_path: Path) -> None:
    """The time of a label is held to the same bounds: labels that would never be known are a fault of the source."""
    (tmp_path / "logs").mkdir()
    row = {"at": START, "prediction": 1, "size": 1, "label": 2, "label_at": START * 1000}
    (tmp_path / "logs" / "a.jsonl").write_text(json.dumps(row) + "\n")
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    source.refresh(NOW)
    assert not source.outcomes(ALL, NOW).labelled.any()
    (fault,) = source.refresh(NOW).faults
    assert "'label_at'" in fault
    assert "divide by 1,000" in fault
    assert source.refresh(NOW + 2 * 86_400).faults == ()  # nobody has read it for a day


OLD_CATALOGUE = """{"version":1,"pattern":"%s","files":[{"path":"%s/a.jsonl","inode":%d,"size":%d,"changed_at":%d,
"done":%d,"header":"","malformed":2,"head":"%s","head_bytes":%d}],"stretches":[[0,0,%d,2,0,%f,%f]]}"""


def test_a_catalogue_of_an_earlier_release(tmp_path: Path) -> None:
    """What an earlier release knew of files is taken up: no row is read again, numbered anew, or set aside."""
    logs = tmp_path / "logs"
    logs.mkdir()
    lines = "".join(json.dumps({"at": START + number, "prediction": number, "size": 1}) + "\n" for number in range(2))
    path = logs / "a.jsonl"
    path.write_text(lines)
    stat, head = path.stat(), base64.b64encode(blake2b(lines.encode()[:256], digest_size=12).digest()).decode()
    size = stat.st_size
    old = (
        str(logs),
        str(logs),
        stat.st_ino,
        size,
        stat.st_mtime_ns,
        size,
        head,
        min(size, 256),
        size,
        START,
        START + 1,
    )
    place = Places(tmp_path / "state").events_db("m").parent / "files.json"
    place.parent.mkdir(parents=True)
    place.write_text(OLD_CATALOGUE % old)
    with path.open("a") as log:
        log.write(json.dumps({"at": START + 2, "prediction": 2, "size": 1}) + "\n")
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(logs)))
    extent = source.refresh(NOW)
    assert (extent.rows, extent.counts["malformed"], extent.faults) == (3, 2, ())
    assert source.outcomes(Window(0, 0, 3, by="rows"), NOW).prediction.tolist() == [0, 1, 2]


def test_rows_with_views_are_cut_by_their_times() -> None:
    """A column of views (Parquet may hold them) does not keep the rows with usable times from being read."""
    texts = pa.array(["a", "b", None], pa.string_view())
    table = pa.table({"at": [START, float("nan"), START + 1], "city": texts})
    assert usable_rows(table, "at", START + 10).column("city").to_pylist() == ["a", None]
