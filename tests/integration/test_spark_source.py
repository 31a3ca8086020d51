"""Spark as a source, on a real Spark Connect server whose workers have numpy and pyarrow alone."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from document_examples import blocks
from driftd.config.load import parse
from driftd.config.source_schema import SparkSourceConfig
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.engines import spark_engine
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.protocol import EngineError, Query
from driftd.sources.engines.spark_engine import SparkEngine
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.open import open_engine_source, open_watched_source
from driftd.sources.protocol import Source
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.columns import Coded, Columns, Outcomes
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy
from engine_servers import free_port, spark_connect
from limits import HANG, wait
from spark_tables import IDENTITY, SparkWorld, narrow_python, table_of
from worlds import CLASSES, DAY, day_of, reference_of, together
from worlds import LABELS as LETTERS
from worlds import SCHEMA as WORLD

pytestmark = pytest.mark.slow


def conformance() -> ModuleType:
    """The checks that every source passes."""
    spec = importlib.util.spec_from_file_location(
        "source_conformance", Path(__file__).with_name("test_source_conformance.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CHECKS = conformance()
SCHEMA, START = CHECKS.SCHEMA, CHECKS.START
HOUR = Window(0, START, START + 3600)
PREDICTIONS = pa.schema(
    {
        "prediction_id": pa.string(),
        "at": pa.float64(),
        "version": pa.int64(),
        "prediction": pa.string(),
        "score": pa.float64(),
        "age": pa.float64(),
        "city": pa.string(),
        "member": pa.bool_(),
        "joined": pa.float64(),
    }
)
LABELS = pa.schema(
    {"prediction_id": pa.string(), "label": pa.string(), "label_at": pa.float64(), "received_at": pa.float64()}
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = narrow_python(tmp_path_factory.mktemp("narrow"))
    with spark_connect(tmp_path_factory.mktemp("spark"), python) as remote:
        yield remote


@pytest.fixture
def spark(server: str, tmp_path: Path) -> SparkWorld:
    return SparkWorld(server, tmp_path)


class InOrder(EngineSource):
    """Rows in the order of their times: a table has no order of arrival, which the checks are written in."""

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        cohort = self.cohort(window, np.inf, SCHEMA.names, ServedBy(0))
        if cohort.total:
            yield cohort.columns, cohort.outcomes

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        parts = list(super().read_labelled(since, until, known_by))
        if parts:
            yield pa.concat_tables(parts).sort_by("driftd_at")


@pytest.fixture
def world(spark: SparkWorld) -> Iterator[Any]:
    spark.create("predictions", PREDICTIONS)
    spark.create("labels", LABELS)

    def predict(rows: Sequence[dict[str, Any]], now: float) -> None:
        spark.append("predictions", table_of(rows, PREDICTIONS))

    def label(labels: Sequence[tuple[str, str, float]], now: float) -> None:
        rows = [{"prediction_id": key, "label": text, "label_at": at, "received_at": now} for key, text, at in labels]
        spark.append("labels", table_of(rows, LABELS))

    source = InOrder(spark.engine(), SCHEMA, RowNames())
    yield CHECKS.World(source, predict, label, numbers_rows=False)
    source.close()


SHARED = {
    name: check
    for name, check in vars(CHECKS).items()
    if name.startswith("test_") and list(inspect.signature(check).parameters) == ["world"]
}


@pytest.mark.parametrize("name", SHARED)
def test_spark_keeps_the_promises_of_a_source(world: Any, name: str) -> None:
    """What every source promises holds for tables of Spark too."""
    SHARED[name](world)


def fill(spark: SparkWorld, *, key: str | None = None) -> None:
    """Twenty predictions, a second each, and the labels of every other one, a minute later."""
    spark.create("predictions", PREDICTIONS if key is None else PREDICTIONS.append(pa.field(key, pa.string())), key=key)
    spark.create("labels", LABELS)
    folder = "" if key is None else f"{key}=2023-11-14"
    spark.append("predictions", table_of(CHECKS.rows_between(0, 20), PREDICTIONS), folder)
    known = {"label": "1", "label_at": START + 60, "received_at": START + 60}
    spark.append("labels", table_of([{"prediction_id": f"p{n}", **known} for n in range(0, 20, 2)], LABELS))


def fault_of(source: EngineSource) -> str:
    """The fault that a look finds."""
    (fault,) = source.refresh(START + 600).faults
    assert "\n" not in fault
    return fault


ZONED, PLAIN = pa.timestamp("us", "UTC"), pa.timestamp("us")
WINTER = datetime(2023, 11, 1, 12, 30, 15, 123_457, tzinfo=UTC)
SKIPPED = datetime(2023, 3, 26, 2, 30, tzinfo=UTC)  # an hour that Berlin's clocks do not have
AWKWARD: dict[str, tuple[pa.DataType, Kind, list[Any]]] = {
    "number": (
        pa.float64(),
        Kind.NUMBER,
        [None, float("nan"), float("inf"), float("-inf"), -0.0, 1.7976931348623157e308, 5e-324, 0.1],
    ),
    "single": (pa.float32(), Kind.NUMBER, [None, 0.1, float("nan")]),
    "big": (pa.int64(), Kind.NUMBER, [None, 9007199254740993, -1]),
    "price": (pa.decimal128(12, 2), Kind.NUMBER, [None, Decimal("0.57"), Decimal("1.15"), Decimal("-8.20")]),
    "wide": (pa.decimal128(38, 4), Kind.NUMBER, [None, Decimal("1234567890123456789012345678901234.5678")]),
    "word": (
        pa.string(),
        Kind.CATEGORY,
        [None, "", "Z\u00fcrich", "\u65e5\u672c \U0001f38c", " a'b\"c ", "NULL", "e\u0301"],
    ),
    "code": (pa.int32(), Kind.CATEGORY, [None, 7, -3]),
    "rate": (pa.decimal128(6, 3), Kind.CATEGORY, [None, Decimal("1.500")]),
    "truth": (pa.bool_(), Kind.BOOLEAN, [None, True, False]),
    "whole_truth": (pa.int16(), Kind.BOOLEAN, [None, 1, 0, 2]),
    "text_truth": (pa.string(), Kind.BOOLEAN, ["yes", "F", "maybe"]),
    "zoned": (ZONED, Kind.TIMESTAMP, [None, WINTER, datetime(1960, 1, 1, tzinfo=UTC)]),
    "plain": (
        PLAIN,
        Kind.TIMESTAMP,
        [None, WINTER.replace(tzinfo=None), datetime(2023, 3, 26, 2, 30, tzinfo=UTC).replace(tzinfo=None)],
    ),
    "day": (pa.date32(), Kind.TIMESTAMP, [None, date(2023, 10, 29)]),
    "seconds": (pa.float64(), Kind.TIMESTAMP, [None, 1698841815.25]),
    "text_time": (pa.string(), Kind.TIMESTAMP, ["2023-11-01T12:00:00+02:00", None]),
    "text_number": (pa.string(), Kind.NUMBER, ["12", None]),
}
AWKWARD_ROWS = 84


def awkward_rows(at: pa.DataType) -> pa.Table:
    """Each value of each kind several times, with times of this type."""
    places = range(AWKWARD_ROWS)
    micros = pa.array([int((START + place + 0.25) * 1e6) for place in places], pa.int64())
    columns = {
        "prediction_id": pa.array([str(place) for place in places]),
        "at": pc.divide(micros.cast(pa.float64()), 1e6) if at == pa.float64() else micros.cast(at),
        "prediction": pa.array([place % 2 for place in places], pa.int32()),
        "score": pa.array([0.25] * AWKWARD_ROWS, pa.float32()),
        "version": pa.array([1] * AWKWARD_ROWS, pa.int64()),
        "label": pa.array([None if place % 3 else 1 for place in places], pa.int32()),
    }
    for name, (kind, _, values) in AWKWARD.items():
        columns[name] = pa.array([values[place % len(values)] for place in places], kind)
    return pa.table(columns)


def values_of(chunks: Iterator[tuple[Columns, Outcomes]]) -> dict[str, list[str]]:
    """Every value as the statistics see it, and what could not be read."""
    ((columns, outcomes),) = chunks
    found = {"unreadable": [repr(sorted(columns.unreadable.items()))]}
    for name, column in columns.values.items():
        labels = (*column.labels, None) if isinstance(column, Coded) else ()
        found[name] = [repr(labels[value] if labels else value) for value in getattr(column, "codes", column).tolist()]
    for name in ("at", "prediction", "score", "label", "label_at", "version"):
        found[name] = [repr(value) for value in getattr(outcomes, name).tolist()]
    return found


@pytest.mark.parametrize("at", [ZONED, PLAIN, pa.float64()], ids=str)
def test_every_kind_of_value_reads_the_same_as_from_files(spark: SparkWorld, tmp_path: Path, at: pa.DataType) -> None:
    """Missing, infinite, tiny, Unicode, zoned and decimal values are those of Parquet to the last bit, counted too."""
    rows = awkward_rows(at)
    spark.create("predictions", rows.schema)
    spark.append("predictions", rows)
    features = tuple(Feature(name, kind) for name, (_, kind, _) in AWKWARD.items())
    schema = Schema(Task.CLASSIFICATION, "y", features, ("0", "1"))
    files = FilesSource("m", schema, Places(tmp_path), FilesSettings(str(tmp_path / "predictions")))
    source = spark.source(schema, labels=None)
    assert files.refresh(START + 600).newest_at == source.refresh(START + 600).newest_at
    found, expected = values_of(source.chunks(HOUR)), values_of(files.chunks(HOUR))
    for name, values in expected.items():
        assert found[name] == values, name
    ((columns, outcomes),) = files.chunks(HOUR)
    starts = np.repeat([START, START + 1800], AWKWARD_ROWS // 2)
    reference = learn_reference(
        columns, outcomes, schema, starts=starts, importance=dict.fromkeys(schema.names, 0.1), loss="error"
    )
    here = spark.source(schema, labels=None, count="here")
    counts = [item.profile(HOUR, reference, ServedBy(1)) for item in (files, source, here)]
    for other in counts[1:]:
        assert other.foreign == counts[0].foreign
        for mine, theirs in zip(other.profile.counts, counts[0].profile.counts, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    source.close()
    here.close()


def test_a_column_that_comes_later_is_read(spark: SparkWorld) -> None:
    """A table may be empty at first, and get a column while the session lasts: the next look finds it."""
    narrow = PREDICTIONS.remove(PREDICTIONS.get_field_index("age"))
    spark.create("predictions", narrow)
    source = spark.source(SCHEMA, labels=None, partition={"key": "city"})
    assert source.refresh(START + 600).newest_at is None
    source = spark.source(SCHEMA, labels=None)
    assert source.refresh(START + 600).newest_at is None
    spark.append("predictions", table_of(CHECKS.rows_between(0, 5), narrow))
    assert source.refresh(START + 600).newest_at == START + 4
    spark.run(f"ALTER TABLE {spark.tables['predictions']} ADD COLUMNS (age DOUBLE)")
    spark.append("predictions", table_of(CHECKS.rows_between(5, 10), PREDICTIONS))
    source.refresh(START + 600)
    cohort = source.cohort(HOUR, START + 600, ("age",), ServedBy(1))
    assert np.isnan(cohort.columns.values["age"]).tolist() == [True] * 5 + [False, False, True, False, False]
    source.close()


def test_labels_of_one_time_have_one_order(spark: SparkWorld) -> None:
    """Of labels that were known at one moment the last received wins, then the greatest, in whatever order they lie."""
    spark.create("predictions", PREDICTIONS)
    spark.create("labels", LABELS)
    rows = [{"prediction_id": key, "at": START, "prediction": "1"} for key in "abcd"]
    spark.append("predictions", table_of(rows, PREDICTIONS))
    ties = [
        ("a", "1", 60, 70), ("a", "0", 60, 80), ("b", "0", 60, 70), ("b", "1", 60, 70), ("c", "1", None, 90),
        ("c", "0", 60, 5), ("d", "1", None, None), ("d", None, 60, 60),
    ]  # fmt: skip
    labels = [
        {
            "prediction_id": key,
            "label": label,
            "label_at": None if at is None else START + at,
            "received_at": None if received is None else START + received,
        }
        for key, label, at, received in ties
    ]
    spark.append("labels", table_of(labels[::2], LABELS))
    spark.append("labels", table_of(labels[1::2], LABELS))
    source = spark.source(SCHEMA)
    by_id = source.sample(HOUR, 10, 1).sort_by("driftd_id").column("bought").to_pylist()
    assert by_id == ["0", "1", "1", None]
    assert int(source.outcomes(HOUR, START + 65).labelled.sum()) == 3
    assert source.count_labelled(START, START + 10) == 0
    source.close()


def test_identities_of_other_types_join(spark: SparkWorld) -> None:
    """Predictions whose identities are whole numbers join labels that have them as floats in text."""
    numbered = PREDICTIONS.set(0, pa.field("prediction_id", pa.int64()))
    spark.create("predictions", numbered)
    spark.create("labels", LABELS)
    rows = [{"prediction_id": 10**16 + number, "at": START + number, "prediction": "1"} for number in range(9)]
    spark.append(
        "predictions",
        table_of(rows, numbered),
    )
    known = {"label": "1", "label_at": START + 60}
    spark.append(
        "labels", table_of([{"prediction_id": f" {10**16 + number}.0", **known} for number in range(4)], LABELS)
    )
    source = spark.source(SCHEMA)
    assert int(source.outcomes(HOUR, START + 3600).labelled.sum()) == 4
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


def test_drift_is_found_at_the_same_window_with_identical_evidence(spark: SparkWorld, tmp_path: Path) -> None:
    """The assessments of every window and cohort are those of the same rows in Parquet files, word for word."""
    rng = np.random.default_rng(5)
    reference = reference_of(np.random.default_rng(21), delay=2.0)
    days = [day_of(rng, FIRST_DAY + day, shift=0.5 if day > 7 else 0.0, delay=2.0) for day in range(12)]
    columns, outcomes = together(days)
    at, label_at = (
        pa.array(np.round(times * 1e6).astype(np.int64)).cast(ZONED) for times in (outcomes.at, outcomes.label_at)
    )
    ids = [f"p{number}" for number in range(columns.rows)]
    texts = {name: np.array(CLASSES)[getattr(outcomes, name).astype(int)] for name in ("prediction", "label")}
    shared = pa.table(
        {
            "prediction_id": ids,
            "at": at,
            "version": outcomes.version,
            "prediction": texts["prediction"],
            "score": outcomes.score,
            "a": columns.values["a"],
            "b": columns.values["b"],
            "c": np.array(LETTERS)[columns.values["c"].codes],
        }
    )
    known = {"label": texts["label"], "label_at": label_at}
    labels = pa.table({"prediction_id": ids, **known, "received_at": label_at})
    spark.create("predictions", shared.append_column("day", pa.array([""] * len(ids))).schema, key="day")
    spark.create("labels", labels.schema)
    for day in range(12):
        rows = shared.slice(400 * day, 400)
        key = str(np.datetime64(FIRST_DAY + day, "D"))
        spark.append("predictions", rows.slice(0, 150), f"day={key}")
        spark.append("predictions", rows.slice(150), f"day={key}")
    spark.run(f"MSCK REPAIR TABLE {spark.tables['predictions']}")
    spark.append("labels", labels)
    (tmp_path / "logs").mkdir()
    pq.write_table(
        shared.append_column("label", pa.array(known["label"])).append_column("label_at", label_at),
        tmp_path / "logs" / "a.parquet",
    )
    files = FilesSource("m", WORLD, Places(tmp_path), FilesSettings(str(tmp_path / "logs")))
    source = spark.source(WORLD, partition={"key": "day", "slack": "12h"})
    found = [assessments(item, reference) for item in (source, files)]
    assert found[0] == found[1]
    assert any("drift" in text.lower() for text in found[0][8:])
    source.close()


def test_partitions_are_chosen_by_their_key(spark: SparkWorld) -> None:
    """A window and a look read the partitions of their days and of the slack around them."""
    fill(spark, key="day")
    for number in (10, 20):
        rows = CHECKS.rows_between(number * 86_400, number * 86_400 + 5)
        spark.append("predictions", table_of(rows, PREDICTIONS), f"day=2023-{'11-24' if number == 10 else '12-04'}")
    spark.run(f"MSCK REPAIR TABLE {spark.tables['predictions']}")
    engine = spark.engine(partition={"key": "day", "slack": "1h"})
    found = engine.look(None)
    assert (found.first_at, found.newest_at) == (START, START + 20 * 86_400 + 4)
    assert engine.look(found.newest_at).newest_at == found.newest_at
    assert [engine.count(Query((), START + 86_400 * day, START + 86_400 * (day + 1))) for day in (0, 10)] == [20, 5]
    with engine._open() as session:
        statements = engine._known_statements(session)
        for statement, most in (
            (statements.rows(Query(("age",), START, START + 60)), 1),
            (statements.extent(START + 19 * 86_400), 1),
        ):
            files = session.sql(statement).inputFiles()
            assert len([name for name in files if "day=" in name]) <= most, statement
    engine.close()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"predictions": "nowhere"}, "a table is not there, or hidden: check source.predictions and source.labels"),
        ({"columns": {"at": "when"}}, "has no column 'when': set source.columns.at; it has prediction_id, at"),
        ({"label_columns": {"label": "truth"}}, "has no column 'truth': set source.label_columns.label"),
        ({"partition": {"key": "day"}}, "has no column 'day': mend source.partition.key"),
        ({"partition": {"key": "city"}}, "which is no day, hour or month such as 2026-01-31"),
        ({"remote": "sc://127.0.0.1:1"}, "127.0.0.1:1: it cannot be reached: is Spark Connect running there"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(spark: SparkWorld, keys: dict[str, Any], said: str) -> None:
    """A server, table or column that is not as the config says is a fault that names what to mend."""
    fill(spark)
    settings = spark.config().model_copy(update={})
    given = {**settings.model_dump(exclude_none=True), **keys}
    source = EngineSource(SparkEngine(SparkSourceConfig(**given), IDENTITY), SCHEMA, RowNames())
    assert said in fault_of(source)
    source.close()


def test_a_worker_with_other_sources_refuses(spark: SparkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was made by other sources than the worker has is refused there, in one sentence."""
    fill(spark)
    source = spark.source(SCHEMA)
    monkeypatch.setattr(spark_engine, "sign_job", lambda job: json.dumps({**json.loads(job), "code": "another"}))
    with pytest.raises(EngineError, match=r"the worker has other sources of driftd .* than the daemon") as refused:
        source.outcomes(HOUR, START)
    assert "\n" not in str(refused.value)
    monkeypatch.undo()
    assert rows_after_a_pause(source) == 20
    source.close()


