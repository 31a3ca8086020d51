"""The two functions that run inside engines: any cut of the rows gives the same, strange bytes are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from drawn_batches import END, FEATURES, OF_PREDICTIONS, SCHEMA, START, array_of, batch_of, cuts, layout_of, tables
from driftd_detectors.batches.cohort_batches import CohortJob, cohort_batches
from driftd_detectors.batches.profile_batches import ProfileJob, profile_batches
from driftd_detectors.batches.row_hash import hash_texts
from driftd_detectors.batches.rows import RowNames, Rows
from driftd_detectors.cohort import Cohort, fold_cohorts, hash_numbers, mix
from driftd_detectors.columns import Coded
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.profile import Profile
from driftd_detectors.schema import Schema, Task
from driftd_detectors.window_data import ServedBy, WindowData, summarise_rows

NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # of tables it takes minutes
LAYOUT = layout_of()
SERVED = ServedBy(1)
PROFILE = ProfileJob(SCHEMA, LAYOUT, SERVED, START, END)
COHORT = CohortJob(SCHEMA, SERVED, START, END, END + 3600.0, SCHEMA.names, most=6)


def bits(data: WindowData) -> tuple[object, ...]:
    """All that a decision may read: not the mean and the squares, whose last bits depend on the cut."""
    profile = data.profile
    arrays = (
        profile.counts,
        profile.unreadable,
        profile.absent,
        profile.moments.finite,
        profile.moments.low,
        profile.moments.high,
        profile.joint.sums,
        profile.joint.products,
    )
    times = np.array([data.first_at, data.last_at])
    return (*(array.tobytes() for array in (*arrays, times)), profile.rows, profile.joint.rows, data.foreign)


@settings(max_examples=100, phases=NO_SHRINKING)
@given(st.data())
def test_any_cut_into_batches_gives_the_same(data: st.DataObject) -> None:
    """Counts, joint sums and the cohort are the same bits, however rows are cut, ordered and merged."""
    table = data.draw(tables())
    whole = [batch_of(table)]
    parts = data.draw(cuts(table))
    expected = WindowData.from_bytes(profile_batches(whole, PROFILE.to_json()))
    assert expected.fault_within(LAYOUT, START, END) is None
    assert bits(WindowData.from_bytes(profile_batches(parts, PROFILE.to_json()))) == bits(expected)
    merged = [WindowData.from_bytes(profile_batches([part], PROFILE.to_json())) for part in parts]
    total = merged[0]
    for part in merged[1:]:
        total = part.merge(total)
    assert bits(total) == bits(expected)
    cohort = cohort_batches(whole, COHORT.to_json())
    assert cohort_batches(parts, COHORT.to_json()) == cohort
    several = [Cohort.from_bytes(cohort_batches([part], COHORT.to_json())) for part in parts]
    assert fold_cohorts(several, SCHEMA, COHORT.most).to_bytes() == cohort
    assert fold_cohorts(several[::-1], SCHEMA, COHORT.most).to_bytes() == cohort


@settings(max_examples=40, phases=NO_SHRINKING)
@given(tables())
def test_they_give_what_the_rows_give(table: pa.Table) -> None:
    """The counts are those of the rows of the window, as the local sources count them; and so is the cohort."""
    rows = Rows.read(table, RowNames(), SCHEMA)
    inside = (rows.outcomes.at >= START) & (rows.outcomes.at < END)
    cut = [table.slice(place, 1) for place in np.flatnonzero(inside)]
    kept = Rows.read(pa.concat_tables([table.slice(0, 0), *cut]), RowNames(), SCHEMA)
    local = summarise_rows(kept.columns, kept.outcomes, SCHEMA, LAYOUT, SERVED)
    assert bits(WindowData.from_bytes(profile_batches([batch_of(table)], PROFILE.to_json()))) == bits(local)
    cohort = Cohort.from_bytes(cohort_batches([batch_of(table)], replace(COHORT, most=100).to_json()))
    known = kept.outcomes.labelled & ~(kept.outcomes.label_at > COHORT.known_by)
    assert (cohort.total, cohort.labelled) == (len(kept), int(known.sum()))
    assert cohort.foreign == SERVED.foreign_rows(kept.outcomes)
    assert sorted(cohort.outcomes.at.tolist()) == sorted(kept.outcomes.at.tolist())


def every_type() -> list[tuple[str, str]]:
    return [(name, kind) for name, kinds in {**FEATURES, **OF_PREDICTIONS}.items() for kind in kinds]


@pytest.mark.parametrize(("name", "kind"), every_type(), ids=" as ".join)
def test_every_arrow_type_is_read(name: str, kind: str) -> None:
    """A column of each type that an engine may give is counted: each row is in one bin or the column is absent."""
    chosen, values = {**FEATURES, **OF_PREDICTIONS}[name][kind]
    column = array_of(chosen, range(len(values)), values)
    plain = {"prediction": pa.array(["1"] * len(values)), "prediction_id": pa.array(range(len(values)))}
    batch = batch_of(pa.table({"at": pa.array([START + 1.0] * len(values)), **plain, name: column}))
    found = WindowData.from_bytes(profile_batches([batch], PROFILE.to_json()))
    assert found.profile.rows == len(values)
    assert found.fault_within(LAYOUT, START, END) is None
    cohort = Cohort.from_bytes(cohort_batches([batch], replace(COHORT, most=50).to_json()))
    assert cohort.total == len(values)


def test_decimals_are_the_nearest_floats() -> None:
    """A decimal falls into the bin of its number: Arrow's own cast would make 0.5700000000000001 of 0.57."""
    cents = [Decimal(cent) / 100 for cent in range(1, 2000)]
    columns = [pa.array(cents, pa.decimal128(38, 10)), pa.array([float(cent) for cent in cents])]
    plain = {"at": pa.array([START] * len(cents)), "prediction": pa.array(["1"] * len(cents))}
    counted = [
        WindowData.from_bytes(profile_batches([batch_of(pa.table({**plain, "price": column}))], PROFILE.to_json()))
        for column in columns
    ]
    assert bits(counted[0]) == bits(counted[1])


