"""Delta tables as a source: the values of files, one version at a time while others write, refusals in sentences."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from driftd.cli.check_config import source_warnings
from driftd.config.load import parse
from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.protocol import EngineError, Query
from driftd.sources.engines.table_files import near_key
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.open import open_engine_source, open_watched_source
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.columns import Coded
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy
from lake_tables import LakeTables, delta_tables, lake_rows, lake_source
from object_store_worlds import Store, store

__all__ = ["store"]

START = 1_700_000_000.0
HOUR = Window(0, START, START + 3600)
SCHEMA = Schema(
    Task.CLASSIFICATION, "bought", (Feature("age", Kind.NUMBER), Feature("city", Kind.CATEGORY)), ("0", "1")
)
ZONED = pa.timestamp("us", "UTC")
WINTER = datetime(2023, 11, 1, 12, 30, 15, 123_457, tzinfo=UTC)
VALUES: dict[str, tuple[pa.DataType, list[Any], Kind]] = {
    "number": (pa.float64(), [None, float("nan"), float("inf"), -float("inf"), -0.0, 1.797e308, 0.1], Kind.NUMBER),
    "single": (pa.float32(), [None, 0.1, float("nan")], Kind.NUMBER),
    "big": (pa.int64(), [None, 9007199254740993, -1], Kind.NUMBER),
    "price": (pa.decimal128(12, 2), [None, Decimal("0.57"), Decimal("1.15"), Decimal("-8.20")], Kind.NUMBER),
    "wide": (pa.decimal128(38, 4), [None, Decimal("1234567890123456789012345678901234.5678")], Kind.NUMBER),
    "word": (pa.string(), [None, "", "Zürich", "日本 🎌", " a'b\"c ", "NULL"], Kind.CATEGORY),
    "code": (pa.int32(), [None, 7, -3], Kind.CATEGORY),
    "truth": (pa.bool_(), [None, True, False], Kind.BOOLEAN),
    "whole_truth": (pa.int16(), [None, 1, 0, 2], Kind.BOOLEAN),
    "zoned": (ZONED, [None, WINTER, datetime(1960, 1, 1, tzinfo=UTC)], Kind.TIMESTAMP),
    "day": (pa.date32(), [None, date(2023, 10, 29)], Kind.TIMESTAMP),
    "seconds": (pa.float64(), [None, 1698841815.25], Kind.TIMESTAMP),
    "text_time": (pa.string(), [None, "2023-11-01T12:00:00+02:00"], Kind.TIMESTAMP),
    "odd name.ä": (pa.float64(), [None, 2.5], Kind.NUMBER),
}
AWKWARD = Schema(
    Task.CLASSIFICATION, "y", tuple(Feature(name, kind) for name, (_, _, kind) in VALUES.items()), ("0", "1")
)


def predictions(first: int, last: int, **more: Any) -> list[dict[str, Any]]:
    """Predictions number `first` to `last` - 1, a second each."""
    return [
        {
            "prediction_id": f"p{number}",
            "at": START + number,
            "version": 1,
            "prediction": str(number % 2),
            "score": 0.5,
            "age": number + 0.5,
            "city": f"town {number % 3}",
            **more,
        }
        for number in range(first, last)
    ]


def known(first: int, last: int, label: str = "1", at: float = START + 60) -> list[dict[str, Any]]:
    """The labels of every other of them."""
    return [
        {"prediction_id": f"p{number}", "label": label, "label_at": at, "received_at": at}
        for number in range(first, last, 2)
    ]


@pytest.fixture
def tables(tmp_path: Path) -> LakeTables:
    """Twenty predictions and ten labels."""
    made = delta_tables(tmp_path / "lake")
    made.append("predictions", predictions(0, 20))
    made.append("labels", known(0, 20))
    return made


def folder_of(tables: LakeTables, name: str = "predictions") -> str:
    return str(tables.section[name])


def times(source: EngineSource) -> list[float]:
    return [at - START for _, outcomes in source.chunks(HOUR) for at in outcomes.at.tolist()]


def labels_of(source: EngineSource, known_by: float = START + 3600) -> list[float | None]:
    return [None if code < 0 else code for code in source.outcomes(HOUR, known_by).label.tolist()]


def ages(table: LakeTables, query: Query) -> list[Any]:
    return [age for batch in table.engine().read(query) for age in batch.column("age").to_pylist()]


def values_of(source: Any) -> dict[str, list[Any]]:
    """Every value of a window as the statistics see it, and what could not be read."""
    ((columns, outcomes),) = source.chunks(HOUR)
    found: dict[str, list[Any]] = {"unreadable": [sorted(columns.unreadable.items())]}
    for name, column in columns.values.items():
        coded = isinstance(column, Coded)
        labels = (*column.labels, None) if coded else ()
        found[name] = [labels[code] for code in column.codes] if coded else [repr(value) for value in column.tolist()]
    for name in ("at", "prediction", "score", "label", "label_at", "version"):
        found[name] = [repr(value) for value in getattr(outcomes, name).tolist()]
    return found


def test_every_kind_of_value_reads_the_same_as_from_files(tmp_path: Path) -> None:
    """Missing, infinite, huge, Unicode, zoned and decimal values are those of Parquet, to the last bit."""
    rows = 84
    arrays = {
        "prediction_id": pa.array([f"p{row}" for row in range(rows)]),
        "at": pa.array([datetime.fromtimestamp(START + row + 0.000_123, UTC) for row in range(rows)], ZONED),
        "prediction": pa.array([row % 2 for row in range(rows)], pa.int32()),
        "score": pa.array([0.25] * rows, pa.float32()),
        "version": pa.array([1] * rows, pa.int64()),
        **{
            name: pa.array([values[row % len(values)] for row in range(rows)], kind)
            for name, (kind, values, _) in VALUES.items()
        },
        "label": pa.array([None if row % 3 else 1 for row in range(rows)], pa.int32()),
    }
    (tmp_path / "logs").mkdir()
    pq.write_table(pa.table(arrays), tmp_path / "logs" / "a.parquet")
    files = FilesSource("m", AWKWARD, Places(tmp_path), FilesSettings(str(tmp_path / "logs")))
    write_deltalake(str(tmp_path / "table"), pa.table(arrays))
    delta = lake_source(
        LakeTables({"kind": "delta", "predictions": str(tmp_path / "table")}, lambda _name, _rows: None), AWKWARD
    )
    first = files.refresh(START + 100).first_at
    assert delta.refresh(START + 100).first_at == first
    found, expected = values_of(delta), values_of(files)
    for name, values in expected.items():
        assert found[name] == values, name


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (pa.timestamp("us"), lambda at: datetime.fromtimestamp(at, UTC).replace(tzinfo=None)),
        (pa.float64(), lambda at: at),
        (pa.int64(), int),
        (pa.string(), lambda at: datetime.fromtimestamp(at, UTC).isoformat()),
    ],
    ids=["without zone", "seconds", "whole seconds", "text"],
)
def test_times_of_any_form(tmp_path: Path, kind: pa.DataType, make: Callable[[float], Any]) -> None:
    """A window has the rows of its times, whatever type these have; a row without a time is in none."""
    times_of_rows = [make(START + number) for number in range(20)] + [None]
    rows = pa.table({"at": pa.array(times_of_rows, kind), "age": [float(number) for number in range(21)]})
    write_deltalake(str(tmp_path / "table"), rows.slice(10))
    write_deltalake(str(tmp_path / "table"), rows.slice(0, 10), mode="append")
    table = LakeTables({"kind": "delta", "predictions": str(tmp_path / "table")}, lambda _name, _rows: None)
    extent = table.engine().look(None)
    assert (extent.first_at, extent.newest_at) == (START, START + 19)
    found = ages(table, Query(("age",), START + 5, START + 12))  # by file: texts have no statistics to order by
    assert sorted(found) == [float(number) for number in range(5, 12)]


def test_statistics_that_are_cut_off_hide_no_row(tmp_path: Path) -> None:
    """The log holds milliseconds: a row that is microseconds after the greatest of them is in its window."""
    table = delta_tables(tmp_path / "lake")
    table.append("predictions", [{**row, "at": row["at"] + 0.000_9} for row in predictions(0, 3)])
    assert ages(table, Query(("age",), START + 2.000_5, START + 3)) == [2.5]
    assert ages(table, Query(("age",), START, START + 0.000_9)) == []
    assert table.engine().look(None).first_at == START + 0.000_9


def test_files_outside_a_window_are_not_opened(tables: LakeTables) -> None:
    """A window reads the files that its times are in: those of other days may be gone."""
    tables.append("predictions", predictions(86_400, 86_420))
    table = DeltaTable(folder_of(tables))
    (old,) = [path for path in table.file_uris() if pq.read_table(path)["age"][0].as_py() == 0.5]
    Path(old).unlink()
    day = Query(("age",), START + 86_000, START + 90_000)
    assert len(ages(tables, day)) == 20
    with pytest.raises(EngineError, match=r"files of version 2 are gone .*a vacuum or an expiry removed them"):
        ages(tables, Query(("age",), START, START + 60))


def test_partitions_without_statistics_are_chosen_by_their_key(tmp_path: Path) -> None:
    """Where the log has no bounds of the time, the key of a partition and its slack tell which files to read."""
    tables = delta_tables(tmp_path / "lake")
    for day in range(3):
        moments = [datetime.fromtimestamp(START + 86_400 * day + number, UTC) for number in range(5)]
        rows = pa.table({"at": moments, "age": [float(day)] * 5, "day": [moments[0].date().isoformat()] * 5})
        write_deltalake(
            str(tmp_path / "keyed"),
            rows,
            mode="append",
            partition_by=["day"],
            configuration={"delta.dataSkippingNumIndexedCols": "0"},
        )
    section = {**tables.section, "predictions": str(tmp_path / "keyed"), "partition": {"key": "day", "slack": 3600}}
    keyed = LakeTables(section, tables.write)
    (first, *_) = sorted(DeltaTable(section["predictions"]).file_uris())
    Path(first).unlink()
    assert ages(keyed, Query(("age",), START + 2 * 86_400, START + 3 * 86_400)) == [2.0] * 5
    begin = datetime(2026, 1, 31, tzinfo=UTC).timestamp()
    days: tuple[object, ...] = ("2026-01-31", 20260131, date(2026, 1, 31), "2026-01-31-23")
    for key in days:
        assert near_key(key, 60) == (begin - 60, begin + 86_460)
    for other in ("2026-01", None, "north", "2026-99-99"):
        assert near_key(other, 60) == (-np.inf, np.inf)


def test_labels_of_one_time_have_one_order(tables: LakeTables) -> None:
    """The newest is the greatest by label_at, received_at and the label, however the rows are ordered."""
    own = {"label_at": START + 70, "received_at": START + 80}
    tables.append("labels", [{"prediction_id": "p1", "label": label, **own} for label in ("1", "0", "1")])
    tables.append("labels", [{"prediction_id": "p3", "label": "1", **own}])
    tables.append("labels", [{"prediction_id": "p3", "label": "0", "label_at": START + 70, "received_at": START + 81}])
    tables.append("labels", [{"prediction_id": "p5", "label": "0", "label_at": None, "received_at": START + 90}])
    tables.append("labels", [{"prediction_id": "p7", "label": None, **own}, {"prediction_id": None, "label": "1"}])
    source = lake_source(tables, SCHEMA)
    assert labels_of(source)[:8] == [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, None]
    assert labels_of(source, START + 80)[5] is None


def test_each_prediction_of_one_identity_has_its_label(tables: LakeTables) -> None:
    """Two predictions with one identity both count, also where the table of labels has other types."""
    tables.append("predictions", predictions(2, 3))
    assert labels_of(lake_source(tables, SCHEMA)).count(1.0) == 11
    rows = pa.table({"prediction_id": pa.array([4, 6]), "label": [True, False], "label_at": [START + 60.0] * 2})
    write_deltalake(folder_of(tables, "labels"), rows, mode="overwrite", schema_mode="overwrite")
    write_deltalake(
        folder_of(tables),
        lake_rows(DeltaTable(folder_of(tables)).to_pyarrow_table().schema, predictions(30, 32)),
        mode="append",
    )
    tables.append("predictions", [{**predictions(40, 41)[0], "prediction_id": "4"}])
    assert labels_of(lake_source(tables, SCHEMA))[-1] == 1.0


def test_a_reader_keeps_its_version_while_others_write(tables: LakeTables) -> None:
    """Between two looks rows that are added, deleted or rewritten change nothing that is read."""
    source = lake_source(tables, SCHEMA)
    source.refresh(START + 100)
    before, labels = times(source), labels_of(source)
    table = DeltaTable(folder_of(tables))
    tables.append("predictions", predictions(20, 30))
    table.update_incremental()
    table.delete("age < 5")
    table.optimize.compact()
    DeltaTable(folder_of(tables, "labels")).delete("prediction_id = 'p8'")
    assert (times(source), labels_of(source)) == (before, labels)
    source.refresh(START + 101)
    assert times(source) == [float(number) for number in range(5, 30)]
    assert labels_of(source)[3] is None


def test_a_count_goes_on_with_the_next_version_where_files_are_gone(tables: LakeTables) -> None:
    """A vacuum during a check costs a second reading; a build, which reads one version, says what is gone."""
    watched, build = lake_source(tables, SCHEMA), EngineSource(tables.engine(keeps=True), SCHEMA, RowNames())
    assert build.count_labelled(0.0, START + 100) == 10
    watched.refresh(START + 100)
    table = DeltaTable(folder_of(tables))
    tables.append("predictions", predictions(20, 30))
    table.update_incremental()
    table.optimize.compact()
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert watched.cohort(HOUR, START + 100, ["city"], ServedBy(1)).total == 30
    with pytest.raises(EngineError, match="keep old versions longer than a check or a build takes"):
        build.cohort(HOUR, START + 100, ["city"], ServedBy(1))


def test_no_row_is_lost_or_read_twice_beside_a_writer(tables: LakeTables) -> None:
    """While a writer appends, compacts and vacuums, each reading has whole commits: rows 0 to some multiple of 10."""
    ends = threading.Event()

    def write() -> None:
        for number in range(20, 120, 10):
            tables.append("predictions", predictions(number, number + 10))
            table = DeltaTable(folder_of(tables))
            table.optimize.compact()
            table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        ends.set()

    writer = threading.Thread(target=write)
    writer.start()
    source = lake_source(tables, SCHEMA)
    seen = [20]
    while not ends.is_set() or seen[-1] < 120:
        source.refresh(START + 1000)
        try:
            cohort = source.cohort(HOUR, START + 1000, (), ServedBy(1))
        except EngineError as error:
            assert "keep old versions longer" in str(error)  # noqa: PT017 - a vacuum that is quicker three times
            continue
        assert sorted(cohort.outcomes.at - START) == list(range(cohort.total))
        assert cohort.total % 10 == 0
        seen.append(cohort.total)
    writer.join()
    assert seen == sorted(seen)


def rewrite_log(folder: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the actions of the first commit of a table."""
    log = Path(folder) / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        change(action)
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))