def rows_after_a_pause(source: EngineSource) -> int:
    """The rows of the hour, once a query that failed is asked again."""
    found: list[int] = []

    def answers() -> bool:
        with contextlib.suppress(EngineError):
            found.append(source.outcomes(HOUR, START).rows)
        return bool(found)

    wait(answers, "it is asked again", pause=0.1)
    return found[0]


def slow_engine(spark: SparkWorld, **keys: Any) -> SparkEngine:
    """An engine over a view whose column `z` takes an hour a row."""
    fill(spark)
    view = f"slow_{uuid.uuid4().hex}"
    nap = "reflect('java.lang.Thread', 'sleep', 3600000L)"
    spark.run(f"CREATE VIEW {view} AS SELECT *, {nap} AS z FROM {spark.tables['predictions']}")
    return spark.engine(predictions=view, **keys)


SLOW = Query(("z",), START, START + 60)


def test_a_query_takes_no_longer_than_it_may(spark: SparkWorld) -> None:
    """What takes longer than `timeout` is cancelled on the server, with a sentence; the next query is good."""
    engine = slow_engine(spark)
    assert engine.count(Query((), START, START + 60)) == 20
    engine._settings = engine._settings.model_copy(update={"timeout": 2.0})
    with pytest.raises(EngineError, match=r"no answer within 2 s: raise source.timeout, or set source.partition"):
        list(engine.read(SLOW))
    with pytest.raises(EngineError, match=r"no answer within 2 s: .*; it is tried again in"):
        list(engine.read(SLOW))
    engine._settings = engine._settings.model_copy(update={"timeout": HANG})
    assert engine.count(Query((), START, START + 60)) == 20
    engine.close()


