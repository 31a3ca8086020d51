"""Dialects of text, nested values, folders that are columns, and files that are not what they seem."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.paths import Places
from driftd.records import Window
from driftd.sources.column_kinds import WholeFilesError
from driftd.sources.dialects import Dialect, open_text
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.listing import kind_of
from driftd.sources.protocol import Extent
from driftd.sources.whole_files import read_whole
from driftd_detectors.columns import Coded
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.times import read_time
from event_samples import ALL, START

SCHEMA = Schema(Task.REGRESSION, "price", (Feature("size", Kind.NUMBER), Feature("town", Kind.CATEGORY)))
NOW = START + 1e6
ROWS = pd.DataFrame(
    {
        "prediction_id": [f"p{number}" for number in range(40)],
        "at": [START + number for number in range(40)],
        "prediction": [number / 4 for number in range(40)],
        "size": [number + 0.5 for number in range(40)],
        "town": ["münchen", "köln"] * 20,
    }
)


def twice_in_parquet() -> bytes:
    table = pa.Table.from_pandas(ROWS, preserve_index=False)
    sink = io.BytesIO()
    pq.write_table(table.append_column("size", table["size"]), sink)
    return sink.getvalue()


TWICE = twice_in_parquet()


def source_of(root: Path, **settings: Any) -> FilesSource:
    (root / "logs").mkdir(exist_ok=True)
    return FilesSource("m", SCHEMA, Places(root / "state"), FilesSettings(str(root / "logs"), **settings))


def assert_read(source: FilesSource, rows: pd.DataFrame = ROWS) -> None:
    """Every row has come back, value for value."""
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (len(rows), ())
    parts = list(source.chunks(ALL))
    sizes = np.concatenate([np.asarray(columns.values["size"]) for columns, _ in parts])
    np.testing.assert_array_equal(sizes, rows["size"])
    towns = [columns.values["town"] for columns, _ in parts]
    read = [town.labels[code] for town in towns if isinstance(town, Coded) for code in town.codes]
    assert read == rows["town"].tolist()
    outcomes = source.outcomes(ALL, NOW)
    assert outcomes.at.tolist() == rows["at"].tolist()
    assert outcomes.prediction.tolist() == rows["prediction"].tolist()


@pytest.mark.parametrize(
    ("name", "written", "dialect"),
    [
        ("a.csv", {"sep": ";"}, Dialect(separator=";")),
        ("a.csv", {"sep": ";", "decimal": ","}, Dialect(separator=";", decimal=",")),
        ("a.tsv", {"sep": "\t"}, Dialect()),
        ("a.csv", {"sep": "|"}, Dialect(separator="|")),
        ("a.csv", {"encoding": "utf-16"}, Dialect(encoding="utf-16")),
        ("a.csv", {"encoding": "latin-1"}, Dialect(encoding="latin-1")),
        ("a.csv", {"encoding": "utf-8-sig"}, Dialect()),
        ("a.csv.gz", {}, Dialect()),
        ("A.CSV", {}, Dialect()),
        ("A.TSV.GZ", {"sep": "\t", "compression": "gzip"}, Dialect()),
        ("a.csv.bz2", {}, Dialect()),
        ("a.tsv.gz", {"sep": "\t"}, Dialect()),
        ("a.csv", {"compression": "gzip"}, Dialect(compression="gzip")),
        ("a.csv.gz", {"encoding": "utf-16", "sep": ";"}, Dialect(separator=";", encoding="utf-16")),
    ],
)
def test_dialects_of_csv(tmp_path: Path, name: str, written: dict[str, Any], dialect: Dialect) -> None:
    """The same rows are read from every dialect that pandas writes."""
    source = source_of(tmp_path, dialect=dialect)
    ROWS.to_csv(tmp_path / "logs" / name, index=False, **written)
    assert_read(source)


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.ndjson", "a.json", "a.log", "a.txt", "a.jsonl.gz", "a.log.3", "a.events"]
)
def test_names_of_json_lines(tmp_path: Path, name: str) -> None:
    """JSON lines are read whatever rotation and compression append to their name; else by what they hold."""
    source = source_of(tmp_path)
    text = ROWS.to_json(orient="records", lines=True, force_ascii=False).encode()
    (tmp_path / "logs" / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert_read(source)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/x/a.parquet", "parquet"),
        ("app.log.1", "jsonl"),
        ("app.log-20240131.gz", "jsonl"),
        ("app.csv.2024-01-31", "csv"),
        ("app.csv.bz2", "csv"),
        ("a.xlsx", None),
        ("part-00000", None),
    ],
)
def test_kinds_of_names(name: str, kind: str | None) -> None:
    """What rotation and compression append says nothing of the format."""
    assert kind_of(name) == kind


def nested(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "meta": {"id": row["prediction_id"], "when": row["at"]},
        "answer": {"value": {"price": row["prediction"]}},
        "request": {"inputs": {"size": row["size"], "town": row["town"]}},
    }


PATHS = {"id": "meta.id", "at": "meta.when", "prediction": "answer.value.price", "features": "request.inputs"}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("odd", [False, True])
def test_paths_into_nested_values(tmp_path: Path, suffix: str, *, odd: bool) -> None:
    """Dotted names in `columns` are read from nested objects and structs, also beside a line of other types."""
    rows = [nested(row) for row in ROWS.to_dict("records")]
    path = tmp_path / "logs" / f"a.{suffix}"
    source = source_of(tmp_path, columns=PATHS)
    if suffix == "jsonl":
        path.write_text(
            "".join(json.dumps(row) + "\n" for row in rows) + ('{"meta": "odd", "other": 1}\n' if odd else "")
        )
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=15)
    if odd and suffix == "jsonl":
        assert source.refresh(NOW).counts["no_time"] == 1
    assert_read(source)
    assert source.sample(ALL, 100, 1).column("driftd_id").to_pylist() == ROWS["prediction_id"].tolist()


def test_a_feature_named_by_its_path(tmp_path: Path) -> None:
    """A feature whose name is a path into an object is read from there; a key of that very name goes first."""
    schema = Schema(Task.REGRESSION, "price", (Feature("in.size", Kind.NUMBER),))
    (tmp_path / "logs").mkdir()
    lines = [{"at": START, "in": {"size": 3}}, {"at": START, "in": {"size": 3}, "in.size": 4}]
    (tmp_path / "logs" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = FilesSource("m", schema, Places(tmp_path / "state"), FilesSettings(str(tmp_path / "logs")))
    assert source.refresh(NOW).rows == 2
    ((columns, _),) = source.chunks(ALL)
    assert np.asarray(columns.values["in.size"])[1] == 4


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_folders_that_are_columns(tmp_path: Path, suffix: str) -> None:
    """`key=value` folders give their rows a column, as text, number or missing value, as Spark and Arrow write them."""
    source = source_of(tmp_path)
    for town, rows in ROWS.groupby("town"):
        folder = tmp_path / "logs" / f"town={str(town).replace('ü', '%C3%BC')}" / "size=7"
        folder.mkdir(parents=True)
        rest = rows.drop(columns=["town", "size"])
        if suffix == "parquet":
            rest.to_parquet(folder / "a.parquet", index=False)
        elif suffix == "csv":
            rest.to_csv(folder / "a.csv", index=False)
        else:
            rest.to_json(folder / "a.jsonl", orient="records", lines=True)
    missing = tmp_path / "logs" / "town=__HIVE_DEFAULT_PARTITION__" / "size=1"
    missing.mkdir(parents=True)
    pq.write_table(pa.table({"at": [START], "prediction": [1.0]}), missing / "b.parquet")
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (41, ())
    read: list[tuple[str | None, float]] = []
    for columns, _ in source.chunks(ALL):
        town = columns.values["town"]
        assert isinstance(town, Coded)
        towns = [town.labels[code] if code >= 0 else None for code in town.codes]
        read += zip(towns, np.asarray(columns.values["size"]).tolist(), strict=True)
    assert sorted(read, key=str) == sorted([("münchen", 7.0)] * 20 + [("köln", 7.0)] * 20 + [(None, 1.0)], key=str)


def faults_of(root: Path, **settings: Any) -> Extent:
    extent = source_of(root, **settings).refresh(NOW)
    assert extent.rows == 0
    return extent


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", ROWS.to_csv(index=False, sep=";").encode(), 'set dialect: {separator: ";"}'),
        ("a.csv", ROWS.to_csv(index=False).encode("utf-16"), "set dialect: {encoding: utf-16}"),
        ("a.jsonl", ROWS.to_json(orient="records", lines=True).encode("utf-16le"), "NUL bytes"),
        ("a.json", ROWS.to_json(orient="records").encode(), "JSON array"),
        ("a.json", json.dumps({"rows": [1]}, indent=1).encode(), "over several lines"),
        ("a.csv", gzip.compress(b"x", mtime=0), "compressed with gzip"),
        ("a.log", bz2.compress(b"x"), "compressed with bzip2"),
        ("a.jsonl", b"PAR1....", "format: parquet"),
        ("a.xlsx", b"PK\x03\x04", "is not read: it is a ZIP archive or a spreadsheet, which driftd does not read"),
        ("a.csv.zip", b"PK\x03\x04", "write CSV, JSON lines or Parquet"),
        ("a.sav", b"$FL2", "is not read: the suffix '.sav' is not one that driftd reads"),
        ("a.csv", ROWS.to_json(orient="records", lines=True).encode(), "set format: jsonl"),
        ("data", b"hello\n", "it has no suffix"),
        ("a.csv", b"when,who\n1,2\n", "has none of the features 'size', 'town'; it has 'when', 'who'"),
        ("a.csv", b"size,who\n1,2\n", "map them with `columns`"),
        ("a.jsonl", b'{"specversion": "1.0", "data": {"size": 1}}\n', "has none of the features"),
        ("a.csv", ROWS.to_csv(index=False).encode("latin-1"), "no UTF-8 text (line 2): set dialect: {encoding: "),
        ("a.csv", b"prediction,size,town,size\n1,1,a,2\n", "has more than one column 'size'"),
        ("a.parquet", TWICE, "has more than one column 'size'"),
    ],
)
def test_files_that_are_not_what_they_seem(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """A file of another format or with other columns is named with what to do, and none of its rows is read."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / name).write_bytes(content)
    (fault,) = faults_of(tmp_path).faults
    assert said in fault
    assert str(tmp_path / "logs" / name) in fault