def test_nothing_is_a_window_too() -> None:
    """Without batches, and with empty ones, the window is empty and the cohort too."""
    empty = pa.RecordBatch.from_pydict({"at": pa.array([], pa.float64())})
    for batches in ([], [empty]):
        found = WindowData.from_bytes(profile_batches(batches, PROFILE.to_json()))
        assert (found.profile.rows, found.foreign, np.isnan(found.first_at)) == (0, 0, True)
        assert found.fault_within(LAYOUT, START, END) is None
        assert Cohort.from_bytes(cohort_batches(batches, COHORT.to_json())).total == 0


def test_rows_without_a_time_are_in_no_window() -> None:
    """Batches without the column of times have no row of any window."""
    batch = pa.RecordBatch.from_pydict({"prediction": pa.array(["1", "0"])})
    assert WindowData.from_bytes(profile_batches([batch], PROFILE.to_json())).profile.rows == 0


def test_labels_that_were_not_known_by_then_are_missing() -> None:
    """A label counts from its time on; one that came before its row counts; one without a time came with its row."""
    batch = pa.RecordBatch.from_pydict(
        {
            "prediction_id": pa.array(["a", "b", "c", "d"]),
            "at": pa.array([START + 1.0] * 4),
            "prediction": pa.array(["1"] * 4),
            "label": pa.array(["1", "0", "1", "0"]),
            "label_at": pa.array([START - 50, START + 100, START + 200, None]),
        }
    )
    found = Cohort.from_bytes(cohort_batches([batch], replace(COHORT, known_by=START + 100).to_json()))
    assert (found.total, found.labelled, found.newest_label_at) == (4, 3, START + 100)


def test_a_regression() -> None:
    """Numbers as predictions and labels: a label is missing where it is no number."""
    schema = Schema(Task.REGRESSION, "y", SCHEMA.features)
    batch = pa.RecordBatch.from_pydict(
        {
            "prediction_id": pa.array([1, 2, 3]),
            "at": pa.array([START + 1.0] * 3),
            "prediction": pa.array([Decimal("1.5"), None, Decimal("-2.25")], pa.decimal128(38, 10)),
            "label": pa.array([1.0, float("nan"), -np.inf]),
        }
    )
    job = CohortJob(schema, SERVED, START, END, END)
    found = Cohort.from_bytes(cohort_batches([batch], job.to_json()))
    assert (found.total, found.labelled) == (3, 2)
    assert cohort_batches([batch.slice(2), batch.slice(0, 2)], job.to_json()) == found.to_bytes()


def test_rows_without_identities_are_drawn_one_by_one() -> None:
    """Rows that name no identity are no block that is drawn together, and no cut changes which are drawn."""
    rng = np.random.default_rng(4)
    batch = pa.RecordBatch.from_pydict(
        {"at": START + rng.random(4000) * 3000, "prediction": pa.array(["1"] * 4000), "score": rng.random(4000)}
    )
    job = replace(COHORT, most=1000).to_json()
    whole = cohort_batches([batch], job)
    assert cohort_batches([batch.slice(1500), batch.slice(0, 1500)], job) == whole
    found = Cohort.from_bytes(whole)
    assert (found.total, found.outcomes.rows, len(np.unique(found.hashes))) == (4000, 1000, 1000)
    assert abs(found.outcomes.at.mean() - (START + 1500)) < 5 * 3000 / np.sqrt(12 * 1000)


