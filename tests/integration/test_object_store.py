"""Files in a real S3 server: read as the same files of this host, listed at a bounded price, waited for when away."""

from __future__ import annotations

import gzip
import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from driftd.cli.check_config import look_at_sources
from driftd.config.load import load
from driftd.config.model_schema import ModelConfig
from driftd.config.object_store_schema import ObjectStoreConfig
from driftd.loop.supervision import SourceRefusesError, TimeoutWorker
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.file_rows import FileRows
from driftd.sources.file_system import LOCAL, StoreAwayError
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.files_settings import ColumnMapping
from driftd.sources.object_store import FEW_OBJECTS, UNKEYED_SECONDS, WHOLE_SECONDS, ObjectFiles
from driftd.sources.open import paths_of
from driftd.sources.whole_files import read_whole
from driftd.store.subprocesses import PathProbe
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy
from limits import HANG, time_limit
from object_store_worlds import Store, store
from store_proxy import Proxy, proxy_of

__all__ = ["store"]
pytestmark = pytest.mark.slow

SCHEMA = Schema(
    Task.CLASSIFICATION,
    "late",
    (Feature("price", Kind.NUMBER), Feature("region", Kind.CATEGORY), Feature("booked", Kind.TIMESTAMP)),
    ("no", "yes"),
)
DAY = 86_400.0
START = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
NOW = START + 30 * DAY + 3600.0
ROWS = 500  # a day


def rows_of(day: int, seed: int = 0) -> pa.Table:
    """The rows of one day, with labels beside some of them."""
    rng = np.random.default_rng((day, seed))
    at = START + day * DAY + np.sort(rng.uniform(0, DAY - 1, ROWS))
    label = rng.choice(["no", "yes"], ROWS).astype(object)
    label[::3] = None
    return pa.table(
        {
            "prediction_id": [f"{seed}-{day}-{row}" for row in range(ROWS)],
            "at": at,
            "version": [1] * ROWS,
            "prediction": rng.choice(["no", "yes"], ROWS),
            "score": rng.uniform(size=ROWS),
            "price": rng.normal(20, 5, ROWS),
            "region": [None if row % 17 == 0 else text for row, text in enumerate(rng.choice(["nörd", "süd"], ROWS))],
            "booked": at - rng.integers(0, 10_000, ROWS),
            "label": pa.array(label, pa.string()),
            "label_at": at + 3600,
        }
    )


