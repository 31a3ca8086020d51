"""Rows in one order, each once, however many: sorted runs, on the disk where they are many, and their merge."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

RUN_BYTES = 32 << 20  # of rows that are sorted at once
BLOCK_BYTES = 1 << 20  # of each run that is merged
_ORDER = "driftd_order"  # in which the rows came: of rows that are alike the last one counts
_KEY = ("driftd_at", "driftd_id", _ORDER)
_CANDIDATES = 500_000  # rows whose identities are compared at once

Order = NDArray[np.int64]
Key = tuple[float, bool, str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """Sorted rows, in memory or in a file, with a hash of each identity; `first` is the key of the first row."""

    rows: pa.Table | Path
    hashes: Order
    first: Key

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows in their order, piece by piece; only some columns where these are named."""
        if isinstance(self.rows, pa.Table):
            yield self.rows if columns is None else self.rows.select(list(columns))
            return
        with pa.OSFile(str(self.rows)) as file:
            fields = pa.ipc.open_file(file).schema
            wanted = None if columns is None else sorted(fields.get_field_index(name) for name in columns)
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=wanted))
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])


class RowRuns:
    """Collects rows of one form, and gives them back by `driftd_at` and `driftd_id`, each identity once.

    Of rows with one `driftd_id` that stays whose label came last; rows without an identity all stay. The memory is
    that of one run and of a block of each, and eight bytes a row; what does not fit goes to `folder`. Without a folder
    all is kept in memory.
    """

    def __init__(self, fields: pa.Schema, folder: Path | None, run_bytes: int = RUN_BYTES) -> None:
        self._fields = fields.append(pa.field(_ORDER, pa.int64()))
        self._folder = folder
        self._run_bytes = run_bytes
        self._waiting: list[pa.Table] = []
        self._size = self._came = 0
        self._runs: list[Run] = []
        self._replaced: Order = np.empty(0, dtype=np.int64)

    def add(self, table: pa.Table) -> None:
        """Take some rows, in the form that all have."""
        order = pa.array(np.arange(self._came, self._came + len(table)))
        self._came += len(table)
        self._waiting.append(table.append_column(_ORDER, order))
        self._size += table.nbytes
        if self._folder is not None and self._size >= self._run_bytes:
            self._end_run(self._folder / f"run-{len(self._runs)}.arrow")

    def finish(self) -> int:
        """Find the rows that others replace, when all were added; returns how many stay."""
        if self._waiting:
            self._end_run(None)
        self._replaced = self._find_replaced()
        return self._came - len(self._replaced)

    @property
    def is_on_disk(self) -> bool:
        """Whether the rows were too many for one run."""
        return len(self._runs) > 1

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows in any order, or some columns of them, without those that others replace."""
        wanted = None if columns is None else [*columns, _ORDER]
        for run in self._runs:
            for block in run.blocks(wanted):
                yield self._drop_replaced(block)

    def merge(self) -> Iterator[pa.Table]:
        """The rows in order, piece by piece."""
        waiting = sorted(self._runs, key=lambda run: run.first)
        open_runs: list[_OpenRun] = []
        while waiting or open_runs:
            while waiting and (not open_runs or waiting[0].first <= min(run.last for run in open_runs)):
                open_runs.append(_OpenRun(waiting.pop(0)))
            bound = min(run.last for run in open_runs)  # what was not read yet comes after it
            pieces = [piece for run in open_runs if len(piece := run.take_until(bound))]
            open_runs = [run for run in open_runs if run.advance()]
            table = pieces[0] if len(pieces) == 1 else _sort_rows(pieces)
            yield self._drop_replaced(table)

    def _drop_replaced(self, table: pa.Table) -> pa.Table:
        if len(self._replaced):
            table = table.filter(pa.array(~_among(table[_ORDER].to_numpy(), self._replaced)))
        return table.drop_columns([_ORDER])

    def _end_run(self, path: Path | None) -> None:
        table = _sort_rows(self._waiting)
        self._waiting, self._size = [], 0
        rows: pa.Table | Path = table
        if path is not None:
            size = max(1, BLOCK_BYTES * len(table) // max(1, table.nbytes))
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with pa.ipc.new_file(str(path), table.schema, options=options) as file:
                file.write_table(table, max_chunksize=size)
            rows = path
        self._runs.append(Run(rows, _hashes(table), _key_at(table, 0)))
        pa.default_memory_pool().release_unused()

    def _find_replaced(self) -> Order:
        """The rows, by the order in which they came, whose identity another row has with a newer label."""
        hashes = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *(run.hashes for run in self._runs)]))
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        if len(repeated) == 0:
            return np.empty(0, dtype=np.int64)
        parts = math.ceil(2 * len(repeated) / _CANDIDATES)
        found = [_replaced_in(self._candidates(part)) for part in np.array_split(np.unique(repeated), parts)]
        return np.sort(np.concatenate(found))

    def _candidates(self, hashes: Order) -> pa.Table:
        """Identity, time of the label and order of the rows whose identity has one of some sorted hashes."""
        names = ["driftd_id", "driftd_label_at", _ORDER]
        pieces = [self._fields.empty_table().select(names)]
        for run in self._runs:
            place = 0
            for block in run.blocks(names):
                inside = _among(run.hashes[place : place + len(block)], hashes)
                pieces.append(block.select(names).filter(pa.array(inside)))
                place += len(block)
        return pa.concat_tables(pieces).combine_chunks()


class _OpenRun:
    """The block of a run that is being merged."""

    def __init__(self, run: Run) -> None:
        self._blocks = run.blocks()
        self._begin(next(self._blocks))

    def _begin(self, block: pa.Table) -> None:
        self._block = block
        self._at = block["driftd_at"].to_numpy()
        self.last = _key_at(block, len(block) - 1)

    def take_until(self, bound: Key) -> pa.Table:
        """The rows up to a key, which this then no longer has."""
        low, high = (int(np.searchsorted(self._at, bound[0], side=side)) for side in ("left", "right"))
        count = low + bisect_right(range(low, high), bound, key=lambda place: _key_at(self._block, place))
        taken = self._block.slice(0, count)
        self._block, self._at = self._block.slice(count), self._at[count:]
        return taken

    def advance(self) -> bool:
        """Go on to the next block where this one is used up; whether there are rows left."""
        if len(self._block) == 0:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._begin(block)
        return True


def _sort_rows(pieces: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(pieces).sort_by([(name, "ascending") for name in _KEY]).combine_chunks()


def _key_at(table: pa.Table, row: int) -> Key:
    """What rows are sorted by; a row without an identity comes after those of its moment that have one."""
    at, name, order = (table[column][row].as_py() for column in _KEY)
    return at, name is None, name or "", order


def _hashes(table: pa.Table) -> Order:
    """A hash of each identity; rows without one have none that repeats."""
    order = table[_ORDER].to_numpy()
    names = table["driftd_id"].to_pylist()
    return np.fromiter(
        (-2 - int(place) if name is None else hash(name) for name, place in zip(names, order, strict=True)),
        dtype=np.int64,
        count=len(names),
    )


def _among(values: Order, known: Order) -> NDArray[np.bool_]:
    """Whether each value is one of some sorted ones."""
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.asarray(known[places] == values)


def _replaced_in(table: pa.Table) -> Order:
    """Of rows with one identity, all but that whose label came last, by their order."""
    codes = table["driftd_id"].combine_chunks().dictionary_encode().indices
    names = codes.fill_null(-1).to_numpy(zero_copy_only=False)
    label_at = table["driftd_label_at"].fill_null(float("-inf")).to_numpy()
    came = table[_ORDER].to_numpy()
    order = np.lexsort((came, label_at, names))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (names[order][1:] != names[order][:-1]) | (names[order][:-1] == -1)
    return np.asarray(came[order[~last]])


def usable_rows(table: pa.Table, needed: str) -> pa.Table:
    """The rows that have a finite time and a value, finite where it is a number, in the column `needed`."""
    usable = pc.and_(pc.is_finite(table["driftd_at"]), pc.is_valid(table[needed]))
    if pa.types.is_floating(table.schema.field(needed).type):
        usable = pc.and_(usable, pc.is_finite(table[needed]))
    return table.filter(pc.fill_null(usable, fill_value=False))