def test_what_does_not_stop_a_csv(tmp_path: Path) -> None:
    """One damaged line, and two columns of a name that nothing needs, leave the other rows readable."""
    source = source_of(tmp_path)
    text = ROWS.assign(note="a", more="b").rename(columns={"more": "note"}).to_csv(index=False).encode()
    (tmp_path / "logs" / "a.csv").write_bytes(text.replace(b"p7,", b"p\xff7,"))
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (len(ROWS), ())


def test_a_mapping_that_is_mended(tmp_path: Path) -> None:
    """A file with other columns than the mapping says is not read; with the right mapping all of its rows are there."""
    (tmp_path / "logs").mkdir()
    ROWS.rename(columns={"at": "ts"}).to_csv(tmp_path / "logs" / "a.csv", index=False)
    (fault,) = faults_of(tmp_path, columns={"at": "time"}).faults
    assert "has no column 'time' (columns: {at: time}); it has 'prediction_id', 'ts'" in fault
    assert_read(source_of(tmp_path, columns={"at": "ts"}))


def test_files_of_labels_name_their_own_key(tmp_path: Path) -> None:
    """What a file of labels lacks is said with the key that maps its columns."""
    (tmp_path / "labels.csv").write_text("order,outcome\n1,2\n")
    source = source_of(tmp_path, feedback=str(tmp_path / "labels.csv"), feedback_columns={"id": "order"})
    assert "(feedback_columns: {label: label}); it has 'order', 'outcome'" in " ".join(source.refresh(NOW).faults)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_features_that_no_file_has_are_remarked(tmp_path: Path, suffix: str) -> None:
    """A feature under another name is told at the first look, and no more once a file has it."""
    source = source_of(tmp_path)
    for name, rows in (("a", ROWS.rename(columns={"size": "Size"})), ("b", ROWS)):
        path = tmp_path / "logs" / f"{name}.{suffix}"
        if suffix == "jsonl":
            rows.to_json(path, orient="records", lines=True)
        else:
            rows.to_csv(path, index=False) if suffix == "csv" else rows.to_parquet(path, index=False)
        found = [remark for remark in source.refresh(NOW).remarks if "feature" in remark]
        assert found == (["no file has the features 'size': they are missing in every row"] if name == "a" else [])


