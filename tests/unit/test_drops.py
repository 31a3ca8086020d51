"""The files that jobs drop: what is in them, how they are called, and the examples that write them."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from drawn_batches import END, SCHEMA, START, layout_of
from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.drops import DropJob, open_drop
from driftd_detectors.batches.profile_batches import profile_batches
from driftd_detectors.cohort import Cohort
from driftd_detectors.errors import DetectorError
from driftd_detectors.window_data import ServedBy, WindowData

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "counted_elsewhere"
FIRST = START // 3600.0 * 3600.0
JOB = DropJob("demand", 3, 3600.0, SCHEMA, layout_of(), ServedBy(3), ("city",))


def rows_of(rows: int = 300) -> pd.DataFrame:
    """Some rows of the window that begins at `FIRST`."""
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "prediction_id": [f"p{row}" for row in range(rows)],
            "at": FIRST + np.arange(rows),
            "prediction": rng.choice(["0", "1"], rows),
            "score": rng.random(rows),
            "version": 3,
            "label": rng.choice(["0", "1"], rows),
            "label_at": FIRST + 60.0 + np.arange(rows),
            "price": rng.normal(size=rows),
            "city": rng.choice(["Köln", "東京"], rows),
        }
    )


def both_of(frame: pd.DataFrame) -> list[tuple[str, bytes]]:
    """The files of a window, counted at once."""
    batches = pa.Table.from_pandas(frame, preserve_index=False).to_batches()
    counted = [profile_batches(batches, JOB.profile_job(FIRST))]
    labels = [cohort_batches(batches, JOB.cohort_job(FIRST, END))]
    return [JOB.finish_profile(FIRST, counted), JOB.finish_cohort(FIRST, END, labels)]


def test_a_file_says_what_it_is() -> None:
    """Name and head have the window, the version, the layout; the content is what the functions gave."""
    (name, content), (labels_name, labels) = both_of(rows_of())
    head, payload = open_drop(content)
    assert name == head.name == f"profile-{JOB.layout.fingerprint[:12]}-{FIRST:.0f}.bin"
    assert (head.kind, head.model, head.version, head.start, head.end) == ("profile", "demand", 3, FIRST, FIRST + 3600)
    assert (head.rows, head.newest_at) == (300, FIRST + 299)
    assert WindowData.from_bytes(payload).profile.rows == 300
    head, payload = open_drop(labels)
    assert labels_name == head.name == f"cohort-{FIRST:.0f}-{END:.0f}.bin"
    assert (head.rows, head.newest_at, head.known_by) == (300, FIRST + 359, END)
    assert list(Cohort.from_bytes(payload).columns.values) == ["city"]


def test_the_job_comes_back_as_it_was() -> None:
    """job.json holds all that a job needs; one of another format is refused, and so is a window that is none."""
    assert DropJob.from_json(JOB.to_json()) == JOB
    with pytest.raises(DetectorError, match="of format 7"):
        DropJob.from_json(JOB.to_json().replace('"format": 1', '"format": 7'))
    with pytest.raises(DetectorError, match="no window begins at"):
        JOB.profile_job(FIRST + 1)


def test_counts_of_another_job_are_refused_where_they_are_made() -> None:
    """Parts that were counted for another window or on other bins are no file."""
    batches = pa.Table.from_pandas(rows_of(), preserve_index=False).to_batches()
    earlier = profile_batches(batches, JOB.profile_job(FIRST))
    with pytest.raises(DetectorError, match="not in its window"):
        JOB.finish_profile(FIRST + 3600.0, [earlier])
    other = replace(JOB, layout=layout_of(300))
    with pytest.raises(DetectorError, match="different layouts"):
        other.finish_profile(FIRST, [earlier])


@settings(max_examples=150, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.data())
def test_a_damaged_file_is_refused(data: st.DataObject) -> None:
    """Any changed byte, and any cut, is refused in one sentence; or the head says another name."""
    name, content = FILES[data.draw(st.integers(0, 1))]
    place = data.draw(st.integers(0, len(content) - 1))
    changed = data.draw(st.sampled_from([content[:place], flipped(content, place, data.draw(st.integers(1, 255)))]))
    try:
        head, payload = open_drop(changed)
    except DetectorError:
        return
    assert (head.name != name) or payload == open_drop(content)[1]


def flipped(content: bytes, place: int, bits: int) -> bytes:
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


FILES = both_of(rows_of())


class Delayed:
    """As much of Dask as the example calls, where Dask is not installed."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.parts = [frame.iloc[:100], frame.iloc[100:]]

    def to_delayed(self) -> list[pd.DataFrame]:
        return self.parts


class Blocks:
    """The same of Ray."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.parts = [frame.iloc[:70], frame.iloc[70:]]

    def map_batches(self, function: Any, *, batch_format: str, batch_size: None) -> Blocks:
        assert (batch_format, batch_size) == ("pyarrow", None)
        tables = [function(pa.Table.from_pandas(part, preserve_index=False)) for part in self.parts]
        self.rows = [row for table in tables for row in table.to_pylist()]
        return self

    def take_all(self) -> list[dict[str, bytes]]:
        return self.rows


def stand_in(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(content)
    return module


def rows_in(engine: str, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The rows as the engine holds them; where it is not installed, as its stand-in does."""
    if importlib.util.find_spec(engine) is not None:
        if engine == "dask":
            return importlib.import_module("dask.dataframe").from_pandas(frame, npartitions=2)
        return importlib.import_module("ray.data").from_pandas([frame.iloc[:70], frame.iloc[70:]])
    if engine == "dask":
        kept = stand_in("dask.dataframe", DataFrame=Delayed)
        compute = lambda *tasks: tasks  # noqa: E731 - the name of the stand-in
        monkeypatch.setitem(sys.modules, "dask", stand_in("dask", delayed=lambda call: call, compute=compute))
        monkeypatch.setitem(sys.modules, "dask.dataframe", kept)
        return Delayed(frame)
    kept = stand_in("ray.data", Dataset=Blocks)
    monkeypatch.setitem(sys.modules, "ray", stand_in("ray", data=kept))
    monkeypatch.setitem(sys.modules, "ray.data", kept)
    return Blocks(frame)


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_the_examples_drop_the_same_files(tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in parts by the example of an engine, a window is what it is when it is counted at once."""
    rows = rows_in(engine, rows_of(), monkeypatch)
    spec = importlib.util.spec_from_file_location(f"with_{engine}", EXAMPLES / f"with_{engine}.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    (tmp_path / "job.json").write_text(JOB.to_json())
    written = example.count_window(rows, tmp_path, FIRST, END)
    assert [path.name for path in written] == [name for name, _ in FILES]
    counts, labels = (open_drop(path.read_bytes()) for path in written)
    assert labels == open_drop(FILES[1][1])
    found, expected = (WindowData.from_bytes(payload).profile for payload in (counts[1], open_drop(FILES[0][1])[1]))
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.joint.products, expected.joint.products)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["job.json", *(name for name, _ in FILES)])
