"""A database as an engine: one connection for a model, SELECTs alone, and limits on what they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow as pa

from driftd.config.credential_files import CredentialFileError
from driftd.config.database_address import Address, read_address
from driftd.formatting import format_duration
from driftd.sources.engines.protocol import AGAIN, EngineError, EngineExtent, Function, Pause, Query, lacks_memory
from driftd.sources.engines.sql_connections import CONNECTIONS, Connection, sentence_of
from driftd.sources.engines.sql_counts import Counting
from driftd.sources.engines.sql_text import Meanings, Statements, quote_table
from driftd_detectors.batches.arrow_columns import read_times
from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.profile_batches import ProfileJob, profile_batches

if TYPE_CHECKING:
    from driftd.config.source_schema import SqlSourceConfig

_DAY = 86_400.0
_LONGEST_WAIT = 60.0  # seconds between two tries to connect, at most


@dataclass(slots=True)
class Reads:
    """What was read since this process began, and on the day of the guard."""

    queries: int = 0
    rows: int = 0
    bytes: int = 0
    refused: int = 0
    day: int = 0
    rows_of_day: int = 0
    bytes_of_day: int = 0

    @property
    def counts(self) -> dict[str, float]:
        """In the words of `Extent`."""
        return {"rows_read": self.rows, "bytes_read": self.bytes, "queries_refused": self.refused}

    def on(self, now: float) -> None:
        """Begin another day where one has begun (UTC)."""
        day = int(now // _DAY)
        if day != self.day:
            self.day, self.rows_of_day, self.bytes_of_day = day, 0, 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Count what came."""
        self.rows += len(batch)
        self.rows_of_day += len(batch)
        self.bytes += batch.nbytes
        self.bytes_of_day += batch.nbytes


