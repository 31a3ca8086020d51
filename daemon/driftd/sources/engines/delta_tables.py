"""Delta tables by their own library: each version is a set of files; what it cannot read is refused, never misread."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from driftd.config.object_store_schema import ObjectStoreConfig, scheme_of
from driftd.sources.engines.protocol import EngineError
from driftd.sources.engines.sql_connections import need_library
from driftd.sources.engines.table_engine import first_line
from driftd.sources.engines.table_files import BATCH_ROWS, DataFile, has_order, near_key, value_near
from driftd.sources.store_client import StorePlace, aws_keys, endpoint_of
from driftd_detectors.batches.arrow_columns import read_times

if TYPE_CHECKING:
    from driftd.config.source_schema import DeltaSourceConfig, Partition

_BUFFER_BYTES = 2**18  # of each column of the file that is read
_ELSEWHERE = "read it by source: {kind: spark}"
_REFUSED = {
    "deletionVectors": "it may mark rows as deleted beside its files (deletion vectors): ALTER TABLE ... SET "
    "TBLPROPERTIES ('delta.enableDeletionVectors' = false), then REORG TABLE ... APPLY (PURGE) and ALTER TABLE ... "
    f"DROP FEATURE deletionVectors; or {_ELSEWHERE}",
    "columnMapping": f"its columns have other names in its files (column mapping): {_ELSEWHERE}",
}


class DeltaFiles:
    """See `PinnedTable`."""

    def __init__(self, name: str, table: Any, partition: Partition | None) -> None:
        self.name = name
        self.version = str(table.version())
        self._partition = partition
        dataset = table.to_pyarrow_dataset()
        self.schema: pa.Schema = dataset.schema
        self._fragments = {fragment.path: fragment for fragment in dataset.get_fragments()}
        self._added = pa.table(table.get_add_actions(flatten=True))
        configuration = table.metadata().configuration or {}
        self._retention = configuration.get("delta.deletedFileRetentionDuration", "a week")
        self._known: dict[str, list[DataFile]] = {}

    def files(self, column: str) -> Sequence[DataFile]:
        """See `PinnedTable.files`: in the order of their earliest times, then of their commits."""
        if column not in self._known:
            self._known[column] = self._files(column)
        return self._known[column]

    def batches(
        self, file: DataFile, columns: Sequence[str], column: str, start: float, end: float
    ) -> Iterator[pa.RecordBatch]:
        """See `PinnedTable.batches`."""
        import pyarrow.dataset as ds  # noqa: PLC0415 - only where such tables are read

        kind, condition = self.schema.field(column).type, None
        low, high = value_near(start, kind, after=False), value_near(end, kind, after=True)
        if low is not None:
            condition = ds.field(column) >= low
        if high is not None:
            until = ds.field(column) <= high
            condition = until if condition is None else condition & until
        scanner = file.handle.scanner(
            schema=self.schema,
            columns=list(columns),
            filter=condition,
            batch_size=BATCH_ROWS,
            batch_readahead=1,
            use_threads=False,
            fragment_scan_options=ds.ParquetFragmentScanOptions(
                use_buffered_stream=True, buffer_size=_BUFFER_BYTES, pre_buffer=False
            ),
        )
        yield from scanner.to_batches()

    def keep(self, name: str) -> None:  # noqa: ARG002 - nothing can be named there
        """See `PinnedTable.keep`: Delta has no tags."""
        raise EngineError(
            f"{self.name}: a vacuum may remove the files of version {self.version} after {self._retention}; "
            "then nothing is trained on these rows again"
        )

    def _files(self, column: str) -> list[DataFile]:
        count = len(self._added)
        names = [unquote(path) for path in self._added["path"].to_pylist()]
        keys: list[object] = [None] * count
        if self._partition is not None:
            keys = self._column(f"partition.{self._partition.key}")
        first, last = self._bounds(column, "min"), self._bounds(column, "max")
        slack = 0.0 if self._partition is None else self._partition.slack
        found = [
            DataFile(name, rows, low, high, self._fragment(name), near_key(key, slack))
            for name, rows, low, high, key in zip(names, self._column("num_records"), first, last, keys, strict=True)
        ]
        changed = dict(zip(names, self._added["modification_time"].to_pylist(), strict=True))
        least = float("-inf")
        return sorted(found, key=lambda file: (least if file.first is None else file.first, changed[file.name]))

    def _fragment(self, name: str) -> Any:
        found = self._fragments.get(name)
        if found is None:
            raise EngineError(f"{self.name}: its file {name} lies elsewhere, as in a shallow clone: {_ELSEWHERE}")
        return found

    def _column(self, name: str) -> list[Any]:
        return list(self._added[name].to_pylist()) if name in self._added.column_names else [None] * len(self._added)

    def _bounds(self, column: str, which: str) -> list[float | None]:
        name = f"{which}.{column}"
        if not has_order(self.schema.field(column).type):
            return [None] * len(self._added)
        if name not in self._added.column_names:
            name = f"partition.{column}"
        if name not in self._added.column_names or not has_order(self._added[name].type):
            return [None] * len(self._added)
        return [None if at != at else at for at in read_times(self._added[name]).tolist()]  # noqa: PLR0124 - NaN


class DeltaTables:
    """Opens Delta tables; one that has changed is followed by its log."""

    def __init__(self, settings: DeltaSourceConfig) -> None:
        self._settings = settings
        self._tables: dict[str, Any] = {}
        self._files: dict[str, DeltaFiles] = {}

    def open(self, path: str) -> DeltaFiles:
        """The newest version of a table. Raises EngineError."""
        library = need_library("deltalake", "delta")
        table = self._newest(library, path)
        held = self._files.get(path)
        if held is None or held.version != str(table.version()):
            refuse_unread(path, table)
            partition = self._settings.partition if path == self._settings.predictions else None
            held = self._files[path] = DeltaFiles(path, table, partition)
        return held

    def _newest(self, library: Any, path: str) -> Any:
        table = self._tables.pop(path, None)
        try:
            if table is None:
                table = library.DeltaTable(path, storage_options=_options(path, self._settings.object_store))
            else:
                table.update_incremental()
        except FileNotFoundError as error:
            raise EngineError(f"{path}: {first_line(error)}") from None
        except library.exceptions.TableNotFoundError:
            raise EngineError(f"{path} is no Delta table: it has no folder _delta_log; correct source") from None
        self._tables[path] = table
        return table


def refuse_unread(path: str, table: Any) -> None:
    """Raise EngineError for a table whose files alone do not say which rows and columns it has."""
    protocol = table.protocol()
    features = set(protocol.reader_features or ())
    mapping = (table.metadata().configuration or {}).get("delta.columnMapping.mode", "none")
    if mapping not in {None, "none"}:
        features.add("columnMapping")
    for feature, todo in _REFUSED.items():
        if feature in features:
            raise EngineError(f"{path} is a Delta table that is not read: {todo}")


def _options(path: str, store: ObjectStoreConfig | None) -> Mapping[str, str] | None:
    """What the library needs to know of an object store; the rest comes from the environment."""
    if scheme_of(path) is None:
        return None
    store = store or ObjectStoreConfig()
    endpoint = endpoint_of(StorePlace.of(path), store)
    region = store.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    options = {"AWS_REGION": region, "timeout": f"{store.timeout:g}s", "connect_timeout": f"{store.timeout:g}s"}
    if endpoint is not None:
        options |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}
    if store.anonymous:
        options["AWS_SKIP_SIGNATURE"] = "true"
    if store.credentials_file is not None:
        keys = aws_keys(store.credentials_file)
        names = {"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY"}
        names["session_token"] = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a key
        options |= {names[name]: value for name, value in keys.items()}
    return options