def test_a_query_is_cancelled_by_another_thread(spark: SparkWorld) -> None:
    """`cancel` ends what is under way, and the engine can be asked again."""
    engine = slow_engine(spark)
    sentences: list[str] = []

    def ask() -> None:
        try:
            list(engine.read(SLOW))
        except EngineError as error:
            sentences.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()

    def is_cancelled() -> bool:
        engine.cancel()
        thread.join(0.2)
        return not thread.is_alive()

    wait(is_cancelled, "the query ends")
    assert len(sentences) == 1
    assert "the query was cancelled" in sentences[0]
    assert engine.count(Query((), START, START + 60)) == 20
    engine.close()


KILLED = """
import sys, time
from pathlib import Path
from driftd.config.load import parse
from driftd.config.source_schema import SparkSourceConfig
from driftd.sources.engines.spark_engine import SparkEngine

remote, pid_file = sys.argv[1:]

def nap(batches):
    import os, time
    with open(pid_file + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(pid_file + ".new", pid_file)
    time.sleep(3600)
    yield from batches

engine = SparkEngine(SparkSourceConfig(kind="spark", remote=remote, predictions="none"), "killed")
with engine._open() as session:
    session.range(0, 1, 1, 1).mapInArrow(nap, "id long").collect()
"""


def test_what_a_killed_process_left_is_cancelled_by_the_next(server: str, spark: SparkWorld, tmp_path: Path) -> None:
    """After `kill -9` a job runs on; a new process of the same model ends it before it begins its own."""
    fill(spark)
    pid_file = tmp_path / "pid"
    program = tmp_path / "killed.py"  # Spark's client ends a program without a file
    program.write_text(KILLED)
    child = subprocess.Popen([sys.executable, program, server, str(pid_file)])
    try:
        wait(pid_file.exists, "the job runs on a worker")
    finally:
        child.kill()
        child.wait()
    worker = int(pid_file.read_text())
    time.sleep(1.0)
    assert is_alive(worker)
    other = SparkEngine(spark.config(), "another model")
    assert other.count(Query((), START, START + 60)) == 20
    assert is_alive(worker)  # it is not theirs
    successor = SparkEngine(spark.config(), "killed")
    assert successor.count(Query((), START, START + 60)) == 20
    wait(lambda: not is_alive(worker), "the worker of the job ends")
    successor.close()
    other.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_job_ends_nothing_of_the_daemon(spark: SparkWorld) -> None:
    """An engine without an identity has a session of its own each time, and gives it back."""
    fill(spark)
    ids = set()
    for _ in range(2):
        engine = SparkEngine(spark.config())
        with engine._open() as session:
            ids.add(session.session_id)
        assert engine.count(Query((), START, START + 60)) == 20
        engine.close()
        assert engine.count(Query((), START, START + 60)) == 20  # the next call opens it again
        engine.close()
    assert len(ids) == 2


