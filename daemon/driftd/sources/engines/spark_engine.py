"""Spark as an engine, by Spark Connect: our functions run inside the executors, and bytes come back."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from driftd.config.credential_files import CredentialFileError
from driftd.config.redact import HIDDEN
from driftd.sources.engines.protocol import EngineError, EngineExtent, Function, Pause, Query
from driftd.sources.engines.spark_session import LASTING, Limit, Session, sentence_of
from driftd.sources.engines.spark_text import Keys, Names, Statements, Table, quote
from driftd_detectors.batches.worker import FUNCTIONS, PARTS, partition_counter, sign_job

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.connect.dataframe import DataFrame as RemoteFrame
    from pyspark.sql.connect.session import SparkSession
    from pyspark.sql.dataframe import DataFrame

    from driftd.config.source_schema import SparkSourceConfig


class SparkEngine:
    """See `Engine`. `identity` names the installation and the model: a later process finds the session again.

    Without one the session is this engine's alone: jobs and commands end nothing of the daemon's.
    """

    def __init__(self, settings: SparkSourceConfig, identity: str | None = None) -> None:
        self._settings = settings
        self._is_lasting = identity is not None
        self._identity = identity or f"alone {uuid.uuid4()}"
        self._session: Session | None = None
        self._statements: Statements | None = None
        self._keys: Keys | None = None
        self._newest_label_at: float | None = None
        self._pause = Pause()

    def look(self, since: float | None) -> EngineExtent:
        """See `Engine.look`. Rows that came since the last look are in files that the session must list anew."""
        with self._open() as spark:
            self._refresh(spark)
            self._statements = None  # a table may have got another column
            statements = self._known_statements(spark)
            keys = statements.key_extent() if since is None else None
            first_key, last_key = (None, None) if keys is None else self._row(spark, keys)
            first, newest = self._row(spark, statements.extent(since, first_key, last_key))
            label = statements.newest_label(self._newest_label_at)
            newest_label = None if label is None else self._row(spark, label)[0]
        if newest_label is not None:
            self._newest_label_at = newest_label
        return EngineExtent(first, since if newest is None else newest, self._newest_label_at)

    def map(self, query: Query, function: Function, job: str) -> Iterator[bytes]:
        """See `Engine.map`. Each partition is counted by a worker; the parts come in their order."""
        if self._settings.count == "here":
            yield FUNCTIONS[function](self.read(query), job)
            return
        with self._pause.around(), self._open() as spark:
            rows = self._rows(spark, query)
            self._held_session().send_package()
            for batch in _batches(spark, rows.mapInArrow(partition_counter(function, sign_job(job)), PARTS)):
                yield from batch.column(0).to_pylist()

    def read(self, query: Query) -> Iterator[pa.RecordBatch]:
        """See `Engine.read`."""
        with self._pause.around(), self._open() as spark:
            yield from _batches(spark, self._rows(spark, query))

    def count(self, query: Query) -> int:
        """See `Engine.count`."""
        with self._open() as spark:
            return int(self._row(spark, self._known_statements(spark).count(query))[0])

    def newest_labelled(self, rows: int, query: Query) -> float | None:
        """See `Engine.newest_labelled`."""
        with self._open() as spark:
            found = self._row(spark, self._known_statements(spark).so_many_back(rows, query))
            return found[0] if found else None

    def cancel(self) -> None:
        """See `Engine.cancel`."""
        session = self._session
        if session is not None:
            with contextlib.suppress(Exception):  # a server that is away runs nothing of ours
                session.interrupt()

    def close(self) -> None:
        """See `Engine.close`."""
        session, self._session, self._statements = self._session, None, None
        if session is not None and not self._is_lasting:
            session.release()
        if session is not None:
            session.end()

    @contextmanager
    def _open(self) -> Iterator[SparkSession]:
        """The session, for one call. What its client raises is an EngineError; mostly the next call connects anew."""
        session = self._held_session()
        with Limit(session, self._settings.timeout) as limit:
            try:
                yield session.open()
            except MemoryError:
                raise
            except GeneratorExit:  # nobody wants the rest
                self.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - what its client raises has no common base
                if not LASTING.search(str(error)):
                    session.end()
                    self._session = None
                self._statements = None
                raise EngineError(self._sentence(error, limit)) from None

    def _held_session(self) -> Session:
        if self._session is None:
            settings = self._settings
            try:
                token = settings.token()
            except CredentialFileError as error:
                raise EngineError(str(error)) from None
            tag = f"driftd-{self._identity}".replace(",", "-").replace(" ", "-")
            self._session = Session(settings.remote, token, self._identity, tag)
        return self._session

    def _sentence(self, error: Exception, limit: Limit) -> str:
        if isinstance(error, EngineError):
            return str(error)
        text = sentence_of(error, limit, self._settings.timeout)
        with contextlib.suppress(CredentialFileError):
            token = self._settings.token()
            text = text if token is None else text.replace(token, HIDDEN)
        return f"{urlsplit(self._settings.remote).netloc}: {text}"

    def _refresh(self, spark: SparkSession) -> None:
        for name in (self._settings.predictions, self._settings.labels):
            if name is not None:
                with contextlib.suppress(
                    Exception
                ):  # a catalog that has nothing to refresh; a missing table is told next
                    spark.catalog.refreshTable(name)

    def _known_statements(self, spark: SparkSession) -> Statements:
        """The SELECTs, by the columns that the tables have now."""
        if self._statements is None:
            settings = self._settings
            predictions = _table(spark, settings.predictions)
            labels = None if settings.labels is None else _table(spark, settings.labels)
            names = Names.of(settings)
            _check_columns(predictions, labels, names)
            statements = Statements(predictions, labels, names, None)
            if settings.partition is not None:
                statements = self._with_keys(spark, statements)
            self._statements = statements
        return self._statements

    def _with_keys(self, spark: SparkSession, statements: Statements) -> Statements:
        partition, table = self._settings.partition, statements.predictions
        assert partition is not None  # it is asked for
        kind = table.types.get(partition.key)
        if self._keys is None or self._keys.kind != kind:
            found: list[Any] = [None]
            if kind not in {None, "date", "timestamp", "timestamp_ntz"}:
                found = self._row(spark, statements.example_key(partition.key))
            if not found:
                return statements  # an empty table
            self._keys = Keys.read(partition, table, found[0])
        return replace(statements, keys=self._keys)

    def _rows(self, spark: SparkSession, query: Query) -> DataFrame:
        return spark.sql(self._known_statements(spark).rows(query))

    def _row(self, spark: SparkSession, statement: str) -> list[Any]:
        """The values of the first row; nothing where there is none."""
        rows = [batch for batch in _batches(spark, spark.sql(statement)) if len(batch)]
        return [column[0].as_py() for column in rows[0].columns] if rows else []


def _table(spark: SparkSession, name: str) -> Table:
    quoted = ".".join(quote(part) for part in name.replace("`", "").split("."))
    return Table(quoted, {field.name: field.dataType.simpleString() for field in spark.table(quoted).schema.fields})


def _check_columns(predictions: Table, labels: Table | None, names: Names) -> None:
    wanted = [(predictions, names.at, "columns.at")]
    if labels is not None:
        wanted += [
            (predictions, names.id, "columns.id"),
            (labels, names.labels.id, "label_columns.id"),
            (labels, names.labels.label, "label_columns.label"),
            (labels, names.labels.time_in(labels) or names.labels.label_at, "label_columns.label_at"),
        ]
    for table, name, key in wanted:
        if not table.has(name):
            raise EngineError(f"{table.name} has no column {name!r}: set source.{key}; it has {', '.join(table.types)}")


def _batches(spark: SparkSession, frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """The rows of a frame as they come: `toArrow` would hold all of them."""
    plan = cast("RemoteFrame", frame)._plan.to_proto(spark.client)
    for found in spark.client.to_table_as_iterator(plan, {}):
        if hasattr(found, "to_batches"):
            yield from found.to_batches()
