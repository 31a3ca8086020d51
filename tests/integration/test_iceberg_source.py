"""Iceberg tables as a source: one snapshot at a time while others write, deletes applied, tags that keep."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyiceberg.table import Table

from driftd.config.load import parse
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.protocol import EngineError, Query
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.open import open_watched_source
from driftd.sources.protocol import Source
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.columns import Coded
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy
from lake_tables import LakeTables, iceberg_catalog, iceberg_tables, lake_source
from worlds import CLASSES as WORDS
from worlds import DAY, day_of, reference_of, together
from worlds import LABELS as LETTERS
from worlds import SCHEMA as WORLD

START = 1_700_000_000.0
HOUR = Window(0, START, START + 3600)
SCHEMA = Schema(
    Task.CLASSIFICATION, "bought", (Feature("age", Kind.NUMBER), Feature("city", Kind.CATEGORY)), ("0", "1")
)


def predictions(first: int, last: int) -> list[dict[str, Any]]:
    """Predictions number `first` to `last` - 1, a second each."""
    return [
        {"prediction_id": f"p{number}", "at": START + number, "version": 1, "prediction": "1", "age": float(number)}
        for number in range(first, last)
    ]


@pytest.fixture
def tables(tmp_path: Path) -> LakeTables:
    """Twenty predictions and ten labels."""
    made = iceberg_tables(tmp_path / "lake")
    made.append("predictions", predictions(0, 20))
    at = {"label_at": START + 60, "received_at": START + 60}
    made.append("labels", [{"prediction_id": f"p{number}", "label": "1", **at} for number in range(0, 20, 2)])
    return made


def table_of(tables: LakeTables, name: str = "predictions") -> Table:
    return iceberg_catalog(tables.section).load_table(f"lake.{name}")


def times(source: EngineSource) -> list[float]:
    return [at - START for _, outcomes in source.chunks(HOUR) for at in outcomes.at.tolist()]


def test_a_reader_keeps_its_snapshot_while_others_write(tables: LakeTables) -> None:
    """Between two looks rows that are added or deleted change nothing; a look finds the current snapshot."""
    source = lake_source(tables, SCHEMA)
    source.refresh(START + 100)
    tables.append("predictions", predictions(20, 30))
    table_of(tables).delete("age < 5")
    assert times(source) == list(range(20))
    assert source.refresh(START + 100).newest_at == START + 29
    assert times(source) == list(range(5, 30))


def test_files_outside_a_window_are_not_opened(tables: LakeTables) -> None:
    """The bounds in the manifests tell which files a window needs; one that is gone is told in a sentence."""
    tables.append("predictions", predictions(86_400, 86_420))
    for task in table_of(tables).scan().plan_files():
        path = task.file.file_path.removeprefix("file://")
        if pq.read_table(path)["age"][0].as_py() == 0.0:
            Path(path).unlink()
    engine = tables.engine()
    assert sum(len(batch) for batch in engine.read(Query(("age",), START + 86_000, START + 90_000))) == 20
    with pytest.raises(EngineError, match=r"files of version \d+ are gone"):
        list(engine.read(Query(("age",), START, START + 60)))


def test_bounds_are_those_of_the_rows(tables: LakeTables) -> None:
    """The extent comes from the manifests alone where these have bounds."""
    extent = tables.engine().look(None)
    assert (extent.first_at, extent.newest_at, extent.newest_label_at) == (START, START + 19, START + 60)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.float64(), pa.int64(), pa.string()], ids=str)
def test_times_of_any_form(tmp_path: Path, kind: pa.DataType) -> None:
    """A window has the rows of its times, whatever type these have."""
    made = iceberg_tables(tmp_path / "lake")
    moments = [datetime.fromtimestamp(START + number, UTC).replace(tzinfo=None) for number in range(20)]
    values: list[Any] = moments
    if kind == pa.string():
        values = [moment.isoformat() for moment in moments]
    elif not pa.types.is_timestamp(kind):
        values = [int(START) + number for number in range(20)]
    rows = pa.table({"at": pa.array(values, kind), "age": [float(number) for number in range(20)]})
    catalog = iceberg_catalog(made.section)
    catalog.create_table("lake.others", rows.schema).append(rows)
    engine = made.engine(predictions="lake.others", labels=None)
    assert (extent := engine.look(None)).first_at == START
    assert extent.newest_at == START + 19
    found = [age for batch in engine.read(Query(("age",), START + 5, START + 12)) for age in batch["age"].to_pylist()]
    assert found == [float(number) for number in range(5, 12)]


def test_a_tag_keeps_a_snapshot(tables: LakeTables) -> None:
    """A build that leaves its rows in place tags them: an expiry of all old snapshots leaves them readable."""
    source = EngineSource(tables.engine(keeps=True), SCHEMA, RowNames())
    versions = source.versions()
    assert source.keep("driftd-m-abc")
    table_of(tables).delete("age < 100")
    table = table_of(tables)
    table.maintenance.expire_snapshots().older_than(datetime.now()).commit()  # noqa: DTZ005 - as it is asked for
    snapshot = table_of(tables).metadata.refs["driftd-m-abc"].snapshot_id
    assert str(snapshot) == versions["predictions"]
    assert table_of(tables).scan(snapshot_id=snapshot).to_arrow().num_rows == 20
    later = EngineSource(tables.engine(keeps=True), SCHEMA, RowNames())
    later.versions()
    iceberg_catalog(tables.section).drop_table("lake.predictions")
    with pytest.raises(EngineError, match=r"lake\.predictions: no tag can be set"):
        later.keep("driftd-m-def")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"predictions": "lake.nothing"}, r"has no table lake\.nothing: correct source"),
        ({"catalog": {"uri": "sqlite:////nowhere/catalog.db"}}, r"/nowhere/catalog\.db does not exist: correct"),
        ({"catalog": {"uri": "http://127.0.0.1:9"}}, r"http://127\.0\.0\.1:9 does not answer: "),
        ({"columns": {"at": "when"}}, "has no column 'when': set source.columns.at"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(tables: LakeTables, keys: dict[str, Any], said: str) -> None:
    """A catalog, a table or a column that is missing is named."""
    (fault,) = EngineSource(tables.engine(**keys), SCHEMA, RowNames()).refresh(START).faults
    with pytest.raises(EngineError, match=said):
        raise EngineError(fault)


def test_the_daemon_reads_a_table_through_a_child(tables: LakeTables, tmp_path: Path) -> None:
    """What a config names is opened in a process of its own, which gives the same window."""
    text = f"models: {{m: {{task: classification, target: bought, source: {json.dumps(dict(tables.section))}}}}}"
    source = open_watched_source("m", parse(text.encode()).models["m"], SCHEMA, Places(tmp_path))
    try:
        assert source.refresh(START + 60).newest_at == START + 19
        assert source.cohort(HOUR, START + 60, ["city"], ServedBy(1)).labelled == 10
    finally:
        source.close()


FIRST_DAY = 19_000  # since 1970


def assessments(source: Source, reference: Reference) -> list[str]:
    """What a monitor says of each of twelve days, and of the labels of each day four days later."""
    monitor = Monitor.begin(reference, MonitorSettings(windows_per_year=365, window_seconds=DAY))
    source.refresh((FIRST_DAY + 12) * DAY)
    texts = []
    for number in range(FIRST_DAY, FIRST_DAY + 12):
        data = source.profile(Window(number, number * DAY, (number + 1) * DAY), reference, ServedBy(1))
        monitor, said = monitor.check(data.profile, number * DAY)
        texts.append(repr(said))
        old = Window(number - 4, (number - 4) * DAY, (number - 3) * DAY)
        cohort = source.cohort(old, (number + 1) * DAY, (), ServedBy(1))
        monitor, said = monitor.check_labels(cohort.outcomes, old.start, 4 * DAY)
        texts.append(repr(said))
    return texts


def test_drift_is_found_at_the_same_window_with_identical_evidence(tmp_path: Path) -> None:
    """The assessments of every window and cohort are those of the same rows in Parquet, word for word, in both."""
    rng = np.random.default_rng(5)
    reference = reference_of(np.random.default_rng(21), delay=2.0)
    days = [day_of(rng, FIRST_DAY + day, shift=0.5 if day > 7 else 0.0, delay=2.0) for day in range(12)]
    columns, outcomes = together(days)
    micros = {name: np.round(getattr(outcomes, name) * 1e6).astype(np.int64) for name in ("at", "label_at")}
    zoned = {name: pa.array(values).cast(pa.timestamp("us", "UTC")) for name, values in micros.items()}
    texts = {name: np.array(WORDS)[getattr(outcomes, name).astype(int)] for name in ("prediction", "label")}
    cities = columns.values["c"]
    assert isinstance(cities, Coded)
    shared = {
        "prediction_id": [f"p{number}" for number in range(columns.rows)],
        "at": zoned["at"],
        "version": outcomes.version,
        "prediction": texts["prediction"],
        "score": outcomes.score,
        **{name: columns.values[name] for name in ("a", "b")},
        "c": np.array(LETTERS)[cities.codes],
    }
    known = {"label": texts["label"], "label_at": zoned["label_at"]}
    rows = pa.table(shared)
    labels = pa.table({"prediction_id": shared["prediction_id"], **known, "received_at": zoned["label_at"]})
    (tmp_path / "logs").mkdir()
    pq.write_table(pa.table({**shared, **known}), tmp_path / "logs" / "a.parquet")
    lake = iceberg_tables(tmp_path / "lake")
    catalog = iceberg_catalog(lake.section)
    section = {"kind": "delta", **{name: str(tmp_path / name) for name in ("predictions", "labels")}}
    for name, table in {"predictions": rows, "labels": labels}.items():
        catalog.drop_table(f"lake.{name}")
        made = catalog.create_table(f"lake.{name}", table.schema)
        for part in range(3):  # files whose times overlap, the earliest row in the last one
            piece = table.take(pa.array(range(2 - part, len(table), 3)))
            made.append(piece)
            write_deltalake(section[name], piece, mode="append")
    files = FilesSource("m", WORLD, Places(tmp_path), FilesSettings(str(tmp_path / "logs")))
    expected = assessments(files, reference)
    assert any("drift" in text.lower() for text in expected[8:])
    for kind in (section, lake.section):
        assert assessments(lake_source(LakeTables(kind, lake.write), WORLD), reference) == expected, kind["kind"]
