"""Connections to databases, which only read: DuckDB by its own library, PostgreSQL by ADBC. Both hand out Arrow."""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pyarrow as pa
import pyarrow.compute as pc

from driftd.config.database_address import Address
from driftd.formatting import format_duration
from driftd.sources.engines.protocol import EngineError
from driftd.sources.engines.sql_text import DialectName, Table

_WHOLE = 38  # digits that a decimal of Arrow holds
_POSTGRES_CASTS = {"money": "NUMERIC", "oid": "BIGINT"}  # what ADBC hands out as another number than it is
_DUCKDB_TEXTS = ("UUID", "JSON", "ENUM")  # what DuckDB hands out as text, and does not compare with text
_END_WITHOUT_CLIENT = "SET client_connection_check_interval = '5s'"  # of a killed job, a query ends that waits
BATCH_ROWS = 50_000


class Connection(Protocol):
    """An open connection, used by one thread but for `cancel`. Errors are those of its library."""

    dialect: DialectName

    def table(self, name: str) -> Table:
        """The columns of a table; no row is read. `name` is in quotes."""
        ...

    def batches(self, statement: str) -> Iterator[pa.RecordBatch]:
        """What a SELECT gives, as the values that the statistics read."""
        ...

    def cancel(self) -> None:
        """End the statement that is under way."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def need_library(name: str, extra: str) -> Any:
    """A library that only this kind of source needs. Raises EngineError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(f"the library {name} is missing ({error}): pip install 'driftd[{extra}]'") from error