def write(table: pa.Table, path: Path) -> None:
    """A file in the form that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=200)
    elif path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def day_of(number: int) -> str:
    """The key of a day."""
    return (date(2026, 11, 1) + timedelta(number)).isoformat()


def source_of(path: str, state: Path, config: ObjectStoreConfig | None = None, **more: Any) -> FilesSource:
    """A source of the schema above."""
    return FilesSource("m", SCHEMA, Places(state), FilesSettings(path, store=config, **more))


@pytest.fixture(scope="module")
def reference() -> Reference:
    """What windows are compared with."""
    table = rows_of(0, 99)
    rows = FileRows.read(table, ColumnMapping.of({}, SCHEMA), SCHEMA, numeric_text=False, arrived_at=0.0, first_row=0)
    starts = np.floor(rows.outcomes.at / 21_600) * 21_600
    weights = dict.fromkeys(SCHEMA.names, 1 / 3)
    return learn_reference(rows.columns, rows.outcomes, SCHEMA, starts=starts, importance=weights, loss="error")


@pytest.fixture
def proxy(store: Store) -> Iterator[Proxy]:
    """A proxy in front of the store."""
    with proxy_of(store.endpoint) as made:
        yield made


def evidence(source: FilesSource, reference: Reference) -> list[Any]:
    """Everything that a check takes from each window."""
    found: list[Any] = []
    for day in range(4):
        window = Window(day, START + day * DAY, START + (day + 1) * DAY)
        read = source.profile(window, reference, ServedBy(1))
        outcomes = source.outcomes(window, NOW)
        found += [read.profile.to_bytes(), read.first_at, read.last_at, read.foreign]
        found += [getattr(outcomes, name).tobytes() for name in ("at", "prediction", "score", "label", "label_at")]
        found.append(source.sample(window, 20, 7).to_pydict())
    labelled = pa.concat_tables(source.read_labelled(START, NOW, NOW))
    return [*found, labelled.to_pydict(), source.count_labelled(START, NOW), source.newest_labelled(50, START, NOW)]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "jsonl.gz"])
def test_the_same_rows_give_the_same_evidence(store: Store, tmp_path: Path, reference: Reference, suffix: str) -> None:
    """Profiles, outcomes, samples and labelled rows of a bucket are those of this host, late ones too, to the byte."""
    folder, bucket = tmp_path / "logs", store.bucket(f"same-{suffix.replace('.', '-')}")
    for day in range(4):
        write(rows_of(day), folder / f"day={day_of(day)}" / f"part-{day}.{suffix}")
    labels = pa.table({"prediction_id": ["0-1-0", "0-2-3"], "label": ["yes", "no"], "at": [NOW - 60, NOW - 50]})
    write(labels, tmp_path / "labels" / f"one.{suffix}")
    store.put_folder(tmp_path, bucket)
    here = source_of(str(folder), tmp_path / "here", feedback=str(tmp_path / "labels"))
    there = source_of(f"{bucket}/logs", tmp_path / "there", store.settings(), feedback=f"{bucket}/labels")
    extents = [source.refresh(NOW) for source in (here, there)]
    assert extents[0] == extents[1]
    assert (extents[1].rows, extents[1].faults, extents[1].files) == (4 * ROWS, (), 5)
    assert evidence(there, reference) == evidence(here, reference)
    write(rows_of(1, seed=5), folder / f"day={day_of(1)}" / f"late.{suffix}")
    store.put_folder(folder, f"{bucket}/logs")
    after = NOW + WHOLE_SECONDS + 60
    assert [source.refresh(after).rows for source in (here, there)] == [5 * ROWS] * 2
    assert evidence(there, reference) == evidence(here, reference)
    for source in (here, there):
        source.close()


def test_objects_that_are_overwritten_are_noticed(store: Store, tmp_path: Path) -> None:
    """One with more rows has grown; one with other rows is another, and the rows before are told as lost."""
    bucket = store.bucket("overwritten")
    text = "".join(json.dumps(row) + "\n" for row in rows_of(0).slice(0, 20).to_pylist())
    store.put(f"{bucket}/logs/a.jsonl", text.encode())
    source = source_of(f"{bucket}/logs", tmp_path, store.settings())
    assert source.refresh(NOW).rows == 20
    more = "".join(json.dumps(row) + "\n" for row in rows_of(0).slice(20, 10).to_pylist())
    store.put(f"{bucket}/logs/a.jsonl", (text + more).encode())
    assert source.refresh(NOW + 60).rows == 30
    store.put(f"{bucket}/logs/a.jsonl", more.encode())
    extent = source.refresh(NOW + 120)
    assert extent.rows == 40
    assert "cut or rewritten: 30 rows" in extent.remarks[0]
    source.close()


def test_a_last_line_without_its_end_is_whole_at_once(store: Store, tmp_path: Path) -> None:
    """Nobody writes on in an object."""
    bucket = store.bucket("no-end")
    row = json.dumps(rows_of(0).slice(0, 1).to_pylist()[0])
    store.put(f"{bucket}/a.jsonl", row.encode())
    assert source_of(bucket, tmp_path, store.settings()).refresh(datetime.now(UTC).timestamp()).rows == 1


def test_large_objects_are_fetched_piece_by_piece(
    store: Store, tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is larger than is held at once gives the same rows, in Parquet, text and compressed text."""
    monkeypatch.setattr("driftd.sources.object_store.HELD_BYTES", 100)
    folder, bucket = tmp_path / "logs", store.bucket("large")
    for day, suffix in enumerate(["parquet", "csv", "jsonl", "jsonl.gz"]):
        write(rows_of(day), folder / f"{day}.{suffix}")
    store.put_folder(folder, bucket)
    here, there = source_of(str(folder), tmp_path / "here"), source_of(bucket, tmp_path / "there", store.settings())
    for source in (here, there):
        assert source.refresh(NOW).rows == 4 * ROWS
    assert evidence(there, reference) == evidence(here, reference)