def test_a_session_that_was_closed_has_a_successor(spark: SparkWorld) -> None:
    """A server takes no session again that it has ended: the engine goes on with the next identity by itself."""
    fill(spark)
    engine = SparkEngine(spark.config(), "closed")
    with engine._open() as session:
        first = session.session_id
        session.client.release_session()
    engine.close()
    for _ in range(2):
        with contextlib.suppress(EngineError):
            engine.count(Query((), START, START + 60))
    assert engine.count(Query((), START, START + 60)) == 20
    with engine._open() as session:
        assert session.session_id != first
    engine.close()


class Proxy:
    """A way to a server that can be cut, and made again on the same port; `stalls` keeps what comes for itself."""

    def __init__(self, remote: str) -> None:
        host, _, port = remote.removeprefix("sc://").rpartition(":")
        self.target, self.stalls = (host, int(port)), False
        self.port = free_port()
        self._sockets: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Be away."""
        for item in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()
        self._sockets = []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(self.target)
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                while self.stalls:
                    time.sleep(0.05)
                target.sendall(piece)


def test_a_server_that_is_away_or_hangs_comes_back(spark: SparkWorld) -> None:
    """While a server is away or gives no answer no window is complete; when it is back, all goes on by itself."""
    fill(spark)
    proxy = Proxy(spark.remote)
    settings = spark.config().model_copy(update={"remote": f"sc://127.0.0.1:{proxy.port}"})
    engine = SparkEngine(settings, "behind a proxy")
    source = EngineSource(engine, SCHEMA, RowNames())
    assert source.refresh(START + 600).faults == ()
    proxy.cut()
    lost = source.refresh(START + 600)
    assert (lost.complete_until, lost.first_at) == (-np.inf, START)
    assert "it cannot be reached" in fault_of(source)
    proxy.open()
    wait(lambda: source.refresh(START + 600).faults == (), "it is read again", pause=0.5)
    proxy.stalls = True
    engine._settings = settings.model_copy(update={"timeout": 1.0})
    assert "no answer within 1 s" in fault_of(source)
    proxy.stalls = False
    engine._settings = settings
    assert source.refresh(START + 600).faults == ()
    source.close()
    proxy.cut()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file"), ("", "holds no token"), ("s3cret-token\n", "")],
)
def test_no_message_holds_the_token(spark: SparkWorld, tmp_path: Path, content: str | None, said: str) -> None:
    """A token comes from its file at each connection, and stands in no message."""
    fill(spark)
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    settings = spark.config(token_file=file)
    source = EngineSource(SparkEngine(settings, IDENTITY), SCHEMA, RowNames())
    fault = fault_of(source)  # the server of the tests speaks no TLS, which a token wants
    assert said in fault
    assert "s3cret" not in fault + repr(settings)


MEASURED = """
import sys
from pathlib import Path
from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.open import open_engine_source, open_watched_source
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import ServedBy
import json
given = json.loads(sys.argv[1])
schema = Schema.from_dict(given["schema"])
source = open_engine_source("m", ModelConfig.model_validate(given["config"]), schema, Places(Path(given["folder"])))
assert source.refresh(1e10).faults == ()
assert source.cohort(Window(0, 0.0, 1e10), 1e10, schema.names, ServedBy(1)).total == 20
source.close()
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)  # ru_maxrss would begin with that of the process that started this one
"""


def test_the_process_of_a_connection_stays_small(spark: SparkWorld, tmp_path: Path) -> None:
    """The client takes less than 200 MB, by a config as users write it."""
    fill(spark)
    config = {"task": "classification", "target": "bought", "source": spark.config().model_dump(mode="json")}
    given = {"config": config, "schema": SCHEMA.to_dict(), "folder": str(tmp_path)}
    program = tmp_path / "measured.py"
    program.write_text(MEASURED)
    done = subprocess.run([sys.executable, program, json.dumps(given)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 200


def test_the_page_of_spark_clusters_runs(spark: SparkWorld, tmp_path: Path) -> None:
    """The tables of the page are made, and its source reads every row and label of them."""
    found = list(blocks("your-spark-cluster.md"))
    (tables,) = [block.text for block in found if block.language == "sql"]
    (section,) = [yaml.safe_load(block.text)["source"] for block in found if block.language == "yaml"]
    names = {name: f"{name}_{uuid.uuid4().hex}" for name in ("predictions", "labels")}
    for name, own in names.items():
        tables = re.sub(rf"\b(TABLE|INTO) {name}\b", rf"\1 {own}", tables)
    spark.run(*(statement for statement in tables.split(";") if statement.strip()))
    given = {**section, **names, "remote": spark.remote}
    text = json.dumps({"models": {"orders": {"task": "classification", "target": "late", "source": given}}})
    config = parse(text.encode()).models["orders"]
    features = (Feature("price", Kind.NUMBER), Feature("region", Kind.CATEGORY))
    schema = Schema(Task.CLASSIFICATION, "late", features, ("no", "yes"))
    source = open_engine_source("orders", config, schema, Places(tmp_path))
    now = 1780272000.0 + 10 * DAY
    extent = source.refresh(now)
    assert (extent.first_at, extent.newest_at, extent.faults) == (1780272000.0, 1780272000.0 + 2879 * 60, ())
    cohort = source.cohort(Window(0, 1780272000.0, 1780272000.0 + DAY), now, schema.names, ServedBy(1))
    assert (cohort.total, cohort.labelled, cohort.columns.unreadable) == (1440, 1440, {})
    source.close()


def test_the_daemon_reads_spark_through_a_child(spark: SparkWorld, tmp_path: Path) -> None:
    """What a config names is opened in a process of its own, which gives the same window."""
    fill(spark)
    given = spark.config().model_dump(mode="json")
    text = json.dumps({"models": {"m": {"task": "classification", "target": "bought", "source": given}}})
    source = open_watched_source("m", parse(text.encode()).models["m"], SCHEMA, Places(tmp_path))
    try:
        assert source.refresh(START + 600).newest_at == START + 19
        assert source.cohort(HOUR, START + 600, ["city"], ServedBy(1)).labelled == 10
    finally:
        source.close()