class DuckDb:
    """A file of DuckDB, opened for reading. While it is open no other process can write to it: open it shortly."""

    dialect: DialectName = "duckdb"

    def __init__(self, address: Address, timeout: float) -> None:
        duckdb = need_library("duckdb", "duckdb")
        self._timeout = timeout
        path = unquote(address.parts.path)
        if not Path(path).exists():
            raise EngineError(f"{path} does not exist: correct source.url")
        # The function that counts has one thread too; and nothing is fetched from the network.
        config = {"threads": "1", "autoinstall_known_extensions": "false"}
        self._connection = duckdb.connect(path, read_only=True, config=config)

    def table(self, name: str) -> Table:
        """See `Connection.table`."""
        found = self._connection.sql(f"SELECT * FROM {name} LIMIT 0")
        kinds = dict(zip(found.columns, map(str, found.types), strict=True))
        casts = {column: "VARCHAR" for column, kind in kinds.items() if kind.startswith(_DUCKDB_TEXTS)}
        schema = found.to_arrow_table().schema
        return Table(name, {field.name: pa.string() if field.name in casts else field.type for field in schema}, casts)

    def batches(self, statement: str) -> Iterator[pa.RecordBatch]:
        """See `Connection.batches`."""
        timer = threading.Timer(self._timeout, self._connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield from self._connection.sql(statement).to_arrow_reader(BATCH_ROWS)
        finally:
            timer.cancel()

    def cancel(self) -> None:
        """See `Connection.cancel`."""
        self._connection.interrupt()

    def close(self) -> None:
        """See `Connection.close`."""
        self._connection.close()


class Postgres:
    """A database of PostgreSQL. The server itself refuses to write, and ends what takes too long."""

    dialect: DialectName = "postgres"

    def __init__(self, address: Address, timeout: float) -> None:
        adbc = need_library("adbc_driver_postgresql.dbapi", "postgres")
        self._connection = adbc.connect(libpq_address(address, timeout), autocommit=True)
        self._cursor: Any = None  # of the statement that is under way
        with contextlib.suppress(Exception), self._under_way() as cursor:  # servers before 14 do not know it
            cursor.execute(_END_WITHOUT_CLIENT)

    def table(self, name: str) -> Table:
        """See `Connection.table`. It may wait for a lock of whoever changes the table."""
        with self._under_way() as cursor:
            cursor.execute(f"SELECT * FROM {name} LIMIT 0")
            schema = cursor.fetch_arrow_table().schema
        casts = {field.name: cast for field in schema if (cast := _postgres_cast(field)) is not None}
        types = {field.name: pa.string() if casts.get(field.name) == "TEXT" else field.type for field in schema}
        return Table(name, types, casts)

    def batches(self, statement: str) -> Iterator[pa.RecordBatch]:
        """See `Connection.batches`."""
        with self._under_way() as cursor:
            cursor.execute(statement)
            yield from map(with_decimals, cursor.fetch_record_batch())

    @contextlib.contextmanager
    def _under_way(self) -> Iterator[Any]:
        """A cursor whose statement `cancel` ends."""
        with self._connection.cursor() as cursor:
            self._cursor = cursor
            try:
                yield cursor
            finally:
                self._cursor = None

    def cancel(self) -> None:
        """See `Connection.cancel`."""
        cursor = self._cursor
        if cursor is not None:
            cursor.adbc_cancel()

    def close(self) -> None:
        """See `Connection.close`."""
        with contextlib.suppress(Exception):  # a connection that is lost has nothing to close
            self._connection.close()


CONNECTIONS: Mapping[str, type[DuckDb | Postgres]] = {"duckdb": DuckDb, "postgresql": Postgres}


def libpq_address(address: Address, timeout: float) -> str:
    """The address as PostgreSQL's client reads it, with what makes a session read, in UTC, and end in time."""
    parts = address.parts
    host = parts.netloc.rpartition("@")[2]
    who = "" if address.user is None else quote(address.user, safe="")
    who += "" if address.password is None else f":{quote(address.password, safe='')}"
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    session = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(round(1000 * timeout)),
        "timezone": "UTC",
        "enable_material": "off",  # a join by nested loops over a list, where statistics are missing, takes its square
        "application_name": "driftd",
    }
    own = " ".join(f"-c {name}={value}" for name, value in session.items())
    defaults = {"connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
    query = defaults | options | {"options": f"{options.get('options', '')} {own}".strip()}
    return f"postgresql://{who}{'@' if who else ''}{host}{parts.path}?{urlencode(query, quote_via=quote)}"


def with_decimals(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose NUMERIC columns, which come as text, are numbers: whole ones exact, others the nearest floats."""
    if not any(_is_numeric(field.type) for field in batch.schema):
        return batch
    arrays = [_numbers_of_text(column.storage) if _is_numeric(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, batch.schema.names)


def _numbers_of_text(texts: pa.Array) -> pa.Array:
    longest = pc.max(pc.utf8_length(texts)).as_py() or 0
    if longest <= _WHOLE:  # Arrow gives a wrong number, and no error, for more digits
        with contextlib.suppress(pa.ArrowInvalid):  # a fraction, or no number
            return texts.cast(pa.decimal128(_WHOLE, 0))
    return texts.cast(pa.float64())


def _is_numeric(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.OpaqueType) and kind.type_name == "numeric"


def _postgres_cast(field: pa.Field) -> str | None:
    """As what a column is asked for that ADBC would hand out as bytes of its own."""
    if isinstance(field.type, pa.OpaqueType):
        return None if _is_numeric(field.type) else "TEXT"
    return _POSTGRES_CASTS.get((field.metadata or {}).get(b"POSTGRESQL:type", b"").decode())


_STATES = {
    "28": "it refuses the user or the password: correct source.credentials_file",
    "3D": "there is no such database: correct source.url",
    "42501": "a right is missing: GRANT SELECT on the tables, and USAGE on their schema, to the user",
    "42P01": "there is no such table for this user: correct source.predictions or source.labels",
    "57P0": "the server ended the connection; it is opened again",
    "08": "the connection was lost; it is opened again",
    "53": "the server has no room for one more connection, or for this query",
}
_UNCONNECTED = {
    "Catalog Error: Table": _STATES["42P01"],
    "closed the connection|connection (is|was) (closed|lost)|terminating connection": _STATES["57P0"],
    'authentication failed|role ".*" does not exist|no password supplied|no pg_hba': _STATES["28"],
    'database ".*" does not exist': _STATES["3D"],
    "onnection refused|not known|No route|onnection to server": "does the server run, and does source.url name it?",
}
_SAID = (re.compile(r"(?:ERROR|FATAL):\s+([^\n]*)"), re.compile(r"\[libpq\] ([^\n]*)"), re.compile(r"([^\n]*)"))
_LATE = "canceling statement due to statement timeout"
_CANCELLED = "canceling statement due to user request"


def sentence_of(error: Exception, timeout: float) -> str:
    """What the error of a database's library means, and what to do; one line."""
    text = str(error).strip() or type(error).__name__
    if _CANCELLED in text:
        return "the query was cancelled"
    if _LATE in text or type(error).__name__ == "InterruptException":
        longer = f"the query took longer than source.timeout ({format_duration(timeout)})"
        return f"{longer}: give the tables an index or a partition of the time, or raise it"
    if "Could not set lock" in text:
        return "another process has the file open for writing; it is read when that one is done"
    what = next(found[1] for pattern in _SAID if (found := pattern.search(text))).strip().rstrip(".")
    meaning = _meaning_of(error, text)
    return f"{what}: {meaning}" if meaning else what


def _meaning_of(error: Exception, text: str) -> str:
    found = re.search(r"SQLSTATE: (\w{5})", text)
    state = found[1] if found else getattr(error, "sqlstate", None)
    if state:
        return next((sentence for prefix, sentence in _STATES.items() if state.startswith(prefix)), "")
    # Of an attempt to connect there is a text alone.
    return next((sentence for pattern, sentence in _UNCONNECTED.items() if re.search(pattern, text)), "")