def test_patterns_files_and_what_is_passed_over(store: Store, tmp_path: Path) -> None:
    """A pattern and one object name what they would on this host; hidden and unfinished objects are passed over."""
    bucket = store.bucket("patterns")
    rows = "".join(json.dumps(row) + "\n" for row in rows_of(0).slice(0, 5).to_pylist()).encode()
    names = ["a.jsonl", "b.csv", "x/a.jsonl", "x/y/a.jsonl", "_tmp/a.jsonl", "x/.a.jsonl", "a.jsonl.tmp"]
    for name in names:
        store.put(f"{bucket}/logs/{name}", rows)
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rows)
    for pattern in ("logs", "logs/", "logs/*.jsonl", "logs/*/a.jsonl", "logs/**/a.jsonl", "logs/x/y/a.jsonl", "l*/x/*"):
        path = f"{bucket}/{pattern}"
        there = ObjectFiles(path, store.settings()).find(path, NOW)
        here = LOCAL.find(str(tmp_path / pattern), NOW)
        assert sorted(name.removeprefix(bucket) for name, _ in there.files) == sorted(
            name.removeprefix(str(tmp_path)) for name, _ in here.files
        ), pattern
        assert (not there.passed_over) == (not here.passed_over), pattern


def test_a_table_of_another_system_is_not_read(store: Store, tmp_path: Path) -> None:
    """The objects of a Delta or Iceberg table are refused, also where the path names a partition of it."""
    bucket = store.bucket("tables")
    write(rows_of(0), tmp_path / "part.parquet")
    content = (tmp_path / "part.parquet").read_bytes()
    store.put(f"{bucket}/delta/day=1/part.parquet", content)
    store.put(f"{bucket}/delta/_delta_log/0.json", b"{}")
    store.put(f"{bucket}/ice/data/part.parquet", content)
    store.put(f"{bucket}/ice/metadata/1.metadata.json", b"{}")
    for path, kind in (("delta", "Delta"), ("delta/day=1", "Delta"), ("ice", "Iceberg"), ("ice/data", "Iceberg")):
        source = source_of(f"{bucket}/{path}", tmp_path / path, store.settings())
        extent = source.refresh(NOW)
        assert kind in extent.faults[0], path
        assert (extent.rows, extent.complete_until) == (0, float("-inf"))