class SqlEngine:
    """See `Engine`. The connection is opened by the first call; after a failure to connect the next waits longer."""

    def __init__(
        self,
        settings: SqlSourceConfig,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reads = Reads()
        self._settings = settings
        self._now, self._monotonic = now, monotonic
        self._connection: Connection | None = None
        self._address: Address | None = None
        self._failures = 0
        self._again_at = 0.0
        self._why = ""
        self._pause = Pause(monotonic)
        self._newest_label_at: float | None = None

    def look(self, since: float | None) -> EngineExtent:
        """See `Engine.look`. An index on the time answers it; without one the columns of the times are read."""
        with self._open() as connection:
            statements = self._statements(connection)
            first, newest = self._times(connection, statements.extent(first=since is None, since=since))
            label = statements.newest_label(self._newest_label_at)
            newest_label = None if label is None else self._times(connection, label)[0]
            self._newest_label_at = newest_label if newest_label is not None else self._newest_label_at
        newest = newest if newest is not None else since
        return EngineExtent(first, newest, self._newest_label_at, self.reads.counts)

    def map(self, query: Query, function: Function, job: str) -> Iterator[bytes]:
        """See `Engine.map`: the rows are one partition, which is counted here, or a window by the database."""
        if function == "profile_batches" and self._settings.count == "there":
            yield self._count_there(query, job)
            return
        counted = {"profile_batches": profile_batches, "cohort_batches": cohort_batches}[function]
        yield counted(self.read(query), job)

    def _count_there(self, query: Query, job: str) -> bytes:
        with self._for_rows() as connection:
            self.reads.on(self._now())
            self._guard_bytes()

            def ask(statement: str) -> pa.Table:
                self.reads.queries += 1
                batches = list(connection.batches(statement))
                for batch in batches:
                    self.reads.add(batch)
                return pa.Table.from_batches(batches)

            return Counting(self._statements(connection), query, ProfileJob.from_json(job)).read(ask).to_bytes()

    def read(self, query: Query) -> Iterator[pa.RecordBatch]:
        """See `Engine.read`."""
        with self._for_rows() as connection:
            statements = self._statements(connection)
            self._guard_rows(connection, statements, query)
            for batch in connection.batches(statements.rows(query)):
                self.reads.add(batch)
                self._guard_bytes()
                yield batch

    def count(self, query: Query) -> int:
        """See `Engine.count`."""
        with self._open() as connection:
            return self._count(connection, self._statements(connection), query)

    def newest_labelled(self, rows: int, query: Query) -> float | None:
        """See `Engine.newest_labelled`."""
        with self._open() as connection:
            found = self._times(connection, self._statements(connection).so_many_back(rows, query))
            return found[0] if found else None

    def cancel(self) -> None:
        """See `Engine.cancel`."""
        connection = self._connection
        if connection is not None:
            connection.cancel()

    def close(self) -> None:
        """See `Engine.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _for_rows(self) -> Iterator[Connection]:
        """The same for a query that may be dear."""
        with self._pause.around(), self._open() as connection:
            yield connection

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        """The connection, for one call. Whatever its library raises is an EngineError; a lost one is opened again."""
        keeps_open = False
        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
            keeps_open = (
                self._connection is not None and self._connection.dialect != "duckdb"
            )  # a file has other writers
        except (EngineError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library of a database raises
            if lacks_memory(error):
                raise MemoryError(str(error)) from None
            raise self._fault_of(error) from None
        finally:
            if not keeps_open:
                self.close()

    def _connect(self) -> Connection:
        wait = self._again_at - self._monotonic()
        if wait > 0:
            raise EngineError(f"{self._why}; {AGAIN} {format_duration(wait)}")
        try:
            self._address = read_address(self._settings.url, self._settings.credentials_file)
            connection = CONNECTIONS[self._address.parts.scheme](self._address, self._settings.timeout)
        except Exception as error:  # noqa: BLE001 - whatever a library of a database raises
            if lacks_memory(error):
                raise MemoryError(str(error)) from None
            fault = self._fault_of(error)
            self._failures += 1
            self._why = str(fault)
            self._again_at = self._monotonic() + min(_LONGEST_WAIT, 2.0 ** (self._failures - 1))
            raise fault from None
        self._failures = 0
        return connection

    def _fault_of(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError | CredentialFileError):
            return EngineError(str(error))
        address = self._address or Address(urlsplit(self._settings.url))
        return EngineError(address.hide(f"{address.shown}: {sentence_of(error, self._settings.timeout)}"))

    def _statements(self, connection: Connection) -> Statements:
        settings = self._settings
        labels = None if settings.labels is None else connection.table(quote_table(settings.labels))
        partition = None if settings.partition is None else (settings.partition.key, settings.partition.slack)
        predictions = connection.table(quote_table(settings.predictions))
        return Statements(connection.dialect, predictions, labels, Meanings.of(settings), partition)

    def _times(self, connection: Connection, statement: str) -> list[float | None]:
        """The times of the one row of a statement; nothing where there is none."""
        self.reads.queries += 1
        rows = [batch for batch in connection.batches(statement) if len(batch)]
        return [_time(column) for column in rows[0].columns] if rows else []

    def _count(self, connection: Connection, statements: Statements, query: Query) -> int:
        self.reads.queries += 1
        return sum(
            int(batch.column(0)[0].as_py()) for batch in connection.batches(statements.count(query)) if len(batch)
        )

    def _guard_rows(self, connection: Connection, statements: Statements, query: Query) -> None:
        """Refuse a query that would read more than the day has left; it is counted where rows are limited."""
        self.reads.queries += 1
        self.reads.on(self._now())
        most = self._settings.most_rows
        if most is not None:
            wanted = self._count(connection, statements, query)
            if self.reads.rows_of_day + wanted > most:
                self.reads.refused += 1
                read = f"{wanted:,} rows are asked for after {self.reads.rows_of_day:,} of today"
                raise EngineError(
                    f"{read}, more than source.most_rows ({most:,}): raise it, or wait for the next day (UTC)"
                )
        self._guard_bytes()

    def _guard_bytes(self) -> None:
        most = self._settings.most_bytes
        if most is not None and self.reads.bytes_of_day > most:
            self.reads.refused += 1
            read = f"{self.reads.bytes_of_day:,} bytes were read today"
            raise EngineError(
                f"{read}, more than source.most_bytes ({most:,}): raise it, or wait for the next day (UTC)"
            )


def _time(column: pa.Array) -> float | None:
    at = float(read_times(column)[0])
    return None if at != at else at  # noqa: PLR0124 - NaN
