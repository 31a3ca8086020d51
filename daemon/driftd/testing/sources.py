"""What driftd expects of a source: spans that add up, labels as they were known, the same rows each time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from driftd.plugin_protocols import RowExtent, RowQuery, SourcePlugin
from driftd_detectors.batches.arrow_columns import read_times

FEWEST_ROWS, FEWEST_LABELS = 20, 5
MOST_ROWS = 1_000_000  # of one batch: the memory of a check is bounded by it
Row = dict[str, Any]
_IDENTITY, _AT, _LABEL, _LABEL_AT = "prediction_id", "at", "label", "label_at"


@dataclass(frozen=True, slots=True)
class _Kit:
    """A source under test, and what every question asks for."""

    source: SourcePlugin
    columns: tuple[str, ...]

    def read(self, start: float, end: float, known_by: float | None = None) -> dict[str, Row]:
        """The rows of a span by their identities. Raises AssertionError with what does not hold."""
        query = RowQuery(self.columns, start, end, known_by)
        rows: dict[str, Row] = {}
        for part in self.source.rows(query):
            assert isinstance(part, pa.Table | pa.RecordBatch), f"rows are tables of Arrow, not {type(part).__name__}"
            table = pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part
            assert len(table) <= MOST_ROWS, f"a batch has {len(table):,} rows: give at most {MOST_ROWS:,} at once"
            owed = (*self.columns, *((_LABEL, _LABEL_AT) if known_by is not None else ()))
            lacking = [name for name in owed if name not in table.column_names]
            assert not lacking, f"a batch lacks the column {lacking[0]!r}; it has {table.column_names}"
            at = read_times(table.column(_AT))
            assert np.isfinite(at).all(), "a row has no time that can be read (at: epoch seconds, or timestamps)"
            for row, moment in zip(table.select(owed).to_pylist(), at.tolist(), strict=True):
                identity = str(row[_IDENTITY])
                assert start <= moment < end, f"{identity} is of {moment}, which is not in {start} <= at < {end}"
                assert identity not in rows, f"{identity} came twice: a prediction comes once, with its newest label"
                rows[identity] = {**row, _AT: moment}
        return rows


def check_source(make: Callable[[], SourcePlugin], *, features: Sequence[str] = ()) -> None:
    """Hold a source to what driftd expects of it. Raises AssertionError with what does not hold.

    Parameters
    ----------
    make
        Gives the source anew, as driftd does in each of its processes. At least 20 predictions lie there, and labels
        for some of them; nothing is written while it is checked.
    features
        Names of features that its rows have.
    """
    source = make()
    extent = source.extent()
    first, newest = _check_extent(extent)
    kit = _Kit(source, (_IDENTITY, _AT, "prediction", *features))
    rows = kit.read(first, math.nextafter(newest, math.inf))
    assert len(rows) >= FEWEST_ROWS, f"the extent has {len(rows)} rows: let there be at least {FEWEST_ROWS}"
    _check_spans(kit, rows, first, newest)
    _check_labels(kit, rows, first, newest)
    source.close()
    assert kit.read(first, math.nextafter(newest, math.inf)) == rows, "the same question gave other rows after close()"
    other = _Kit(make(), kit.columns)
    assert other.read(first, math.nextafter(newest, math.inf)) == rows, "another instance gave other rows"
    assert other.source.extent() == extent, "another instance gave another extent"
    other.source.close()
    source.close()


def _check_extent(extent: RowExtent) -> tuple[float, float]:
    assert isinstance(extent, RowExtent), f"extent() gives a RowExtent, not {type(extent).__name__}"
    first, newest = extent.first_at, extent.newest_at
    assert first is not None and newest is not None, "the extent is empty: let there be rows"  # noqa: PT018 - one fault
    assert math.isfinite(first) and math.isfinite(newest), "times of the extent are epoch seconds"  # noqa: PT018
    assert first <= newest, f"the extent ends ({newest}) before it begins ({first})"
    return first, newest


def _check_spans(kit: _Kit, rows: dict[str, Row], first: float, newest: float) -> None:
    times = sorted(row[_AT] for row in rows.values())
    assert (times[0], times[-1]) == (first, newest), "the extent is not that of the rows: first_at and newest_at"
    assert not kit.read(first - 1000, first), "there are rows before the extent, or a span includes its end"
    assert not kit.read(math.nextafter(newest, math.inf), newest + 1000), "there are rows after the extent"
    cuts = [first, times[len(times) // 3], times[len(times) // 2], math.nextafter(newest, math.inf)]
    parts = [kit.read(start, end) for start, end in pairwise(cuts)]
    found = {identity: row for part in parts for identity, row in part.items()}
    assert sum(map(len, parts)) == len(rows), "spans that touch do not add up: start <= at < end"
    assert found == rows, "a row reads otherwise in a shorter span"


def _check_labels(kit: _Kit, rows: dict[str, Row], first: float, newest: float) -> None:
    end = math.nextafter(newest, math.inf)
    known = kit.read(first, end, math.inf)
    assert {identity: _without_label(row) for identity, row in known.items()} == rows, (
        "asking for labels changes which rows come: rows without a label come too, with nulls"
    )
    times = sorted(_label_time(row) for row in known.values() if row[_LABEL] is not None)
    assert len(times) >= FEWEST_LABELS, f"{len(times)} rows have labels: let there be at least {FEWEST_LABELS}"
    for known_by in (times[0] - 1.0, times[len(times) // 2], times[-1]):
        then = kit.read(first, end, known_by)
        assert then.keys() == rows.keys(), "which rows come depends on when labels were known"
        for identity, row in then.items():
            if row[_LABEL] is None:
                assert row[_LABEL_AT] is None or _label_time(row) > known_by, f"{identity} has a time of no label"
            else:
                assert _label_time(row) <= known_by, (
                    f"{identity} has a label of {_label_time(row)}, which was not known by {known_by}"
                )
        early = [identity for identity, row in known.items() if _label_time(row) <= known_by]
        assert all(then[identity][_LABEL] == known[identity][_LABEL] for identity in early), (
            "a label that was known by then is missing, or is another one"
        )


def _without_label(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in (_LABEL, _LABEL_AT)}


def _label_time(row: Row) -> float:
    if row[_LABEL] is None:
        return math.inf
    return float(read_times(pa.array([row[_LABEL_AT]]))[0])