def test_texts_of_rows_that_are_not_kept_are_let_go() -> None:
    """A category of a text for each row does not grow a sample beyond its rows; nor do labels that are no class."""
    batches = [
        pa.RecordBatch.from_pydict(
            {
                "prediction_id": pa.array([f"{part}-{row}" for row in range(500)]),
                "at": pa.array([START + 1.0] * 500),
                "prediction": pa.array(["1"] * 500),
                "label": pa.array([f"stray {part}-{row}" for row in range(500)]),
                "city": pa.array([f"city {part}-{row}" for row in range(500)]),
            }
        )
        for part in range(20)
    ]
    found = Cohort.from_bytes(cohort_batches(batches, replace(COHORT, most=50).to_json()))
    city = found.columns.values["city"]
    assert isinstance(city, Coded)
    assert (found.total, found.labelled) == (10_000, 10_000)
    assert len(city.labels) == len(found.outcomes.unseen) == 50
    told = found.outcomes.texts(found.outcomes.label)
    assert {told.labels[code].removeprefix("stray") for code in told.codes} == {
        city.labels[code].removeprefix("city") for code in city.codes
    }


def test_hashes_stay_what_they_are() -> None:
    """The hash of a text is the same on every host and in every release: samples that merge depend on it."""
    texts = pa.array(["", None, "a", "abcdefgh", "abcdefghi", "Köln 東京", "x" * 100])
    expected = [
        12035550249420947055,
        12035550249420947055,
        10443419574614846231,
        18089155871505213322,
        14566769619556341339,
        18119464830819915942,
        18152698782124382159,
    ]
    assert hash_texts(texts).tolist() == expected
    assert hash_texts(pa.array(["no", *texts.to_pylist()]).slice(1)).tolist() == expected
    assert hash_texts(pa.chunked_array([texts.cast(pa.large_string())]).combine_chunks()).tolist() == expected
    assert len({*hash_texts(texts, 1).tolist(), *expected}) == 12
    numbers = hash_numbers(np.array([0, 1, -1]), 0)
    assert numbers.tolist() == [12035550249420947055, 627405149472732430, 3303439293501059696]
    published = mix(np.array([0, 0x9E3779B97F4A7C15], dtype=np.uint64))  # the first two numbers of SplitMix64 from 0
    assert published.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@settings(max_examples=40)
@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=30), st.integers(0, 2**63))
def test_each_text_has_its_own_hash(texts: list[str | None], seed: int) -> None:
    """A hash depends on its text and the seed alone, not on its neighbours; different texts have different ones."""
    together = hash_texts(pa.array(texts, pa.string()), seed).tolist()
    assert together == [hash_texts(pa.array([text], pa.string()), seed)[0] for text in texts]
    assert len(set(together)) == len({text or "" for text in texts})


def test_jobs_come_back_as_they_were() -> None:
    """A job that went through JSON is the same; one of another version, or a damaged one, is refused."""
    served = ServedBy(3, frozenset({1, 2}), START)
    profile = replace(PROFILE, served=served, names=RowNames(id="key"))
    assert ProfileJob.from_json(profile.to_json()) == profile
    cohort = replace(COHORT, served=served, known_by=np.inf, seed=2**40)
    assert CohortJob.from_json(cohort.to_json()) == cohort
    for job, read in ((profile.to_json(), ProfileJob.from_json), (cohort.to_json(), CohortJob.from_json)):
        with pytest.raises(DetectorError, match=r"version 99.*install the driftd of the daemon"):
            read(json.dumps({**json.loads(job), "batches": 99}))
        for key in json.loads(job):
            with pytest.raises(DetectorError):
                read(json.dumps({name: value for name, value in json.loads(job).items() if name != key}))
        for text in ("", "null", "[]", "{}", job[:-9], "[" * 100_000):
            with pytest.raises(DetectorError):
                read(text)


def some_batch() -> pa.RecordBatch:
    rng = np.random.default_rng(1)
    return pa.RecordBatch.from_pydict(
        {
            "prediction_id": pa.array([f"p{row}" for row in range(200)]),
            "at": START + np.arange(200.0),
            "prediction": rng.choice(["0", "1", "2"], 200),
            "score": rng.random(200),
            "label": rng.choice(["0", "1", "3"], 200),
            "price": rng.normal(size=200),
            "city": rng.choice(["Köln", "x"], 200),
        }
    )


WINDOW_BYTES = profile_batches([some_batch()], PROFILE.to_json())
COHORT_BYTES = cohort_batches([some_batch()], replace(COHORT, most=50).to_json())
READERS: list[tuple[bytes, Callable[[bytes], object]]] = [
    (WINDOW_BYTES, lambda stored: WindowData.from_bytes(stored).fault_within(LAYOUT, START, END)),
    (COHORT_BYTES, Cohort.from_bytes),
    (WindowData.from_bytes(WINDOW_BYTES).profile.to_bytes(), Profile.from_bytes),
]