def test_columns_that_no_file_has(tmp_path: Path) -> None:
    """A mapped column that is optional and absent from all files is a fault, a usual one a remark; both end with it."""
    source = source_of(tmp_path, columns={"label": "truth"})
    rows = ROWS.drop(columns="prediction")
    rows.to_json(tmp_path / "logs" / "a.jsonl", orient="records", lines=True)
    extent = source.refresh(NOW)
    assert extent.faults == ("no file has the column 'truth' that `columns` maps to label",)
    assert "no file has a column 'prediction'" in extent.remarks[0]
    with (tmp_path / "logs" / "a.jsonl").open("a") as log:
        log.write(json.dumps({"at": START, "size": 1, "truth": 3, "prediction": 2}) + "\n")
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults, extent.remarks) == (41, (), ())


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("_delta_log/00000000000000000000.json", "a Delta table"),
        ("_spark_metadata/0", "the output of a Spark stream"),
        ("metadata/v1.metadata.json", "an Iceberg table"),
        (".hoodie/hoodie.properties", "a Hudi table"),
    ],
)
@pytest.mark.parametrize("pattern", ["logs", "logs/table", "logs/*/*.parquet", "logs/table/part-0.parquet"])
def test_tables_of_other_systems(tmp_path: Path, mark: str, said: str, pattern: str) -> None:
    """The files of a table whose log says which rows exist are not read, however the path names them."""
    table = tmp_path / "logs" / "table"
    (table / mark).parent.mkdir(parents=True)
    (table / mark).write_text('{"protocol":{}}\n')
    ROWS.to_parquet(table / "part-0.parquet", index=False)
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), FilesSettings(str(tmp_path / pattern)))
    extent = source.refresh(NOW)
    assert extent.rows == 0
    assert said in extent.faults[0]
    assert extent.complete_until < 0  # nothing is complete while nothing can be read


