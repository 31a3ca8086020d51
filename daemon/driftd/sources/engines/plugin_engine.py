"""The rows of a source that an installed package brings, as an engine: driftd's functions count them here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftd.config.plugin_schema import PluginSourceConfig
from driftd.entry_points import PluginError, blame, find_plugin, load_plugin
from driftd.formatting import format_duration
from driftd.plugin_protocols import RowQuery, SourcePlugin
from driftd.sources.engines.protocol import EngineError, EngineExtent, Function, Query
from driftd_detectors.batches.arrow_columns import read_times
from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.profile_batches import profile_batches
from driftd_detectors.batches.rows import RowNames

_FUNCTIONS = {"profile_batches": profile_batches, "cohort_batches": cohort_batches}


class PluginEngine:
    """See `Engine`. What the plug-in gives beyond what was asked is cut off here, what it owes is told by name."""

    def __init__(self, settings: PluginSourceConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._names = RowNames(**{str(key): name for key, name in settings.columns.items()})
        self._source: SourcePlugin | None = None
        self._is_cancelled = False
        self._monotonic = monotonic

    def look(self, since: float | None) -> EngineExtent:
        """See `Engine.look`."""
        with self._open() as source:
            found = source.extent()
            newest = found.newest_at if since is None else max(since, found.newest_at or since)
            return EngineExtent(found.first_at, newest, found.newest_label_at)

    def map(self, query: Query, function: Function, job: str) -> Iterator[bytes]:
        """See `Engine.map`: the rows are one partition, which is counted here."""
        yield _FUNCTIONS[function](self.read(query), job)

    def read(self, query: Query) -> Iterator[pa.RecordBatch]:
        """See `Engine.read`."""
        names, ends_at = self._names, self._monotonic() + self._settings.timeout
        columns = tuple(dict.fromkeys((*query.columns, names.at)))
        self._is_cancelled = False
        with self._open() as source:
            for part in source.rows(RowQuery(columns, query.start, query.end, query.known_by)):
                self._check(ends_at)
                rows = self._cut(pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part, query)
                yield from rows.to_batches()

    def _cut(self, rows: pa.Table, query: Query) -> pa.Table:
        """The rows of the span that was asked for, with the labels that were known by then and no others."""
        names = self._names
        wanted = [names.at] if query.known_by is None else [names.at, names.label, names.label_at]
        lacking = [name for name in wanted if name not in rows.column_names]
        if lacking:
            raise PluginError(f"it gave rows without the column {lacking[0]!r}; their columns: {rows.column_names}")
        at = read_times(rows.column(names.at))
        inside = (at >= query.start) & (at < query.end)
        if query.known_by is not None:
            label_at = read_times(rows.column(names.label_at))
            known = np.nan_to_num(label_at, nan=math.inf) <= query.known_by
            for name in (names.label, names.label_at):
                column = rows.column(name)
                masked = pc.if_else(pa.array(known), column, pa.scalar(None, column.type))
                rows = rows.set_column(rows.column_names.index(name), name, masked)
            if query.labelled_only:
                inside &= np.asarray(pc.is_valid(rows.column(names.label)).to_numpy(zero_copy_only=False))
        return rows if inside.all() else rows.filter(pa.array(inside))

    def count(self, query: Query) -> int:
        """See `Engine.count`."""
        return sum(len(batch) for batch in self.read(replace(query, columns=())))

    def newest_labelled(self, rows: int, query: Query) -> float | None:
        """See `Engine.newest_labelled`."""
        newest = np.empty(0)
        for batch in self.read(replace(query, columns=())):
            newest = np.sort(np.concatenate([newest, read_times(pa.chunked_array([batch.column(self._names.at)]))]))[
                -rows:
            ]
        return float(newest[0]) if len(newest) == rows else None

    def versions(self) -> dict[str, str]:
        """The package that read the rows: it is in the lineage of what is made of them."""
        plugin = self._plugin()
        return {f"{plugin.kind} {plugin.name}": f"{plugin.distribution} {plugin.version}"}

    def keep(self, name: str) -> None:
        """Rows of a plug-in have no versions that could stay."""
        raise EngineError(f"the source {self._settings.plugin} keeps no versions of its rows (asked to keep {name})")

    def cancel(self) -> None:
        """See `Engine.cancel`: the next batch is the last."""
        self._is_cancelled = True

    def close(self) -> None:
        """See `Engine.close`."""
        source, self._source = self._source, None
        if source is not None:
            with self._blame():
                source.close()

    def _plugin(self) -> Any:
        try:
            return find_plugin("source", self._settings.plugin)
        except PluginError as error:
            raise EngineError(str(error)) from error

    @contextmanager
    def _open(self) -> Iterator[SourcePlugin]:
        with self._blame():
            if self._source is None:
                self._source = load_plugin("source", self._settings.plugin)(dict(self._settings.options))
            yield self._source

    @contextmanager
    def _blame(self) -> Iterator[None]:
        plugin = self._plugin()
        try:
            with blame(plugin):
                yield
        except PluginError as error:
            said = str(error)
            raise EngineError(said if str(plugin) in said else f"{plugin}: {said}") from error.__cause__

    def _check(self, ends_at: float) -> None:
        if self._is_cancelled:
            raise EngineError("reading was cancelled")
        if self._monotonic() > ends_at:
            limit = format_duration(self._settings.timeout)
            raise EngineError(f"the source {self._settings.plugin} took longer than source.timeout ({limit})")
