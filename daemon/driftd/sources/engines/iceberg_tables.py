"""Iceberg tables by their own library: a snapshot is a set of files with their deletes, which the library applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from driftd.config.credential_files import CredentialFileError, read_token
from driftd.sources.engines.protocol import EngineError
from driftd.sources.engines.sql_connections import need_library
from driftd.sources.engines.table_engine import first_line
from driftd.sources.engines.table_files import BATCH_ROWS, DataFile, has_order, value_near
from driftd.sources.store_client import aws_keys
from driftd_detectors.batches.arrow_columns import read_times

if TYPE_CHECKING:
    from driftd.config.source_schema import IcebergSourceConfig

_NO_SNAPSHOT = "none"  # the version of a table that nothing was written to


class IcebergFiles:
    """See `PinnedTable`."""

    def __init__(self, name: str, table: Any) -> None:
        self.name = name
        self._table = table
        self._snapshot = table.metadata.current_snapshot_id
        self.version = _NO_SNAPSHOT if self._snapshot is None else str(self._snapshot)
        reading = need_library("pyiceberg.io.pyarrow", "iceberg")
        self.schema: pa.Schema = reading.schema_to_pyarrow(table.schema(), include_field_ids=False)
        self._tasks: list[Any] | None = None
        self._known: dict[str, list[DataFile]] = {}

    def files(self, column: str) -> Sequence[DataFile]:
        """See `PinnedTable.files`: in the order of their earliest times, then as they were added."""
        if column not in self._known:
            least = float("-inf")
            found = [self._data_file(task, column) for task in reversed(self._plan())]
            self._known[column] = sorted(found, key=lambda file: least if file.first is None else file.first)
        return self._known[column]

    def batches(
        self, file: DataFile, columns: Sequence[str], column: str, start: float, end: float
    ) -> Iterator[pa.RecordBatch]:
        """See `PinnedTable.batches`. The library holds these columns of the file as a whole."""
        from pyiceberg.io.pyarrow import ArrowScan  # noqa: PLC0415 - only where such tables are read

        condition = self._condition(column, start, end)
        scan = self._table.scan(row_filter=condition, selected_fields=tuple(columns), snapshot_id=self._snapshot)
        reading = ArrowScan(self._table.metadata, self._table.io, scan.projection(), scan.row_filter)
        for batch in reading.to_record_batches([file.handle]):
            for first in range(0, len(batch), BATCH_ROWS):
                yield batch.slice(first, BATCH_ROWS)

    def keep(self, name: str) -> None:
        """Tag the snapshot, so that no expiry removes it. Raises EngineError."""
        if self._snapshot is None:
            return
        try:
            self._table.manage_snapshots().create_tag(self._snapshot, name).commit()
        except Exception as error:  # noqa: BLE001 - whatever a catalog raises
            raise EngineError(f"{self.name}: no tag can be set ({first_line(error)})") from None

    def _plan(self) -> list[Any]:
        if self._tasks is None:
            is_empty = self._snapshot is None
            self._tasks = [] if is_empty else list(self._table.scan(snapshot_id=self._snapshot).plan_files())
        return self._tasks

    def _data_file(self, task: Any, column: str) -> DataFile:
        file = task.file
        low, high = (self._bound(bounds, column) for bounds in (file.lower_bounds, file.upper_bounds))
        return DataFile(file.file_path, file.record_count, low, high, task)

    def _bound(self, bounds: Mapping[int, bytes] | None, column: str) -> float | None:
        from pyiceberg.conversions import from_bytes  # noqa: PLC0415 - see above

        kind = self.schema.field(column).type
        field = self._table.schema().find_field(column)
        stored = (bounds or {}).get(field.field_id)
        if stored is None or not has_order(kind):
            return None
        value = from_bytes(field.field_type, stored)
        plain = pa.array([value], pa.int32() if pa.types.is_date32(kind) else pa.int64()) if _is_counted(kind) else None
        at = float(read_times(pa.array([value]) if plain is None else plain.cast(kind))[0])
        return None if at != at else at  # noqa: PLR0124 - NaN

    def _condition(self, column: str, start: float, end: float) -> Any:
        terms = need_library("pyiceberg.expressions", "iceberg")
        kind = self.schema.field(column).type
        low, high = value_near(start, kind, after=False), value_near(end, kind, after=True)
        parts = [] if low is None else [terms.GreaterThanOrEqual(column, _literal(low))]
        parts += [] if high is None else [terms.LessThanOrEqual(column, _literal(high))]
        return parts[0] if len(parts) == 1 else terms.And(*parts) if parts else terms.AlwaysTrue()


class IcebergTables:
    """Opens Iceberg tables by their catalog, which is asked at each look."""

    def __init__(self, settings: IcebergSourceConfig) -> None:
        self._settings = settings
        self._catalog: Any = None
        self._files: dict[str, IcebergFiles] = {}

    def open(self, name: str) -> IcebergFiles:
        """The current snapshot of a table. Raises EngineError."""
        library = need_library("pyiceberg.catalog", "iceberg")
        missing = need_library("pyiceberg.exceptions", "iceberg")
        where = self._settings.catalog.uri
        try:
            if self._catalog is None:
                self._catalog = library.load_catalog(self._settings.catalog.name, **self._properties())
            table = self._catalog.load_table(name)
        except (CredentialFileError, missing.NoSuchTableError, missing.NoSuchNamespaceError) as error:
            self._catalog = None
            is_token = isinstance(error, CredentialFileError)
            raise EngineError(str(error) if is_token else f"{where} has no table {name}: correct source") from None
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a catalog raises: the next call connects anew
            self._catalog = None
            raise EngineError(f"{where} does not answer: {first_line(error)}") from None
        held = self._files.get(name)
        version = table.metadata.current_snapshot_id
        if held is None or held.version != (_NO_SNAPSHOT if version is None else str(version)):
            held = self._files[name] = IcebergFiles(name, table)
        return held

    def _properties(self) -> dict[str, str]:
        catalog, store = self._settings.catalog, self._settings.object_store
        properties = {"uri": catalog.uri, "type": "rest"}
        if urlsplit(catalog.uri).scheme == "sqlite":
            properties |= {"type": "sql", "init_catalog_tables": "false"}  # nothing is written
            if not Path(path := urlsplit(catalog.uri).path.removeprefix("/")).exists():
                raise EngineError(f"{path} does not exist: correct source.catalog.uri")
        if catalog.warehouse is not None:
            properties["warehouse"] = catalog.warehouse
        if catalog.token_file is not None:
            properties["token"] = read_token(catalog.token_file)
        if store is None:
            return properties
        given = {"s3.endpoint": store.endpoint, "s3.region": store.region}
        properties |= {name: value for name, value in given.items() if value is not None}
        properties |= {"s3.connect-timeout": f"{store.timeout:g}", "s3.request-timeout": f"{store.timeout:g}"}
        if store.anonymous:
            properties["s3.anonymous"] = "true"
        if store.credentials_file is not None:
            names = {"access_key": "s3.access-key-id", "secret_key": "s3.secret-access-key"}
            names["session_token"] = "s3.session-token"  # noqa: S105 - the name of a key
            properties |= {names[name]: value for name, value in aws_keys(store.credentials_file).items()}
        return properties


def _is_counted(kind: pa.DataType) -> bool:
    """Whether a bound comes as a count of days or microseconds."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _literal(value: pa.Scalar) -> Any:
    plain = value.as_py()
    return plain.isoformat() if hasattr(plain, "isoformat") else plain