def test_a_table_beside_other_files(tmp_path: Path) -> None:
    """A table is left out and named; the other files of the folder are read."""
    source = source_of(tmp_path)
    (tmp_path / "logs" / "table" / "_delta_log").mkdir(parents=True)
    ROWS.to_parquet(tmp_path / "logs" / "table" / "part-0.parquet", index=False)
    ROWS.to_csv(tmp_path / "logs" / "a.csv", index=False)
    for hidden in ("_temporary", ".staging"):
        (tmp_path / "logs" / hidden).mkdir()
        ROWS.to_csv(tmp_path / "logs" / hidden / "b.csv", index=False)
    extent = source.refresh(NOW)
    assert extent.rows == 40
    assert len(extent.faults) == 1
    assert extent.complete_until == NOW


def parquet(root: Path, **columns: pa.Array) -> FilesSource:
    source = source_of(root)
    table = pa.Table.from_pandas(ROWS, preserve_index=False)
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, root / "logs" / "a.parquet")
    return source


def test_ids_that_are_uuids(tmp_path: Path) -> None:
    """UUIDs, as 16 bytes or as Arrow's own type, are ids in their usual text."""
    made = [uuid.UUID(int=number + (0xDEADBEEF << 96)) for number in range(40)]
    for kind in (pa.binary(16), pa.binary(), pa.uuid()):
        root = tmp_path / str(kind).replace("[", "_").replace(">", "_")
        root.mkdir()
        raw = pa.array([item.bytes for item in made], pa.binary(16) if kind == pa.uuid() else kind)
        column = pa.ExtensionArray.from_storage(kind, raw) if kind == pa.uuid() else raw
        source = parquet(root, prediction_id=column)
        assert_read(source)
        assert source.sample(ALL, 50, 1).column("driftd_id").to_pylist() == [str(item) for item in made]


