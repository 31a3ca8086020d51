"""The same checks over every source: what a source promises does not depend on where the rows are."""

from __future__ import annotations

import csv
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlite_utils  # noqa: F401 - so that migrations run in this process: a child takes half a second each

from driftd.paths import Places
from driftd.records import Window
from driftd.sources import protocol
from driftd.sources.engines.protocol import EngineError
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.protocol import Source
from driftd.sources.store import StoreSource
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd_detectors.columns import Coded, Columns
from driftd_detectors.profile.profile import merge
from driftd_detectors.reference import learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy
from engine_servers import postgres
from lake_tables import LakeTables, delta_tables, iceberg_tables, lake_source
from object_store_worlds import Store, store
from sql_tables import LABELS, PREDICTIONS, Database, duckdb_database, postgres_database, sql_source

__all__ = ["store"]

Row = Mapping[str, Any]
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "bought",
    (
        Feature("age", Kind.NUMBER),
        Feature("city", Kind.CATEGORY),
        Feature("member", Kind.BOOLEAN),
        Feature("joined", Kind.TIMESTAMP),
    ),
    ("0", "1"),
)
START = 1_700_000_000.0


@dataclass
class World:
    """One source, and the application's side of it."""

    source: Source
    predict: Callable[[Sequence[Row], float], None]
    label: Callable[[Sequence[tuple[str, str, float]], float], None]
    numbers_rows: bool = True  # an engine does not: no row windows, and rows are not counted

    def rows(self, rows: int) -> int:
        """What the extent tells of so many rows, before a window of them was read."""
        return rows if self.numbers_rows else 0


def rows_between(first: int, last: int, *, every: float = 1.0) -> list[dict[str, Any]]:
    """Rows number `first` to `last` - 1, one each `every` seconds, with some values missing."""
    return [
        {
            "prediction_id": f"p{number}",
            "at": START + number * every,
            "version": 1 + number // 50,
            "prediction": str(number % 2),
            "score": (number % 10) / 10,
            "age": None if number % 7 == 0 else number + 0.5,
            "city": None if number % 11 == 0 else f"town {number % 3}",
            "member": None if number % 13 == 0 else number % 2 == 0,
            "joined": START - number * 86_400.0,
        }
        for number in range(first, last)
    ]


def store_world(root: Path) -> World:
    places = Places(root)
    store = EventStore.open(places.events_db("m"), SCHEMA, segments=places.segments("m"))

    def predict(rows: Sequence[Row], now: float) -> None:
        events = [{**row, "features": {name: row[name] for name in SCHEMA.names if name in row}} for row in rows]
        batch, refused = read_events(events, SCHEMA, now)
        assert refused == []
        store.append(batch)

    def label(labels: Sequence[tuple[str, str, float]], now: float) -> None:
        events = [{"prediction_id": item, "label": value, "at": at} for item, value, at in labels]
        batch, refused = read_events(events, SCHEMA, now)
        assert refused == []
        store.append(batch)

    return World(StoreSource("m", SCHEMA, places), predict, label)


def files_world(root: Path, suffix: str, store: Store | None = None) -> World:
    """Files of this host; with a store, what is written to them is copied to objects of the same names."""
    logs, feedback = root / "logs", root / "feedback"
    logs.mkdir()
    feedback.mkdir()
    settings = FilesSettings(str(logs), feedback=str(feedback))
    if store is not None:
        bucket = store.bucket(f"{suffix}-{uuid.uuid4()}")
        settings = FilesSettings(f"{bucket}/logs", feedback=f"{bucket}/feedback", store=store.settings())
    number = iter(range(1_000_000))

    def write(folder: Path, rows: Sequence[Row]) -> None:
        write_file(folder, rows)
        if store is not None:
            store.put_folder(folder, f"{bucket}/{folder.name}")

    def write_file(folder: Path, rows: Sequence[Row]) -> None:
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), folder / f"{next(number)}.parquet")
            return
        path = folder / f"log.{suffix}"
        new = not path.exists()
        with path.open("a", newline="") as log:
            if suffix == "csv":
                writer = csv.DictWriter(log, list(rows[0]))
                if new:
                    writer.writeheader()
                writer.writerows(rows)
            else:
                log.writelines(json.dumps(row) + "\n" for row in rows)

    def label(labels: Sequence[tuple[str, str, float]], now: float) -> None:
        write(feedback, [{"prediction_id": item, "label": value, "at": at} for item, value, at in labels])

    return World(FilesSource("m", SCHEMA, Places(root), settings), lambda rows, now: write(logs, rows), label)


