"""Loading the past: every row ends in one count, twice does no harm, and no window is checked in part."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from driftd.config.model_schema import WindowConfig
from driftd.paths import Places
from driftd.sources.backfill import Backfill, BackfillError, BackfillResult, Destination, LoadedRows
from driftd.sources.files_settings import FilesSettings
from driftd.sources.protocol import due_windows
from driftd.sources.store import StoreSource
from driftd.store.events.reader import EventReader
from driftd.store.events.writer import EventStore
from driftd.store.migrations import migrate
from driftd.store.ownership import hold_lock
from event_samples import ALL, SCHEMA, START, keep, prediction

DAILY = WindowConfig(every=86_400.0)
NOW = START + 40 * 86_400.0
COLUMNS = {"id": "order", "at": "ts"}
ROWS = [
    {
        "order": f"p{number}",
        "ts": datetime.fromtimestamp(START + number * 3600, UTC).isoformat(),
        "age": number + 0.5,
        "city": f"town {number % 5}",
        "member": number % 2 == 0,
        "joined": datetime.fromtimestamp(START - number, UTC).isoformat(),
        "prediction": number % 2,
        "score": 0.25,
        "label": number % 2 if number % 3 else None,
    }
    for number in range(200)
]


def write(rows: list[dict[str, Any]], path: Path) -> Path:
    """The rows in the format of the path's name."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@contextmanager
def destination(root: Path, *, oldest: float = 0.0, closed: float = -np.inf) -> Iterator[Destination]:
    """The event store of the model `m`."""
    places = Places(root / "state")
    path, segments = places.events_db("m"), places.segments("m")
    path.parent.mkdir(parents=True, exist_ok=True)
    migrate(path, "events")
    with (
        closing(EventStore.open(path, SCHEMA, segments=segments)) as store,
        closing(EventReader(path, SCHEMA, segments)) as reader,
    ):
        yield Destination(store, reader, oldest, closed)


def load(
    root: Path,
    predictions: list[Path],
    labels: list[Path] | None = None,
    *,
    columns: dict[str, str] | None = None,
    label_columns: dict[str, str] | None = None,
    **bounds: float,
) -> BackfillResult:
    """Load files; the counts must add up."""
    with destination(root, **bounds) as to:
        work = Backfill(SCHEMA, to, NOW)
        own = COLUMNS if columns is None else columns
        found = work.find(
            [FilesSettings(str(path), columns=own) for path in predictions],
            [FilesSettings(str(path), columns=label_columns or {}) for path in labels or []],
        )
        result = work.load()
    assert found == result.predictions.rows + result.labels.rows
    for counts in (result.predictions, result.labels):
        assert counts.rows == counts.ended
        assert counts.unread == 0
    return result


def rows_of(root: Path) -> list[tuple[Any, ...]]:
    """Everything that the store has, as it reads it."""
    places = Places(root / "state")
    source = StoreSource("m", SCHEMA, places)
    table = source.sample(ALL, 10_000, seed=1)
    source.close()
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)


def test_every_format_gives_the_same_events(tmp_path: Path) -> None:
    """CSV, Parquet, JSON lines and compressed ones are kept as the same predictions with the same labels."""
    seen = []
    for name in ("h.csv", "h.parquet", "h.jsonl", "h.jsonl.gz"):
        root = tmp_path / name
        root.mkdir()
        result = load(root, [write(ROWS, root / name)])
        assert (result.predictions.kept, result.labels_beside) == (200, 133)
        seen.append(rows_of(root))
    assert all(rows == seen[0] for rows in seen[1:])
    assert (0.5, "town 0") in [row[:2] for row in seen[0]]


def test_a_second_run_repeats_everything(tmp_path: Path) -> None:
    """The same files again, labels without a time among them, keep nothing new."""
    files = [write(ROWS, tmp_path / "h.csv")]
    labels = [write([{"prediction_id": f"p{n}", "label": 1} for n in range(250)], tmp_path / "labels.jsonl")]
    first = load(tmp_path, files, labels)
    assert (first.predictions.kept, first.labels.kept) == (200, 183)
    assert first.labels.repeated == 67  # stood beside their predictions
    assert (first.unjoined, first.unjoined_example) == (50, "p200")
    before = rows_of(tmp_path)
    again = load(tmp_path, files, labels)
    assert (again.predictions.kept, again.labels.kept, again.labels_beside) == (0, 0, 0)
    assert (again.predictions.repeated, again.labels.repeated) == (200, 250)
    assert rows_of(tmp_path) == before