def test_a_column_that_cannot_be_read(tmp_path: Path) -> None:
    """A column of a type that is no value is missing and a fault with file and column; the check goes on."""
    source = parquet(tmp_path, town=pa.array([[1, 2]] * 40))
    assert source.refresh(NOW).faults == ()
    assert sum(columns.rows for columns, _ in source.chunks(ALL)) == 40
    (fault,) = source.refresh(NOW).faults
    assert "a.parquet" in fault
    assert "'town' has the nested type list" in fault
    bad = parquet(tmp_path, size=pa.array([b"\xff\xfe"] * 40))
    bad.refresh(NOW)
    assert sum(columns.rows for columns, _ in bad.chunks(ALL)) == 40
    assert any("'size' holds bytes" in fault for fault in bad.refresh(NOW).faults)


def test_a_compressed_file_is_read_from_anywhere(tmp_path: Path) -> None:
    """Offsets of a compressed or recoded file are those of its text: forward, backward, and beyond its end."""
    text = "".join(f"{number:07d}\n" for number in range(50_000))
    (tmp_path / "a.gz").write_bytes(gzip.compress(text.encode("utf-16")))
    with open_text(str(tmp_path / "a.gz"), Dialect(encoding="utf-16")) as log:
        for number in (49_999, 3, 20_000):
            log.seek(number * 8)
            assert log.read(8) == f"{number:07d}\n".encode()
        log.seek(10**7)
        assert log.read(1) == b""


def test_rotation_that_compresses(tmp_path: Path) -> None:
    """A log that was renamed and compressed is the same file: its rows are counted once, and still read."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.log"
    lines = ROWS.to_json(orient="records", lines=True).encode()
    log.write_bytes(lines)
    source.refresh(NOW)
    (tmp_path / "logs" / "app.log.1.gz").write_bytes(gzip.compress(lines))
    log.unlink()
    log.write_text(json.dumps({"at": START, "size": 1, "prediction": 1}) + "\n")
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults, extent.remarks) == (41, (), ())
    assert sum(columns.rows for columns, _ in source.chunks(Window(0, 0, 41, by="rows"))) == 41


def test_rotation_by_copying(tmp_path: Path) -> None:
    """A log that was copied away and cut is the same file under the copy's name: its rows are counted once."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.log"
    log.write_bytes(ROWS.to_json(orient="records", lines=True).encode())
    source.refresh(NOW)
    shutil.copy(log, tmp_path / "logs" / "app.log.1")
    log.write_text(json.dumps({"at": START, "size": 1, "prediction": 1}) + "\n")
    extent = source.refresh(NOW)
    assert (extent.rows, extent.remarks) == (41, ())
    assert sum(columns.rows for columns, _ in source.chunks(ALL)) == 41


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("anew", [False, True])
def test_a_file_that_is_written_whole_each_time(tmp_path: Path, suffix: str, *, anew: bool) -> None:
    """An export that is written anew with more rows, in place or as another file, gives its new rows only."""
    source = source_of(tmp_path)
    path = tmp_path / "logs" / f"export.{suffix}"
    for rows in (ROWS[:25], ROWS[:25], ROWS):
        if anew:
            path.unlink(missing_ok=True)
        if suffix == "csv":
            rows.to_csv(path, index=False)
        elif suffix == "jsonl":
            rows.to_json(path, orient="records", lines=True)
        else:
            rows.to_parquet(path, index=False)
        extent = source.refresh(NOW)
        assert (extent.rows, extent.remarks) == (len(rows), ())
    assert sum(columns.rows for columns, _ in source.chunks(ALL)) == 40


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_that_is_written_over(tmp_path: Path, suffix: str) -> None:
    """A file that holds other rows now is told: the old ones are counted and gone, the new ones are read once."""
    source = source_of(tmp_path)
    path = tmp_path / "logs" / f"latest.{suffix}"
    for rows in (ROWS[:20], ROWS[20:]):
        if suffix == "csv":
            rows.to_csv(path, index=False)
        elif suffix == "jsonl":
            rows.to_json(path, orient="records", lines=True)
        else:
            rows.to_parquet(path, index=False)
        extent = source.refresh(NOW)
    assert extent.rows == 40
    assert "was cut or rewritten: 20 rows" in extent.remarks[0]
    assert sum(columns.rows for columns, _ in source.chunks(ALL)) == 20
    assert source.refresh(NOW + 2 * 86_400).remarks == ()