def test_what_comes_within_the_lateness_of_its_window_is_not_late(store: Store, tmp_path: Path) -> None:
    """An object in an old day whose window is open is found at the next look; one of a closed window within a day."""
    bucket = store.bucket("within-lateness")
    for day in range(8):
        write(rows_of(day), tmp_path / "logs" / f"day={day_of(day)}" / "a.parquet")
    store.put_folder(tmp_path / "logs", f"{bucket}/logs")
    now = START + 8 * DAY + 60
    settings = FilesSettings(f"{bucket}/logs", store=store.settings())
    source = FilesSource("m", SCHEMA, Places(tmp_path / "state"), settings, lambda at: (at - 4 * DAY) // DAY * DAY)
    assert source.refresh(now).rows == 8 * ROWS
    for day in (1, 4):
        write(rows_of(day, seed=3), tmp_path / "late.parquet")
        store.put(f"{bucket}/logs/day={day_of(day)}/late.parquet", (tmp_path / "late.parquet").read_bytes())
    extent = source.refresh(now + 60)
    assert (extent.rows, extent.late) == (9 * ROWS, 0)
    extent = source.refresh(now + WHOLE_SECONDS)
    assert (extent.rows, extent.late) == (10 * ROWS, ROWS)


def put_small(store: Store, path: str) -> None:
    """One object, by one plain request: the client makes three."""
    connection = http.client.HTTPConnection(store.endpoint.removeprefix("http://"))
    signed = "AWS4-HMAC-SHA256 Credential=some/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
    connection.request("PUT", path.removeprefix("s3:/"), b'{"a": 1}\n', {"Authorization": signed})
    assert connection.getresponse().status == 200
    connection.close()


def put_days(store: Store, bucket: str, days: int, a_day: int) -> None:
    """Small objects under day keys."""
    for day in range(days):
        for part in range(a_day):
            put_small(store, f"{bucket}/logs/day={day_of(30 - day)}/{part}.jsonl")


@pytest.mark.parametrize("objects", [1_500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_look_costs_the_same_however_long_the_history(store: Store, proxy: Proxy, objects: int) -> None:
    """Everything is listed once a day, a page of it by a request; in between a look is three requests."""
    bucket = store.bucket(f"history-{objects}")
    put_days(store, bucket, objects // 10, 10)
    path, now = f"{bucket}/logs", START + 30 * DAY + 7200
    files = ObjectFiles(path, store.settings().model_copy(update={"endpoint": proxy.endpoint}))
    assert len(files.find(path, now).files) == objects
    assert len(proxy.asked) == -(-objects // 1_000)
    for tick in range(1, 4):
        proxy.asked.clear()
        listing = files.find(path, now + 60.0 * tick)
        assert len(listing.files) == objects
        assert len(proxy.asked) == 3
        assert listing.remarks == ()
    store.put(f"{path}/day={day_of(30)}/new.jsonl", b"{}\n")
    store.put(f"{path}/day={day_of(29)}/new.jsonl", b"{}\n")
    store.put(f"{path}/day={day_of(31)}/new.jsonl", b"{}\n")
    store.put(f"{path}/day={day_of(30 - objects // 10)}/new.jsonl", b"{}\n")  # a day that was never there
    store.put(f"{path}/day={day_of(2)}/late.jsonl", b"{}\n")
    assert len(files.find(path, now + 300).files) == objects + 4
    assert len(files.find(path, now + WHOLE_SECONDS).files) == objects + 5


def test_a_prefix_without_keys_is_listed_less_often(store: Store, proxy: Proxy) -> None:
    """Up to a page of objects at each look; more of them every ten minutes, with a remark, and windows wait."""
    path = f"{store.bucket('no-keys')}/logs"
    for number in range(FEW_OBJECTS + 1):
        put_small(store, f"{path}/{number}.jsonl")
    config = store.settings().model_copy(update={"endpoint": proxy.endpoint})
    files = ObjectFiles(path, config)
    first = files.find(path, NOW)
    assert (first.seen_until, len(proxy.asked)) == (NOW, 2)
    assert "1,001 objects without keys" in first.remarks[0]
    assert files.find(path, NOW + UNKEYED_SECONDS - 1).seen_until == NOW
    assert len(proxy.asked) == 2
    assert files.find(path, NOW + UNKEYED_SECONDS).seen_until == NOW + UNKEYED_SECONDS
    for number in (0, 1):
        store.delete(f"{path}/{number}.jsonl")
    files.find(path, NOW + 2 * UNKEYED_SECONDS)
    proxy.asked.clear()
    assert files.find(path, NOW + 2 * UNKEYED_SECONDS + 1).seen_until == float("inf")
    assert len(proxy.asked) == 1


@pytest.fixture
def troubled(store: Store, proxy: Proxy, tmp_path: Path) -> FilesSource:
    """A source of one day's rows behind the proxy, which was looked at once."""
    name = f"trouble-{abs(hash(str(tmp_path))) % 10**8}"
    bucket = store.bucket(name)
    write(rows_of(0), tmp_path / "logs" / f"day={day_of(0)}" / "a.parquet")
    store.put_folder(tmp_path / "logs", f"{bucket}/logs")
    config = store.settings(timeout=1.0).model_copy(update={"endpoint": proxy.endpoint})
    source = source_of(f"{bucket}/logs", tmp_path / "state", config)
    assert source.refresh(NOW).rows == ROWS
    return source


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("denied", "denies access: give the keys the rights to list the bucket and to get its objects"),
        ("keys", "does not take the keys, which are wrong, expired or revoked: renew them"),
        ("stalls", "does not answer in time"),
        ("slow down", "asks to be asked less"),
    ],
)
def test_a_store_in_trouble_is_a_fault_and_its_windows_wait(
    troubled: FilesSource, proxy: Proxy, trouble: Any, said: str
) -> None:
    """One sentence says what to do, no window becomes complete or is read without its rows, and it ends by itself."""
    proxy.trouble = trouble
    extent = troubled.refresh(NOW + 60)
    assert len(extent.faults) == 1
    assert said in extent.faults[0]
    assert "some" not in extent.faults[0].split()
    assert (extent.complete_until, extent.rows) == (NOW, ROWS)
    window = Window(0, START, START + DAY)
    with pytest.raises(StoreAwayError, match="cannot be read"):
        list(troubled.chunks(window))
    guard = TimeoutWorker("m", HANG)
    with pytest.raises(SourceRefusesError, match="cannot be read"):  # the loop gives no verdict, and asks again
        guard.run(troubled.outcomes, window, NOW)
    guard.close()
    proxy.release()
    assert troubled.outcomes(window, NOW).rows == ROWS
    extent = troubled.refresh(NOW + 120)
    assert (extent.faults, extent.complete_until) == ((), NOW + 120)


def test_objects_that_may_be_listed_and_not_read_are_no_empty_windows(
    store: Store, troubled: FilesSource, proxy: Proxy, tmp_path: Path
) -> None:
    """A new object that is denied keeps its windows waiting until it is read, and none is found twice."""
    proxy.trouble = "get denied"
    path = troubled._settings.path
    write(rows_of(1), tmp_path / "b.parquet")
    store.put(f"{path}/day={day_of(1)}/b.parquet", (tmp_path / "b.parquet").read_bytes())
    extent = troubled.refresh(NOW + 60)
    assert "denies access" in extent.faults[0]
    assert (extent.complete_until, extent.rows) == (NOW, ROWS)
    proxy.release()
    extent = troubled.refresh(NOW + 120)
    assert (extent.faults, extent.complete_until, extent.rows) == ((), NOW + 120, 2 * ROWS)


def test_a_bucket_that_is_not_there_and_a_server_that_is_not_there(store: Store, tmp_path: Path) -> None:
    """Each is told as what it is; an empty prefix of a bucket is only empty."""
    store.bucket("empty-one")
    absent = source_of("s3://nobody-made-it/logs", tmp_path / "a", store.settings()).refresh(NOW)
    assert absent.faults == (
        "s3://nobody-made-it cannot be read: there is no such bucket: correct the path, or make the bucket",
    )
    empty = source_of("s3://empty-one/logs", tmp_path / "b", store.settings()).refresh(NOW)
    assert empty.faults == ("s3://empty-one/logs has no file that is read",)
    closed = store.settings(timeout=1.0).model_copy(update={"endpoint": "http://127.0.0.1:9"})
    away = source_of("s3://empty-one/logs", tmp_path / "c", closed).refresh(NOW)
    assert "it cannot be reached: bring it back, correct object_store: {endpoint: ...}" in away.faults[0]
    assert away.complete_until == float("-inf")


def test_keys_come_from_a_file_and_renewed_ones_are_read(store: Store, proxy: Proxy, tmp_path: Path) -> None:
    """A file of keys that is changed after they were refused is read again; a bad one is told without its content."""
    store.bucket("keys-of-a-file")
    keys = tmp_path / "keys"
    keys.write_text("[default]\naws_access_key_id = first\naws_secret_access_key = hidden\naws_session_token = t\n")
    config = store.settings().model_copy(update={"endpoint": proxy.endpoint, "credentials_file": keys})
    files = ObjectFiles("s3://keys-of-a-file", config)
    files.find("s3://keys-of-a-file", NOW)
    assert proxy.keys == {"first"}
    proxy.trouble = "keys"
    with pytest.raises(StoreAwayError, match="does not take the keys"):
        files.find("s3://keys-of-a-file", NOW)
    proxy.release()
    for text, said in (("[default]\nhidden-stuff", "on three lines"), ("[a]\nx = hidden", "has no aws_access_key_id")):
        keys.write_text(text)
        with pytest.raises(StoreAwayError, match=said) as refused:
            files.find("s3://keys-of-a-file", NOW)
        assert "hidden" not in str(refused.value)
    keys.write_text("[other]\naws_access_key_id = second\naws_secret_access_key = hidden\n")
    files.find("s3://keys-of-a-file", NOW)
    assert proxy.keys == {"first", "second"}
    keys.unlink()
    with pytest.raises(StoreAwayError, match=r"credentials_file .* cannot be read: No such file"):
        ObjectFiles("s3://keys-of-a-file", config).find("s3://keys-of-a-file", NOW)


def test_anonymous_access_sends_no_keys(store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anonymous access is asked for, the keys of the environment are not sent; else they are."""
    store.bucket("public-one")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    ObjectFiles("s3://public-one", ObjectStoreConfig(anonymous=True)).find("s3://public-one", NOW)
    assert proxy.asked
    assert proxy.keys == set()
    ObjectFiles("s3://public-one", ObjectStoreConfig()).find("s3://public-one", NOW)
    assert proxy.keys == {"of-the-environment"}


def test_a_hung_store_is_looked_at_by_a_child(store: Store, proxy: Proxy, tmp_path: Path) -> None:
    """The look hangs while the store stalls and is reached once it answers, whatever it answers."""
    store.bucket("looked-at")
    source = {"kind": "files", "path": "s3://looked-at/logs", "object_store": {"endpoint": proxy.endpoint}}
    config = ModelConfig.model_validate({"task": "regression", "target": "y", "source": source})
    (address,) = paths_of("m", config, Places(tmp_path))
    assert address == f"{proxy.endpoint}/looked-at"
    proxy.trouble = "stalls"
    probe = PathProbe([address], seconds=1.0)
    assert probe.poll() == "waiting"
    assert probe.wait() == "hangs"
    for trouble in ("denied", "none"):
        proxy.trouble = trouble  # type: ignore[assignment]  # one of them
        proxy.released.set()
        assert PathProbe([address], seconds=HANG).wait() == "reached"


def test_check_config_says_how_many_objects_there_are(store: Store, tmp_path: Path) -> None:
    """The store is looked at: it answers with so many objects, or a warning says why it does not."""
    bucket = store.bucket("check-config")
    write(rows_of(0), tmp_path / "a.parquet")
    store.put(f"{bucket}/logs/a.parquet", (tmp_path / "a.parquet").read_bytes())
    text = f"""\
state_dir: {tmp_path}/state
models:
  good: &model
    task: classification
    target: late
    source: &source
      kind: files
      path: {bucket}/logs
      object_store: &store {{endpoint: "{store.endpoint}", region: us-east-1, credentials_file: {store.keys}}}
  absent: {{<<: *model, source: {{<<: *source, path: "s3://nobody-made-it/logs"}}}}
"""
    (tmp_path / "config.yaml").write_text(text)
    good, absent = look_at_sources(load(tmp_path / "config.yaml"))
    assert (good.warnings, good.objects) == ((), f"{bucket}/logs answers: 1 objects")
    assert absent.objects is None
    assert "there is no such bucket" in absent.warnings[0]


def test_whole_files_are_read_from_a_bucket(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `driftd init` reads may lie in a bucket: the same columns, kinds and values."""
    bucket = store.bucket("whole-files")
    for suffix in ("parquet", "csv", "jsonl"):
        file = tmp_path / f"day={day_of(0)}" / f"a.{suffix}"
        write(rows_of(0), file)
        store.put(f"{bucket}/{suffix}/day={day_of(0)}/a.{suffix}", file.read_bytes())
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "thing")
    for suffix in ("parquet", "csv", "jsonl"):
        there = read_whole(f"{bucket}/{suffix}", NOW)
        here = read_whole(str(tmp_path / "*" / f"a.{suffix}"), NOW)
        assert there.kinds == here.kinds
        assert there.rows == ROWS
        for name, column in here.columns.items():
            other = there.columns[name]
            np.testing.assert_array_equal(getattr(other, "codes", other), getattr(column, "codes", column))


def test_the_time_out_of_a_store_bounds_a_look(troubled: FilesSource, proxy: Proxy) -> None:
    """A store that stalls costs two tries of the time that the config says, not minutes."""
    proxy.trouble = "stalls"
    began = time.monotonic()
    assert "does not answer in time" in troubled.refresh(NOW + 60).faults[0]
    assert time.monotonic() - began < time_limit(10.0)