def test_each_row_ends_in_one_place(tmp_path: Path) -> None:
    """Old, refused, torn and timeless rows are counted with an example, and their labels stay out."""
    rows = [dict(row) for row in ROWS]
    rows[0]["prediction"] = None
    rows[1]["ts"] = "soon"
    rows[2]["ts"] = "2099-01-01T00:00:00Z"
    rows[3]["age"] = "young"
    rows[5]["order"] = ""
    path = write(rows, tmp_path / "h.jsonl")
    path.write_text(path.read_text() + "{torn\n")
    result = load(tmp_path, [path], oldest=START + 10 * 3600 - 1, closed=START + 20 * 3600)
    counts = result.predictions
    assert (counts.rows, counts.kept, counts.too_old) == (201, 190, 8)
    assert (counts.malformed, counts.no_time, counts.impossible_time) == (1, 1, 1)
    assert result.unreadable["age"] == 1
    assert "p0" in counts.examples["too_old"]
    assert (result.closed, result.will_be_checked) == (10, 180)
    assert (result.first_at, result.last_at) == (START + 10 * 3600, START + 199 * 3600)
    refused = load(tmp_path, [path])
    assert dict(refused.predictions.refused) == {"prediction": 1, "prediction_id": 1}
    assert "expected a class" in refused.predictions.examples["prediction"]
    assert refused.predictions.repeated == 190


def test_counts_add_up_whatever_the_rows_are(tmp_path: Path) -> None:
    """For rows with faults at random places, the rows that are read are the sum of their counts."""
    draw = random.Random(4)
    bad: dict[str, list[object]] = {
        "order": [None, "", 7, 7.0, True, "x" * 300],
        "ts": [None, "", "soon", 1e20, -5, "2099-01-01", True],
        "prediction": [None, "", "1.0", True, 3, [1]],
        "label": [None, "1.0", False, "odd", {}],
        "score": [2, "much", None, [0.5]],
        "age": ["old", None, 1e400, [1]],
    }
    for number in range(12):
        rows = [dict(row) for row in ROWS[:60]]
        for row in rows:
            if draw.random() < 0.4:
                name = draw.choice(list(bad))
                row[name] = draw.choice(bad[name])
        root = tmp_path / str(number)
        root.mkdir()
        result = load(root, [write(rows, root / "h.jsonl")], oldest=START + 3600 * draw.randrange(10))
        assert result.predictions.rows == 60
        assert len(rows_of(root)) == result.predictions.kept


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"when": "2026-01-01", "order": "a", "prediction": 1}, "has no column 'ts'"),
        ({"ts": "2026-01-01", "order": "a"}, "has no column 'prediction'"),
        ({"ts": "2026-01-01", "order": "a", "prediction": 1, "colour": 2}, "has none of the features"),
    ],
)
def test_files_that_are_no_predictions_are_refused_whole(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    """Without identity, time, prediction or any feature nothing is kept, also of the other files."""
    good, bad = write(ROWS, tmp_path / "good.csv"), write([row], tmp_path / "bad.jsonl")
    with destination(tmp_path) as to, pytest.raises(BackfillError, match=said):
        Backfill(SCHEMA, to, NOW).find(
            [FilesSettings(str(good), columns=COLUMNS), FilesSettings(str(bad), columns=COLUMNS)], []
        )
    assert rows_of(tmp_path) == []


def test_rows_go_in_by_their_time(tmp_path: Path) -> None:
    """Of several files the one with the earliest rows is loaded first: row windows are cut in the order of time."""
    folder = tmp_path / "history"
    folder.mkdir()
    write(ROWS[100:], folder / "a.csv")
    write(ROWS[:100], folder / "b.csv")
    load(tmp_path, [folder])
    source = StoreSource("m", SCHEMA, Places(tmp_path / "state"))
    assert np.all(np.diff(source.outcomes(ALL, NOW).at) > 0)
    source.close()


def test_windows_wait_for_the_end_of_a_load(tmp_path: Path) -> None:
    """While rows of the past are loaded no window is due; afterwards all are, in order."""
    places = Places(tmp_path / "state")
    source = StoreSource("m", SCHEMA, places)
    assert source.refresh(NOW).complete_until == NOW  # the daemon runs already
    load(tmp_path, [write(ROWS, tmp_path / "h.csv")])
    with hold_lock(places.backfill_lock("m"), "driftd backfill"):
        extent = source.refresh(NOW)
        assert list(due_windows(DAILY, extent, None, NOW, 1.0)) == []
        assert "backfill" in extent.remarks[0]
    extent = source.refresh(NOW)
    due = list(due_windows(DAILY, extent, None, NOW, 1.0))
    assert [window.index for window in due] == list(range(int(START // 86_400), int(NOW // 86_400)))
    assert extent.remarks == ()
    source.close()


def test_a_live_prediction_stays_the_first(tmp_path: Path) -> None:
    """A row whose identity an application has logged already is repeated, and changes nothing."""
    with destination(tmp_path) as to:
        keep(to.store, [prediction(3, features={"age": 99.0})], NOW)
    result = load(tmp_path, [write(ROWS, tmp_path / "h.csv")])
    assert (result.predictions.kept, result.predictions.repeated) == (199, 1)
    assert [row[0] for row in rows_of(tmp_path) if "p3" in row] == [99.0]


def test_the_result_is_plain_data() -> None:
    """Everything of a result is JSON as it stands."""
    result = BackfillResult(LoadedRows(3, 1))
    result.predictions.refused["at"] += 2
    assert json.loads(json.dumps(msgspec.to_builtins(result)))["predictions"]["refused"] == {"at": 2}