def test_a_log_that_begins_with_other_lines(tmp_path: Path) -> None:
    """A log whose first lines are of another kind is read once it holds predictions, and is a fault before."""
    source = source_of(tmp_path)
    log = tmp_path / "logs" / "app.log"
    other = json.dumps({"at": START, "event": "started", "text": "x" * 200}) + "\n"
    log.write_text(other * 400)
    extent = source.refresh(NOW)
    assert (extent.rows, len(extent.faults)) == (0, 1)
    with log.open("a") as more:
        more.write(json.dumps({"at": START, "size": 1, "town": "x", "prediction": 1}) + "\n")
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (401, ())


DAYS = pd.date_range("2023-11-01", periods=40, freq="1D", tz="UTC")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("form", "day_first"),
    [("%d/%m/%Y", True), ("%m/%d/%Y", False), ("%d.%m.%Y %H:%M:%S", True), ("%m-%d-%Y %I:%M %p", False)],
)
def test_dates_of_another_order(tmp_path: Path, suffix: str, form: str, day_first: bool) -> None:
    """With the order said, times of events and of features are read; without, no row has one, and the fault says so."""
    schema = Schema(Task.REGRESSION, "price", (Feature("size", Kind.NUMBER), Feature("since", Kind.TIMESTAMP)))
    rows = ROWS.assign(at=DAYS.strftime(form), since=DAYS.strftime(form)).drop(columns="town")
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / f"a.{suffix}"
    if suffix == "parquet":
        rows.to_parquet(path)
    elif suffix == "csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_json(path, orient="records", lines=True)
    now = DAYS[-1].timestamp() + 1e6

    def source_with(dialect: Dialect, state: str) -> FilesSource:
        settings = FilesSettings(str(tmp_path / "logs"), columns={"at": "at"}, dialect=dialect)
        return FilesSource("m", schema, Places(tmp_path / state), settings)

    source = source_with(Dialect(day_first=day_first), "told")
    extent = source.refresh(now)
    assert (extent.rows, extent.faults, extent.first_at) == (40, (), DAYS[0].timestamp())
    ((columns, outcomes),) = source.chunks(ALL)
    assert outcomes.at.tolist() == [day.timestamp() for day in DAYS]
    assert np.asarray(columns.values["since"]).tolist() == outcomes.at.tolist()
    source.close()
    silent = source_with(Dialect(), "silent").refresh(now)
    assert (silent.rows, silent.counts["no_time"]) == (0, 40)
    assert "40 of 40 rows have no readable time" in silent.faults[0]
    assert "set dialect: {day_first: true} or {day_first: false}" in silent.faults[0]


def test_a_date_that_does_not_fit_has_no_time(tmp_path: Path) -> None:
    """Among days first, a date whose second number is no month is counted, and never read the other way round."""
    source = source_of(tmp_path, columns={"at": "at"}, dialect=Dialect(day_first=True))
    days = ["31/01/2026", "02/01/2026", "01/31/2026", "30/02/2026", "2026-01-05"] * 8
    ROWS.assign(at=days).to_csv(tmp_path / "logs" / "a.csv", index=False)
    extent = source.refresh(1.9e9)
    assert (extent.rows, extent.counts["no_time"]) == (24, 16)
    assert "'01/31/2026'" in extent.faults[0]
    dates = np.unique(source.outcomes(ALL, 1.9e9).at)
    assert [pd.Timestamp(at, unit="s").strftime("%m-%d") for at in dates] == ["01-02", "01-05", "01-31"]


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (["03/04/2026", "05/06/2026"], "may begin with the day or the month"),
        (["13/04/2026", "04/13/2026"], "1 rows show one, 1 the other"),
    ],
)
def test_dates_of_no_known_order_are_asked_for(tmp_path: Path, days: list[str], said: str) -> None:
    """Where no number over 12 tells, or both are told, `init` asks; with the answer it reads them."""
    path = tmp_path / "rows.csv"
    pd.DataFrame({"when": days, "x": [1.5, 2.5]}).to_csv(path, index=False)
    with pytest.raises(WholeFilesError, match=said) as caught:
        read_whole(str(path), NOW)
    assert "set dialect: {day_first: true}" in str(caught.value)
    found = read_whole(str(path), NOW, dialect=Dialect(day_first=False))
    assert found.kinds["when"] is Kind.TIMESTAMP


