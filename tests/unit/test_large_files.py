"""Of a file with many values `driftd init` holds a sample; kinds, counts and version 1 are made from all rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.cli.init_defaults import guess_settings, possible_rows
from driftd.cli.labelled_file import FileRead, read_file
from driftd.sources import protocol
from driftd.sources.dialects import Dialect
from driftd.training.bootstrap import FileColumns, labelled_table
from driftd_detectors.schema import Kind, Schema, Task, learn_schema
from limits import HANG

ROWS, MOST = 3_000, 6_000.0  # rows; values that are held
NOW = 1_800_000_000.0


def write(path: Path, suffix: str) -> Path:
    """A file whose last rows are unlike all others."""
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        {
            "row": np.arange(ROWS) + 2**60,
            "at": 1.7e9 + 600.0 * np.arange(ROWS),
            "known_at": 1.7e9 + 600.0 * np.arange(ROWS) + 60,
            "a": rng.normal(size=ROWS),
            "code": [*map(str, rng.integers(1, 50, ROWS - 1)), "x1"],
            "town": rng.choice(["york", "leeds"], ROWS),
            "y": rng.normal(size=ROWS),
        }
    )
    rows.loc[ROWS - 3, "at"] = 9.9e11  # never
    file = path / f"rows.{suffix}"
    if suffix == "csv":
        rows.to_csv(file, index=False)
    else:
        rows.to_parquet(file, row_group_size=700)
    return file


@pytest.fixture(params=["csv", "parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is read in several pieces."""
    monkeypatch.setattr(protocol, "CHUNK_CELLS", 2_000)
    return write(tmp_path, request.param)


def read(file: Path, most: float) -> FileRead:
    return read_file(file, "auto", Dialect(), most)


def test_a_sample_has_the_columns_and_kinds_of_all_rows(file: Path) -> None:
    """So many values are held, drawn from all of the file; the one text among codes is seen; long ids keep digits."""
    whole, drawn = read(file, float("inf")), read(file, MOST)
    assert whole.pieces is None
    assert len(whole.rows) == ROWS
    assert drawn.rows.dtypes.to_dict() == whole.rows.dtypes.to_dict()
    assert abs(len(drawn.rows) * len(drawn.rows.columns) - MOST) < 0.2 * MOST
    assert drawn.rows["at"].max() > whole.rows["at"].quantile(0.99)
    assert set(drawn.rows["row"]) <= set(whole.rows["row"])
    assert (
        drawn.remarks[0] == f"it has 3,000 rows: the settings are read off {len(drawn.rows)} of them, drawn at random"
    )
    pd.testing.assert_frame_equal(read(file, MOST).rows, drawn.rows)
    assert drawn.pieces is not None
    again = pd.concat(list(drawn.pieces.read()), ignore_index=True)
    pd.testing.assert_frame_equal(again, whole.rows)


@pytest.mark.parametrize("timed", [True, False])
def test_version_1_is_made_from_all_rows_as_if_they_were_held(file: Path, *, timed: bool) -> None:
    """The rows of pieces are those of the whole file: identities, times, what is left out; the newest time is known."""
    columns = FileColumns(time="at" if timed else None, label_time="known_at" if timed else None)
    whole, drawn = read(file, float("inf")), read(file, MOST)
    assert drawn.pieces is not None
    of_all = guess_settings(whole.rows, "y", task=None, columns=columns, window=None, name="m", now=NOW)
    total = drawn.pieces.rows
    of_some = guess_settings(drawn.rows, "y", task=None, columns=columns, window=None, name="m", now=NOW, total=total)
    assert of_some.window == of_all.window
    assert dict(of_some.features) == dict(of_all.features)
    assert of_all.features["code"] is (Kind.NUMBER if file.suffix == ".csv" else Kind.CATEGORY)
    columns = of_all.columns
    schema = learn_schema(whole.rows, task=Task.REGRESSION, target="y", declared=of_all.features)
    pieces = drawn.pieces.map(partial(possible_rows, guess=of_some, now=NOW))
    kept = possible_rows(whole.rows, of_all, NOW)
    expected = labelled_table(kept, schema, columns, NOW)
    assert pa.concat_tables(pieces.tables(schema, columns, NOW)).equals(expected)
    assert pieces.newest == (of_all.last_at if of_all.columns.time is not None else None)


STEADY = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "1000000"}
PEAK = """
import json, resource, sys
from pathlib import Path
from driftd.cli.labelled_file import read_file
from driftd.paths import Places
from driftd.sources.dialects import Dialect
from driftd.training.bootstrap import FileColumns, RowPieces
from driftd.training.snapshots import take_snapshot
from driftd_detectors.schema import Schema
file, schema, root, most = sys.argv[1:]
begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read = read_file(Path(file), "auto", Dialect(), float(most))
schema, columns = Schema.from_dict(json.loads(schema)), FileColumns(time="at")
pieces = read.pieces or RowPieces(lambda: iter([read.rows]), len(read.rows))
tables = pieces.tables(schema, columns, 0.0)
rows = take_snapshot(Places(Path(root)), "m", tables, schema, run_bytes=2**22).rows
print(json.dumps([len(rows), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun) / 1024]))
"""


def peak(file: Path, schema: Schema, root: Path, most: float) -> tuple[int, float]:
    """The rows of a snapshot of a file, and the megabytes that reading it took."""
    words = [str(file), json.dumps(schema.to_dict()), str(root), str(most)]
    roots = os.pathsep.join(item for item in sys.path if item)
    command, environment = [sys.executable, "-c", PEAK, *words], {**os.environ, "PYTHONPATH": roots} | STEADY
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG, check=True)
    rows, megabytes = json.loads(done.stdout.splitlines()[-1])
    return int(rows), float(megabytes)


@pytest.mark.slow
def test_the_memory_of_init_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """400,000 rows of 16 columns become a snapshot within 80 MB; held, they take twice that."""
    rng, rows = np.random.default_rng(1), 400_000
    table = pa.table({"at": 1.7e9 + np.arange(rows), **{f"f{n}": rng.normal(size=rows) for n in range(15)}})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=50_000, compression=None)
    schema = learn_schema(table.slice(0, 100).to_pandas(), task=Task.REGRESSION, target="f0", ignore=["at"])
    found, megabytes = peak(tmp_path / "rows.parquet", schema, tmp_path / "state", 1e6)
    assert found == rows
    assert megabytes < 80