def with_deletion_vectors(action: dict[str, Any]) -> None:
    if "protocol" in action:
        action["protocol"] = {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"],
            "writerFeatures": ["deletionVectors"],
        }


def with_mapped_columns(action: dict[str, Any]) -> None:
    if "protocol" in action:
        action["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
    if "metaData" in action:
        action["metaData"]["configuration"] = {"delta.columnMapping.mode": "name"}
        schema = json.loads(action["metaData"]["schemaString"])
        for number, field in enumerate(schema["fields"]):
            field["metadata"] = {"delta.columnMapping.id": number + 1, "delta.columnMapping.physicalName": f"c{number}"}
        action["metaData"]["schemaString"] = json.dumps(schema)


def from_tomorrow(action: dict[str, Any]) -> None:
    if "protocol" in action:
        action["protocol"] = {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["rowsByMail"],
            "writerFeatures": ["rowsByMail"],
        }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_deletion_vectors, r"that is not read: .*deletion vectors.*REORG TABLE"),
        (with_mapped_columns, r"that is not read: .*column mapping.*kind: spark"),
        (from_tomorrow, r"rowsByMail"),
    ],
)
def test_what_files_alone_do_not_tell_is_refused(
    tables: LakeTables, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    """A table whose rows or columns depend on more than its files gives a sentence, and no row."""
    rewrite_log(folder_of(tables), change)
    source = lake_source(tables, SCHEMA)
    (fault,) = source.refresh(START + 100).faults
    with pytest.raises(EngineError, match=said):
        list(source.chunks(HOUR))
    assert "\n" not in fault


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"predictions": "/nowhere/at/all"}, "is no Delta table: it has no folder _delta_log"),
        ({"columns": {"at": "when"}}, "has no column 'when': set source.columns.at; it has prediction_id"),
        ({"label_columns": {"label": "answer"}}, "has no column 'answer': set source.label_columns.label"),
        ({"label_columns": {"id": "key"}}, "has no column 'key': set source.label_columns.id"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(tables: LakeTables, keys: dict[str, Any], said: str) -> None:
    """A table or a column that is missing is named, with the key to set."""
    with pytest.raises(EngineError, match=said):
        list(tables.engine(**keys).read(Query(("age",), START, START + 60, START + 60)))


def test_reading_takes_no_longer_than_it_may(tables: LakeTables) -> None:
    """After `source.timeout` it ends with a sentence, in the rows and in the labels; the next query begins anew."""
    for column, known_by in (("age", None), ("age", START + 60)):
        ticks = iter(range(0, 10_000, 40))
        engine = tables.engine(monotonic=lambda ticks=ticks: float(next(ticks)), timeout=30)  # type: ignore[misc]
        with pytest.raises(EngineError, match=r"longer than source\.timeout \(30 ?s.*\): compact the tables, or raise"):
            list(engine.read(Query((column,), START, START + 60, known_by)))


def test_labels_beside_the_predictions(tmp_path: Path) -> None:
    """Without a table of labels they are known with their row, unless a column says when."""
    rows = pa.table(
        {
            "prediction_id": ["a", "b", "c"],
            "at": pa.array([datetime.fromtimestamp(START + number, UTC) for number in range(3)], ZONED),
            "label": ["1", None, "0"],
            "label_at": [START + 50.0, START + 50.0, None],
        }
    )
    write_deltalake(str(tmp_path / "table"), rows)
    table = LakeTables({"kind": "delta", "predictions": str(tmp_path / "table")}, lambda _name, _rows: None)
    source = lake_source(table, SCHEMA)
    assert labels_of(source, START + 49) == [None, None, 0.0]
    assert labels_of(source, START + 50) == [1.0, None, 0.0]
    assert source.count_labelled(START, START + 49) == 1
    assert source.newest_labelled(2, START, START + 50) == START


@pytest.fixture
def config_of(tables: LakeTables) -> ModelConfig:
    text = f"models: {{m: {{task: classification, target: bought, source: {json.dumps(dict(tables.section))}}}}}"
    return parse(text.encode()).models["m"]


def test_the_daemon_reads_a_table_through_a_child(config_of: ModelConfig, tmp_path: Path) -> None:
    """What a config names is opened in a process of its own, which gives the same window."""
    source = open_watched_source("m", config_of, SCHEMA, Places(tmp_path))
    try:
        assert source.refresh(START + 60).newest_at == START + 19
        assert source.cohort(HOUR, START + 60, ["city"], ServedBy(1)).labelled == 10
    finally:
        source.close()


def test_a_job_reads_one_version(config_of: ModelConfig, tables: LakeTables, tmp_path: Path) -> None:
    """What is written while a job runs is not in its rows, and its version can be told."""
    source = open_engine_source("m", config_of, SCHEMA, Places(tmp_path))
    assert source.count_labelled(START, START + 100) == 10
    tables.append("labels", known(1, 20))
    assert sum(len(table) for table in source.read_labelled(START, START + 100, START + 100)) == 10
    assert source.versions() == {"predictions": "1", "labels": "1"}


def test_a_table_in_an_object_store(tables: LakeTables, store: Store) -> None:
    """A table in S3 gives the rows of the same table in a folder, with the keys of a file."""
    bucket = store.bucket("lake")
    for name in ("predictions", "labels"):
        store.put_folder(Path(folder_of(tables, name)), f"{bucket}/{name}")
    section = {"kind": "delta", **{name: f"{bucket}/{name}" for name in ("predictions", "labels")}}
    stored = LakeTables({**section, "object_store": store.settings()}, lambda _name, _rows: None)
    source = lake_source(stored, SCHEMA)
    assert source.refresh(START + 100).faults == ()
    assert (times(source), labels_of(source)) == (
        [float(number) for number in range(20)],
        labels_of(lake_source(tables, SCHEMA)),
    )
    nowhere = {"object_store": {"endpoint": "http://127.0.0.1:9", "timeout": 1}}
    away = lake_source(LakeTables({**section, **nowhere}, stored.write), SCHEMA)
    (fault,) = away.refresh(START + 100).faults
    assert "\n" not in fault


def test_rows_in_place_of_a_delta_table_are_warned_of() -> None:
    """`check-config` says that old versions of the table go, where a build would leave its rows there."""
    text = """models: {m: {task: classification, target: y, source: {kind: delta, predictions: /srv/orders},
      trainer: {command: [train]}, retrain: {refresh: "off", data: {keep: %s}}}}"""
    (warning,) = source_warnings(parse((text % "in_place").encode()))
    assert "delta.deletedFileRetentionDuration" in warning
    assert list(source_warnings(parse((text % "copy").encode()))) == []