def test_one_date_shows_the_order_of_all(tmp_path: Path) -> None:
    """A day over 12 in one column tells how all dates of the files begin, and a remark says so."""
    path = tmp_path / "rows.csv"
    pd.DataFrame({"when": ["01/02/2026", "02/02/2026"], "since": ["31/01/2026", "01/02/2026"]}).to_csv(
        path, index=False
    )
    found = read_whole(str(path), NOW)
    assert np.asarray(found.columns["when"]).tolist() == [pd.Timestamp(f"2026-02-0{day}").timestamp() for day in (1, 2)]
    assert any("begin with the day" in remark and "day_first: true" in remark for remark in found.remarks)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_bytes_of_another_encoding_deep_in_a_file_are_told(tmp_path: Path, suffix: str) -> None:
    """Beyond the first look too, lines that are not of the encoding are counted, with an example; their rows stay."""
    rows = pd.concat([ROWS.assign(town="ascii")] * 60, ignore_index=True)
    rows = rows.assign(prediction_id=[f"p{number}" for number in range(len(rows))])
    rows.loc[2300:2302, "town"] = "k\u00f6ln"
    text = (
        rows.to_csv(index=False) if suffix == "csv" else rows.to_json(orient="records", lines=True, force_ascii=False)
    )
    assert text.index("\u00f6") > 2**16
    source = source_of(tmp_path)
    path = tmp_path / "logs" / f"a.{suffix}"
    path.write_bytes(text.encode("latin-1"))
    extent = source.refresh(NOW)
    line = 2300 + (2 if suffix == "csv" else 1)
    assert extent.rows == 2400
    assert "3 lines are not of the encoding" in extent.faults[0]
    assert f"{path}, line {line}: " in extent.faults[0]
    assert "dialect: {encoding: ...}" in extent.faults[0]
    again = source_of(tmp_path)
    assert again.refresh(NOW).faults == extent.faults  # it is written down


def test_one_damaged_line_is_no_fault(tmp_path: Path) -> None:
    """A single line may be damaged: its row is read, and nothing is said."""
    source = source_of(tmp_path)
    text = ROWS.to_csv(index=False).encode()
    (tmp_path / "logs" / "a.csv").write_bytes(text.replace("m\u00fcnchen".encode(), b"m\xfcnchen", 1))
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults) == (40, ())


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_own_column_of_a_file_wins_over_its_folder(tmp_path: Path, suffix: str) -> None:
    """Where a folder names a column that the file has, the file's values are read, by `init` and by the source."""
    schema = Schema(Task.REGRESSION, "price", (Feature("size", Kind.NUMBER),))
    folder = tmp_path / "logs" / "at=1999-01-01" / "size=7"
    folder.mkdir(parents=True)
    rows = ROWS[["prediction_id", "at", "prediction", "size"]]
    path = folder / f"a.{suffix}"
    if suffix == "parquet":
        rows.to_parquet(path)
    elif suffix == "csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_json(path, orient="records", lines=True)
    settings = FilesSettings(str(tmp_path / "logs"), columns={"at": "at"})
    source = FilesSource("m", schema, Places(tmp_path / "state"), settings)
    assert source.refresh(NOW).first_at == START
    ((columns, outcomes),) = source.chunks(ALL)
    assert outcomes.at.tolist() == rows["at"].tolist()
    assert np.asarray(columns.values["size"]).tolist() == rows["size"].tolist()
    found = read_whole(str(tmp_path / "logs"), NOW)
    assert (found.kinds["at"], found.kinds["size"], found.folders) == (Kind.NUMBER, Kind.NUMBER, ())
    assert np.asarray(found.columns["size"]).tolist() == rows["size"].tolist()