def damaged(stored: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with some changed, cut off, or put in, and other bytes."""
    place = st.integers(0, len(stored) - 1)

    def changed(changes: Sequence[tuple[int, int]]) -> bytes:
        array = bytearray(stored)
        for at, value in changes:
            array[at] = value
        return bytes(array)

    near_the_head = st.integers(0, min(len(stored), 900) - 1)
    return st.one_of(
        st.lists(st.tuples(st.one_of(place, near_the_head), st.integers(0, 255)), min_size=1, max_size=4).map(changed),
        place.map(lambda at: stored[:at]),
        st.tuples(place, st.binary(min_size=1, max_size=9)).map(
            lambda put: stored[: put[0]] + put[1] + stored[put[0] :]
        ),
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda more: stored[:8] + more),
    )


@pytest.mark.parametrize("reader", range(len(READERS)), ids=["window", "cohort", "profile"])
@settings(max_examples=200, phases=NO_SHRINKING)
@given(st.data())
def test_damaged_bytes_are_refused_in_one_way(reader: int, data: st.DataObject) -> None:
    """Bytes that nobody wrote give a DetectorError or what they seem to be; no other exception."""
    stored, read = READERS[reader]
    try:
        read(data.draw(damaged(stored)))
    except DetectorError as error:
        assert str(error)  # noqa: PT017 - that it is the only exception is the claim


def test_bytes_of_another_version_are_refused() -> None:
    """What another version of the functions wrote is refused with what to do."""
    for stored, read in ((WINDOW_BYTES, WindowData.from_bytes), (COHORT_BYTES, Cohort.from_bytes)):
        other = stored.replace(b'"batches":1', b'"batches":2')
        with pytest.raises(DetectorError, match="make them with its"):
            read(other)
    with pytest.raises(DetectorError, match="make them with its"):
        WindowData.from_bytes(COHORT_BYTES)
    with pytest.raises(DetectorError, match="make them with its"):
        Cohort.from_bytes(WINDOW_BYTES)


def test_counts_that_no_rows_give_are_told() -> None:
    """Another layout, rows of another time, and counts that do not add up are each a fault of the window."""
    found = WindowData.from_bytes(WINDOW_BYTES)
    assert found.fault_within(LAYOUT, START, END) is None
    assert "the layout" in str(found.fault_within(layout_of(300), START, END))
    assert "not in its window" in str(found.fault_within(LAYOUT, START + 10, END))
    assert "not in its window" in str(found.fault_within(LAYOUT, START, START + 10))
    counts = found.profile.counts.copy()
    counts[0] += 1
    for profile in (
        replace(found.profile, counts=counts),
        replace(found.profile, counts=found.profile.counts[1:]),
        replace(found.profile, absent=-found.profile.absent - 1),
        replace(found.profile, joint=replace(found.profile.joint, rows=10**6)),
    ):
        assert "no rows can give" in str(replace(found, profile=profile).fault_within(LAYOUT, START, END))
    assert "no rows can give" in str(replace(found, foreign=201).fault_within(LAYOUT, START, END))


WORKER = """
import importlib.abc, sys

class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"numpy", "pyarrow", "driftd_detectors"} or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ImportError(f"a worker has no {name}")

sys.meta_path.insert(0, Refused())
import numpy, pyarrow as pa
from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.profile_batches import profile_batches

jobs = [open(path).read() for path in sys.argv[1:3]]
batches = pa.ipc.open_stream(sys.stdin.buffer).read_all().to_batches()
for function, job in zip((profile_batches, cohort_batches), jobs):
    sys.stdout.write(function(batches, job).hex() + "\\n")
loaded = {name.partition(".")[0] for name in sys.modules} & {"scipy", "pandas", "sklearn", "msgspec", "structlog"}
assert not loaded, loaded
"""


def test_a_worker_has_numpy_and_pyarrow_alone(tmp_path: object) -> None:
    """In a process that can import nothing else, both functions give the same bytes."""
    paths = [f"{tmp_path}/profile.json", f"{tmp_path}/cohort.json"]
    cohort = replace(COHORT, most=50)
    for path, job in zip(paths, (PROFILE.to_json(), cohort.to_json()), strict=True):
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(job)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, some_batch().schema) as writer:
        writer.write_batch(some_batch())
    done = subprocess.run(
        [sys.executable, "-c", WORKER, *paths],
        input=sink.getvalue().to_pybytes(),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert [bytes.fromhex(line) for line in done.stdout.decode().split()] == [WINDOW_BYTES, COHORT_BYTES]