def sql_world(database: Database) -> World:
    database.execute(PREDICTIONS, LABELS)

    def label(labels: Sequence[tuple[str, str, float]], now: float) -> None:
        rows = [{"prediction_id": item, "label": value, "label_at": at} for item, value, at in labels]
        database.insert("labels", [{**row, "received_at": now} for row in rows])

    def predict(rows: Sequence[Row], now: float) -> None:
        database.insert("predictions", rows)

    return World(sql_source(database, SCHEMA), predict, label, numbers_rows=False)


def lake_world(tables: LakeTables) -> World:
    def label(labels: Sequence[tuple[str, str, float]], now: float) -> None:
        rows = [{"prediction_id": item, "label": value, "label_at": at} for item, value, at in labels]
        tables.append("labels", [{**row, "received_at": now} for row in rows])

    def predict(rows: Sequence[Row], now: float) -> None:
        tables.append("predictions", rows)

    return World(lake_source(tables, SCHEMA), predict, label, numbers_rows=False)


WORLDS: dict[str, Callable[[Path], World]] = {
    "store": store_world,
    "parquet": lambda root: files_world(root, "parquet"),
    "csv": lambda root: files_world(root, "csv"),
    "jsonl": lambda root: files_world(root, "jsonl"),
    "duckdb": lambda root: sql_world(duckdb_database(root / "events.duckdb")),
    "delta": lambda root: lake_world(delta_tables(root / "lake")),
    "iceberg": lambda root: lake_world(iceberg_tables(root / "lake")),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


STORED = ("parquet in S3", "csv in S3", "jsonl in S3")


@pytest.fixture(params=[*WORLDS, "postgres", *STORED])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "postgres":
        opened = sql_world(postgres_database(request.getfixturevalue("server"), tmp_path.name))
    elif request.param in STORED:
        kept = request.getfixturevalue("store")
        opened = files_world(tmp_path, request.param.partition(" ")[0], kept)
    else:
        opened = WORLDS[request.param](tmp_path)
    yield opened
    opened.source.close()


def plain(columns: Columns) -> dict[str, list[Any]]:
    """Columns as lists of plain values, None for missing."""
    lists: dict[str, list[Any]] = {}
    for name, column in columns.values.items():
        if isinstance(column, Coded):
            lists[name] = [None if code < 0 else column.labels[code] for code in column.codes]
        else:
            lists[name] = [None if math.isnan(value) else value for value in column.tolist()]
    return lists


def everything(source: Source, window: Window) -> tuple[dict[str, list[Any]], list[float]]:
    values: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    times: list[float] = []
    for columns, outcomes in source.chunks(window):
        for name, item in plain(columns).items():
            values[name] += item
        times += outcomes.at.tolist()
    return values, times


def expected(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {
        "age": [row["age"] for row in rows],
        "city": [row["city"] for row in rows],
        "member": [None if row["member"] is None else str(int(row["member"])) for row in rows],
        "joined": [row["joined"] for row in rows],
    }


def test_nothing_yet(world: World) -> None:
    """A source without events has no first event, no rows and empty windows, and raises nothing."""
    extent = world.source.refresh(START)
    assert (extent.first_at, extent.rows) == (None, 0)
    assert all("has no file that is read" in fault for fault in extent.faults)  # a folder of logs is told to be empty
    assert list(world.source.chunks(Window(0, 0.0, START))) == []
    assert world.source.outcomes(Window(0, 0.0, START), START).rows == 0
    assert world.source.count_labelled(0.0, START) == 0
    assert list(world.source.read_labelled(0.0, START, START)) == []
    assert len(world.source.sample(Window(0, 0.0, START), 5, 1)) == 0


def test_rows_come_back_as_they_were(world: World) -> None:
    """Every kind of value, missing ones too, is read as it was written, in the order of arrival."""
    rows = rows_between(0, 40)
    world.predict(rows, START + 100)
    extent = world.source.refresh(START + 100)
    assert (extent.first_at, extent.rows) == (START, world.rows(40))
    values, times = everything(world.source, Window(0, START, START + 100))
    assert values == expected(rows)
    assert times == [row["at"] for row in rows]


def test_windows_partition_the_rows(world: World) -> None:
    """Time windows and row windows each have every row exactly once, also over several batches."""
    for first in range(0, 90, 30):
        world.predict(rows_between(first, first + 30), START + 100)
        world.source.refresh(START + 100)
    by_time = [everything(world.source, Window(0, START + s, START + s + 25))[1] for s in range(0, 100, 25)]
    whole = [START + number for number in range(90)]
    assert [item for part in by_time for item in part] == whole
    assert [len(part) for part in by_time] == [25, 25, 25, 15]
    if not world.numbers_rows:
        with pytest.raises(EngineError, match=r"numbers no rows: set window: \{every: ...\}"):
            everything(world.source, Window(0, 0.0, 25.0, by="rows"))
        return
    by_rows = [everything(world.source, Window(0, s, s + 25, by="rows"))[1] for s in range(0, 100, 25)]
    assert [item for part in by_rows for item in part] == whole


def test_wide_rows_come_in_chunks_of_few(
    world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk is bounded by its values: rows are the same, in the same order, in windows, cohorts and samples."""
    rows = rows_between(0, 90)
    world.predict(rows, START + 100)
    world.label([(f"p{number}", "1", START + 95) for number in range(0, 90, 2)], START + 100)
    world.source.refresh(START + 100)
    whole = Window(0, START, START + 100)
    sample, cohort = world.source.sample(whole, 20, 1), world.source.cohort(whole, START + 100, ["city"], ServedBy(1))
    monkeypatch.setattr(protocol, "CHUNK_CELLS", 40)
    sizes = [outcomes.rows for _, outcomes in world.source.chunks(whole)]
    kind = request.node.callspec.params["world"].partition(" ")[0]
    # A stretch of text is bounded by its bytes, the batches of an engine by the engine.
    assert max(sizes) == (90 if kind in {"csv", "jsonl", "duckdb", "postgres", "delta", "iceberg"} else 10)
    assert everything(world.source, whole) == (expected(rows), [row["at"] for row in rows])
    if world.numbers_rows:
        assert everything(world.source, Window(0, 13, 57, by="rows"))[1] == [row["at"] for row in rows[13:57]]
    labelled = [
        name
        for table in world.source.read_labelled(START, START + 100, START + 100)
        for name in table["driftd_id"].to_pylist()
    ]
    assert labelled == [f"p{number}" for number in range(0, 90, 2)]
    assert world.source.sample(whole, 20, 1).num_rows == sample.num_rows
    again = world.source.cohort(whole, START + 100, ["city"], ServedBy(1))
    assert again.to_bytes() == cohort.to_bytes()


@pytest.mark.parametrize("chunk", [40, 10**6])
def test_rows_without_a_time_are_left_out_of_chunks_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Which rows have a number does not depend on how many are read at once."""
    monkeypatch.setattr(protocol, "CHUNK_CELLS", chunk)
    world = files_world(tmp_path, "parquet")
    rows = [{**row, "at": None if number % 5 == 3 else row["at"]} for number, row in enumerate(rows_between(0, 90))]
    world.predict(rows, START + 100)
    assert world.source.refresh(START + 100).rows == 72
    timed = [row for row in rows if row["at"] is not None]
    assert everything(world.source, Window(0, 0, 72, by="rows")) == (expected(timed), [row["at"] for row in timed])
    assert everything(world.source, Window(0, 31, 40, by="rows"))[1] == [row["at"] for row in timed[31:40]]


def test_only_this_window(world: World) -> None:
    """Rows that arrive out of order are in the window of their event time."""
    world.predict(rows_between(50, 60), START + 100)
    world.predict(rows_between(0, 10), START + 100)
    world.source.refresh(START + 100)
    assert sorted(everything(world.source, Window(0, START + 5, START + 55))[1]) == [
        START + number for number in [*range(5, 10), *range(50, 55)]
    ]


def test_labels_known_by_a_time(world: World) -> None:
    """A label counts from when it became known, a correction from its own time; the prediction may come after them."""
    world.label([("p1", "1", START + 200), ("p2", "0", START + 300)], START + 300)
    world.predict(rows_between(0, 5), START + 100)
    world.label([("p1", "0", START + 400)], START + 400)
    world.source.refresh(START + 500)
    window = Window(0, START, START + 50)

    def labels(known_by: float) -> list[str | None]:
        outcomes = world.source.outcomes(window, known_by)
        return [None if code < 0 else outcomes.classes[int(code)] for code in outcomes.label]

    assert labels(START + 100) == [None] * 5
    assert labels(START + 250) == [None, "1", None, None, None]
    assert labels(START + 500) == [None, "0", "0", None, None]
    assert world.source.outcomes(window, START + 500).label_at.tolist()[1:3] == [START + 400, START + 300]
    assert [world.source.count_labelled(START, START + known) for known in (100, 250, 500)] == [0, 1, 2]
    assert world.source.count_labelled(START + 2, START + 500) == 1


def test_the_newest_events(world: World) -> None:
    """A source tells the latest times of a prediction and of a label, whatever comes late."""
    extent = world.source.refresh(START)
    assert (extent.newest_at, extent.newest_label_at) == (None, None)
    world.predict(rows_between(10, 15), START + 100)
    world.label([("p11", "1", START + 200)], START + 200)
    world.predict(rows_between(0, 5), START + 300)
    world.label([("p1", "1", START + 150)], START + 300)
    extent = world.source.refresh(START + 400)
    assert (extent.newest_at, extent.newest_label_at) == (START + 14, START + 200)


def test_outcomes(world: World) -> None:
    """Predictions, scores and versions come with their rows."""
    rows = rows_between(40, 60)
    world.predict(rows, START + 100)
    world.source.refresh(START + 100)
    outcomes = world.source.outcomes(Window(0, START, START + 100), START + 100)
    assert [outcomes.classes[int(code)] for code in outcomes.prediction] == [row["prediction"] for row in rows]
    assert outcomes.score.tolist() == [row["score"] for row in rows]
    assert outcomes.version.tolist() == [row["version"] for row in rows]


def test_a_cohort_has_some_features_of_the_rows_of_its_outcomes(world: World) -> None:
    """It equals the outcomes, with the features that were asked for and the labels known by then."""
    rows = rows_between(40, 60)
    world.predict(rows, START + 100)
    world.label([("p41", "1", START + 50), ("p42", "0", START + 150)], START + 200)
    world.source.refresh(START + 200)
    window = Window(0, START, START + 100)
    cohort = world.source.cohort(window, START + 100, ["city"], ServedBy(1))
    columns, outcomes = cohort.columns, cohort.outcomes
    assert (cohort.total, cohort.labelled, cohort.foreign) == (20, 1, 10)
    expected = world.source.outcomes(window, START + 100)
    for name in ("at", "prediction", "score", "label", "label_at", "version"):
        np.testing.assert_array_equal(getattr(outcomes, name), getattr(expected, name))
    assert columns.rows == outcomes.rows
    city = columns.values["city"]
    assert isinstance(city, Coded)
    assert [None if code < 0 else city.labels[code] for code in city.codes] == [row["city"] for row in rows]


def test_labelled_rows_for_a_snapshot(world: World) -> None:
    """Labelled rows have every feature, the target and driftd's own columns; unlabelled ones are left out."""
    world.predict(rows_between(0, 20), START + 100)
    world.label([(f"p{number}", str(number % 2), START + 50) for number in range(0, 20, 2)], START + 100)
    world.source.refresh(START + 100)
    table = pa.concat_tables(world.source.read_labelled(START + 4, START + 100, START + 100))
    assert table.column("driftd_id").to_pylist() == [f"p{number}" for number in range(4, 20, 2)]
    assert table.column("driftd_at").to_pylist() == [START + number for number in range(4, 20, 2)]
    assert set(table.column("driftd_label_at").to_pylist()) == {START + 50}
    assert table.column("bought").to_pylist() == ["0"] * 8
    assert table.column("age").to_pylist() == [None if n % 7 == 0 else n + 0.5 for n in range(4, 20, 2)]
    assert table.schema.field("member").type == pa.bool_()
    assert table.schema.field("joined").type == pa.timestamp("us", "UTC")


def test_from_when_on_so_many_labelled_rows_lie(world: World) -> None:
    """The time of the oldest of so many known labelled rows; the begin of the span where there are fewer."""
    world.predict(rows_between(0, 20), START + 100)
    world.label([(f"p{number}", str(number % 2), START + 50) for number in range(0, 20, 2)], START + 100)
    world.source.refresh(START + 100)
    assert world.source.newest_labelled(1, START, START + 100) == START + 18
    assert world.source.newest_labelled(3, START, START + 100) == START + 14
    assert world.source.newest_labelled(11, START + 2, START + 100) == START + 2
    assert world.source.newest_labelled(1, START, START + 49) == START


def test_a_sample(world: World) -> None:
    """A sample has distinct rows of the window, the same for the same seed, and all when there are few."""
    world.predict(rows_between(0, 60), START + 100)
    world.source.refresh(START + 100)
    window = Window(0, START + 10, START + 50)
    item, again = (world.source.sample(window, 15, 7).column("driftd_id").to_pylist() for _ in range(2))
    assert item == again
    assert len(set(item)) == 15
    assert set(item) <= {f"p{number}" for number in range(10, 50)}
    assert len(world.source.sample(window, 1000, 7)) == 40


def test_a_feature_that_is_never_sent(world: World) -> None:
    """A column that no row has is absent, or missing in every row; the others are read."""
    world.predict(
        [{key: value for key, value in row.items() if key != "city"} for row in rows_between(1, 6)], START + 9
    )
    world.source.refresh(START + 10)
    ((columns, _),) = world.source.chunks(Window(0, START, START + 100))
    assert columns.rows == 5
    assert plain(columns).get("city", [None] * 5) == [None] * 5
    assert plain(columns)["age"] == [1.5, 2.5, 3.5, 4.5, 5.5]


def test_a_class_that_nobody_knew(world: World) -> None:
    """A text that is no class of the schema changes no class: it has a code of its own, and its text is kept."""
    world.predict([{**row, "prediction": "maybe"} for row in rows_between(0, 3)], START + 9)
    world.source.refresh(START + 10)
    outcomes = world.source.outcomes(Window(0, START, START + 100), START + 10)
    assert (outcomes.classes, outcomes.unseen) == (("0", "1"), ("maybe",))
    assert outcomes.prediction.tolist() == [-2.0, -2.0, -2.0]


def test_profiles_of_windows_add_up(world: World) -> None:
    """The Profiles of neighbouring windows, merged, are the Profile of both together."""
    world.predict(rows_between(0, 60), START + 100)
    world.source.refresh(START + 100)
    columns, outcomes = next(iter(world.source.chunks(Window(0, START, START + 60))))
    starts = np.repeat([START, START + 30], 30)
    reference = learn_reference(
        columns, outcomes, SCHEMA, starts=starts, importance=dict.fromkeys(SCHEMA.names, 0.2), loss="error"
    )
    whole = world.source.profile(Window(0, START, START + 60), reference, ServedBy(1)).profile
    halves = [
        world.source.profile(Window(0, START + s, START + s + 30), reference, ServedBy(1)).profile for s in (0, 30)
    ]
    merged = merge(*halves)
    assert merged.rows == whole.rows == 60
    for item, other in zip(merged.counts, whole.counts, strict=True):
        np.testing.assert_array_equal(item, other)
    assert world.source.profile(Window(0, START + 900, START + 960), reference, ServedBy(1)).profile.rows == 0


def test_closing_gives_the_files_back(world: World) -> None:
    """After `close`, the next call opens what it needs again."""
    world.predict(rows_between(0, 3), START + 9)
    world.source.refresh(START + 10)
    world.source.close()
    assert world.source.refresh(START + 11).rows == world.rows(3)
    assert np.isfinite(world.source.outcomes(Window(0, START, START + 9), START + 9).at).all()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_new_version_is_read_by_its_own_schema(tmp_path: Path, suffix: str) -> None:
    """After a swap new features are read and dropped ones are not; rows keep their numbers, and none is found twice."""
    world = files_world(tmp_path, suffix)
    rows = [{**row, "extra": float(place)} for place, row in enumerate(rows_between(0, 20))]
    world.predict(rows[:10], START + 10)
    assert world.source.refresh(START + 20).rows == 10
    features = (*(feature for feature in SCHEMA.features if feature.name != "city"), Feature("extra", Kind.NUMBER))
    world.source.use_schema(replace(SCHEMA, features=features, classes=("0", "1", "2")))
    world.predict(rows[10:], START + 20)
    assert world.source.refresh(START + 21).rows == 20
    ((columns, outcomes),) = world.source.chunks(Window(0, START, START + 20))
    assert list(columns.values) == ["age", "member", "joined", "extra"]
    assert plain(columns)["extra"] == [float(place) for place in range(20)]
    assert outcomes.classes == ("0", "1", "2")
    world.label([("p3", "2", START + 21)], START + 22)
    world.source.refresh(START + 23)
    found = world.source.outcomes(Window(0, START, START + 20), START + 23)
    assert [found.label[3], int(found.labelled.sum())] == [2.0, 1]
    world.source.close()