@pytest.mark.parametrize("names", [(), ("_SUCCESS", ".a.csv.crc", "b.csv.part")])
def test_a_folder_without_files_is_told(tmp_path: Path, names: tuple[str, ...]) -> None:
    """An empty folder, or one in which all is passed over, is a fault of predictions, and a remark on labels."""
    (tmp_path / "labels").mkdir()
    source = source_of(tmp_path, feedback=str(tmp_path / "labels"))
    for name in names:
        (tmp_path / "logs" / name).write_text("x")
    extent = source.refresh(NOW)
    assert "logs has no file that is read" in extent.faults[0]
    assert all(name in extent.faults[0] for name in names)
    assert "labels has no file that is read" in extent.remarks[0]
    assert extent.faults == source.preview(NOW).faults
    ROWS.to_csv(tmp_path / "logs" / "a.csv", index=False)
    assert source.refresh(NOW).faults == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sep=;\nprediction_id;at;size\na;1;2\n", "begins with 'sep=;', which a spreadsheet wrote"),
        (
            "# made in May\nprediction_id,at,size\na,1,2\n",
            "has no header in its first line, '# made in May', but 3 fields",
        ),
        ("prediction_id;size\na;2,5\n", 'set dialect: {separator: ";"}'),
        ("prediction_id,at,size\ra,1,2\rb,1,2\r", "end with a carriage return alone"),
    ],
)
def test_what_stands_before_the_rows_is_named(tmp_path: Path, text: str, said: str) -> None:
    """Lines that other programs put before the header, and ends of lines that are none, are told as what they are."""
    source = source_of(tmp_path)
    (tmp_path / "logs" / "a.csv").write_bytes(text.encode())
    extent = source.refresh(NOW)
    assert extent.rows == 0
    assert said in extent.faults[0]


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S UTC", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S GMT"])
def test_dates_nearly_as_iso_has_them(tmp_path: Path, form: str) -> None:
    """What BigQuery and spreadsheets write is read alike by files and by HTTP, and is a timestamp to `init`."""
    moments = pd.Series(DAYS).dt.strftime(form)
    source = source_of(tmp_path, columns={"at": "at"})
    ROWS.assign(at=moments).to_csv(tmp_path / "logs" / "a.csv", index=False)
    extent = source.refresh(DAYS[-1].timestamp() + 1)
    assert (extent.rows, extent.faults) == (40, ())
    assert source.outcomes(ALL, 4e9).at.tolist() == [day.timestamp() for day in DAYS]
    assert read_whole(str(tmp_path / "logs"), NOW).kinds["at"] is Kind.TIMESTAMP
    assert [read_time(moment) for moment in moments] == [day.timestamp() for day in DAYS]


def test_a_time_may_be_a_feature_too(tmp_path: Path) -> None:
    """A column that is the time of the event and a feature of the model is read as both."""
    schema = Schema(Task.REGRESSION, "price", (Feature("size", Kind.NUMBER), Feature("at", Kind.TIMESTAMP)))
    for suffix in ("csv", "jsonl", "parquet"):
        folder = tmp_path / suffix
        folder.mkdir()
        rows = ROWS.assign(at=DAYS if suffix == "parquet" else DAYS.strftime("%Y-%m-%dT%H:%M:%SZ"))
        if suffix == "csv":
            rows.to_csv(folder / "a.csv", index=False)
        elif suffix == "jsonl":
            rows.to_json(folder / "a.jsonl", orient="records", lines=True)
        else:
            rows.to_parquet(folder / "a.parquet")
        settings = FilesSettings(str(folder), columns={"at": "at"})
        source = FilesSource("m", schema, Places(tmp_path / f"state-{suffix}"), settings)
        assert source.refresh(DAYS[-1].timestamp() + 1).faults == ()
        ((columns, outcomes),) = source.chunks(ALL)
        assert np.asarray(columns.values["at"]).tolist() == outcomes.at.tolist() == [day.timestamp() for day in DAYS]


def test_columns_of_types_that_are_not_read_are_left_out(tmp_path: Path) -> None:
    """A span of time or bytes beside the features do not keep `init` from the rest of a Parquet file."""
    table = pa.Table.from_pandas(ROWS, preserve_index=False)
    table = table.append_column("took", pa.array([1] * 40, pa.duration("s")))
    table = table.append_column("blob", pa.array([b"\xff\xfe"] * 40))
    pq.write_table(table, tmp_path / "a.parquet")
    found = read_whole(str(tmp_path / "a.parquet"), NOW)
    assert (found.rows, found.nested) == (40, ("took", "blob"))
    assert set(found.kinds) == set(ROWS.columns)
