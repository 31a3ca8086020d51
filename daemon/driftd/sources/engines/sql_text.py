"""The SQL of an engine's queries: names in quotes, times as literals of a column's own type, labels joined. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from driftd.sources.engines.protocol import EngineError, Query
from driftd_detectors.batches.arrow_columns import is_text

if TYPE_CHECKING:
    from driftd.config.source_schema import EngineTables

DialectName = Literal["duckdb", "postgres"]
_MICROS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICRO = 253_402_300_799 * _MICROS  # of the year 9999
_FIRST_MICRO = -62_135_596_800 * _MICROS  # of the year 1
_NAME = re.compile(r'"(?:[^"]|"")+"|[^".]+')
_ID, _PLACE = "driftd_id", "driftd_place"  # names of ours inside a query


def quote(name: str) -> str:
    """A name as SQL has it, whatever is in it. Raises EngineError for one that no database can hold."""
    if not name or "\0" in name:
        raise EngineError(f"{name!r} is no name of a table or a column")
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_table(text: str) -> str:
    """The name of a table with its schema: `sales.events`; a part that holds a dot stands in double quotes."""
    parts = _NAME.findall(text)
    if '"' not in text:
        parts = text.split(".")
    elif ".".join(parts) != text:
        raise EngineError(f'{text!r} is no name of a table: write schema.table, or "schema with dots"."table"')
    return ".".join(quote(part[1:-1].replace('""', '"') if part.startswith('"') else part) for part in parts)


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view: its name in quotes, and its columns with their Arrow types."""

    sql: str
    columns: Mapping[str, pa.DataType]
    casts: Mapping[str, str]  # of columns that come as another type than they have, such as enums
    endless: bool = True  # whether its times may be infinite

    def column(self, name: str, alias: str = "p") -> str:
        """A column as it is read: what has no Arrow type as text, times that are infinite as missing."""
        plain = f"{alias}.{quote(name)}"
        if name in self.casts:
            return f"CAST({plain} AS {self.casts[name]})"
        if self.endless and _is_moment(self.columns[name]):
            return f"CASE WHEN isfinite({plain}) THEN {plain} END"
        return plain

    def need(self, name: str, meaning: str) -> pa.DataType:
        """The type of a column that there must be. Raises EngineError where there is none."""
        if name not in self.columns:
            has = ", ".join(map(str, self.columns))
            raise EngineError(f"{self.sql} has no column {name!r} for {meaning} (set it in columns); it has: {has}")
        return self.columns[name]


@dataclass(frozen=True, slots=True)
class Meanings:
    """Which columns of both tables hold what."""

    id: str
    at: str
    label: str
    label_at: str
    of_labels: Mapping[str, str]  # id, label, label_at, received_at

    @classmethod
    def of(cls, settings: EngineTables) -> Meanings:
        """Those of a config, with the names that hold unless it says others."""
        named: Mapping[str, str] = {str(key): name for key, name in settings.columns.items()}
        labels = {"id": "prediction_id", "label": "label", "label_at": "label_at", "received_at": "received_at"}
        labels |= {str(key): name for key, name in settings.label_columns.items()}
        return cls(
            named.get("id", "prediction_id"),
            named.get("at", "at"),
            named.get("label", "label"),
            named.get("label_at", "label_at"),
            labels,
        )


@dataclass(frozen=True, slots=True)
class Statements:
    """The queries over one model's tables, in one dialect; `labels` is None where labels stand beside predictions."""

    dialect: DialectName
    predictions: Table
    labels: Table | None
    names: Meanings
    partition: tuple[str, float] | None = None  # the key, and by how many seconds a row may be beside its partition

    def rows(self, query: Query) -> str:
        """The rows of a query, their labels beside them where it wants them."""
        wanted = [name for name in query.columns if name in self.predictions.columns]
        chosen = [f"{self.predictions.column(name)} AS {quote(name)}" for name in wanted]
        if query.known_by is None:
            return f"SELECT {', '.join(chosen) or '1'} FROM {self.predictions.sql} p WHERE {self.span(query)}"
        label, known_at = self._label_columns(query.known_by)
        chosen += [f"{label} AS {quote(self.names.label)}", f"{known_at} AS {quote(self.names.label_at)}"]
        order = f" ORDER BY p.{quote(self.names.at)}, p.{quote(self.names.id)}" if query.labelled_only else ""
        return f"SELECT {', '.join(chosen)} {self._with_labels(query)}{order}"  # what trains has one order

    def count(self, query: Query) -> str:
        """How many rows a query has."""
        return f"SELECT COUNT(*) AS rows {self._narrow(query)}"

    def so_many_back(self, rows: int, query: Query) -> str:
        """The time of the row that is so many rows before the newest."""
        at = f"p.{quote(self.names.at)}"
        return f"SELECT {at} AS newest {self._narrow(query)} ORDER BY {at} DESC LIMIT 1 OFFSET {int(rows) - 1}"

    def extent(self, *, first: bool, since: float | None) -> str:
        """The earliest time where it is wanted, and the latest from `since` on."""
        kind = self._at_kind()
        span = self._between(f"p.{quote(self.names.at)}", kind, -math.inf, math.inf)
        table, at = self.predictions.sql, quote(self.names.at)
        recent = span if since is None else self.span(Query((), since, math.inf))
        least = f"(SELECT MIN(p.{at}) FROM {table} p WHERE {span})" if first else "NULL"
        return f"SELECT {least} AS first_at, (SELECT MAX(p.{at}) FROM {table} p WHERE {recent}) AS newest_at"

    def newest_label(self, since: float | None) -> str | None:
        """The latest time of a label from `since` on; None where only reading the predictions would tell."""
        if self.labels is None:
            return None
        column = self._label_time_column()
        kind = self.labels.need(column, "label_at")
        at = f"l.{quote(column)}"
        span = self._between(at, kind, -math.inf if since is None else since, math.inf)
        return f"SELECT MAX({at}) AS newest_label_at FROM {self.labels.sql} l WHERE {span}"

    def span(self, query: Query) -> str:
        """The condition that a row is of a query's time, and in the partitions that may hold such rows."""
        kind = self._at_kind()
        sentences = [self._between(f"p.{quote(self.names.at)}", kind, query.start, query.end)]
        if self.partition is not None:
            sentences += self._partitions(*self.partition, query)
        return " AND ".join(sentences)

    def _at_kind(self) -> pa.DataType:
        return self.predictions.need(self.names.at, "the time of a prediction")

    def _narrow(self, query: Query) -> str:
        if query.labelled_only and self.labels is not None:
            known = self._known_labels(query.known_by, within=f"l.{{id}} = {self._joinable('p')}")
            return f"FROM {self.predictions.sql} p WHERE {self.span(query)} AND EXISTS (SELECT 1 {known})"
        if query.labelled_only:
            return self._with_labels(query)
        return f"FROM {self.predictions.sql} p WHERE {self.span(query)}"

    def _label_columns(self, known_by: float) -> tuple[str, str]:
        """The label and its time, in the words of what `_with_labels` gives; NULL where the label was not known."""
        if self.labels is not None:
            return "l.label", "l.label_at"
        if self.names.label not in self.predictions.columns:
            return "NULL", "NULL"
        label, at = self.predictions.column(self.names.label), self._own_label_at()
        return f"CASE WHEN {self._is_known(at, self._own_kind(), known_by)} THEN {label} END", at

    def _own_kind(self) -> pa.DataType:
        return self.predictions.columns.get(self.names.label_at, self._at_kind())

    def _own_label_at(self) -> str:
        """When a label that stands beside its prediction was known: with the row, unless it says another time."""
        at = self.predictions.column(self.names.at)
        if self.names.label_at not in self.predictions.columns:
            return at
        kind = self.predictions.columns[self.names.label_at]
        if kind != self._at_kind():
            return self._number_or_null(self.predictions.column(self.names.label_at), kind)
        return f"COALESCE({self._number_or_null(self.predictions.column(self.names.label_at), kind)}, {at})"

    def _with_labels(self, query: Query) -> str:
        span = self.span(query)
        known_by = math.inf if query.known_by is None else query.known_by
        if self.labels is None:
            if not query.labelled_only:
                return f"FROM {self.predictions.sql} p WHERE {span}"
            if self.names.label not in self.predictions.columns:
                return f"FROM {self.predictions.sql} p WHERE FALSE"
            known = self._is_known(self._own_label_at(), self._own_kind(), known_by)
            is_label = self._is_label(self.predictions.column(self.names.label), self.names.label)
            return f"FROM {self.predictions.sql} p WHERE {span} AND {is_label} AND {known}"
        ids = f"SELECT {self._joinable('p')} FROM {self.predictions.sql} p WHERE {span}"
        known_labels = self._known_labels(known_by, within=f"l.{{id}} IN ({ids})")
        newest = self._newest_labels(known_labels)
        join = "JOIN" if query.labelled_only else "LEFT JOIN"
        return f"FROM {self.predictions.sql} p {join} ({newest}) l ON l.{_ID} = {self._joinable('p')} WHERE {span}"

    def _newest_labels(self, known_labels: str) -> str:
        """Of each identity the newest label, whatever order rows are in.

        PostgreSQL has its own words for it: it takes a filter on ROW_NUMBER for one row, and joins by nested loops.
        """
        assert self.labels is not None
        label = self.labels.column(self.names.of_labels["label"], "l")
        key, at, received = self._joinable("l"), self._label_time(), self.names.of_labels["received_at"]
        order = [f"{at} DESC NULLS LAST"]
        if received in self.labels.columns:
            order.append(f"{self.labels.column(received, 'l')} DESC NULLS LAST")
        chosen = f"{key} AS {_ID}, {label} AS label, {at} AS label_at"
        if self.dialect == "postgres":
            by_text = self._holds_text(self.names.of_labels["label"])
            order.append(f'{label} COLLATE "C" DESC' if by_text else f"{label} DESC")
            return f"SELECT DISTINCT ON ({key}) {chosen} {known_labels} ORDER BY {key}, {', '.join(order)}"
        place = f"ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY {', '.join([*order, f'{label} DESC'])}) AS {_PLACE}"
        return f"SELECT {_ID}, label, label_at FROM (SELECT {chosen}, {place} {known_labels}) ranked WHERE {_PLACE} = 1"

    def _known_labels(self, known_by: float | None, within: str) -> str:
        """`FROM` the labels that were known by a time, of the identities that `within` names."""
        assert self.labels is not None
        label = self.names.of_labels["label"]
        self.labels.need(label, "the label")
        known = self._is_known(self._label_time(), self._label_kind(), math.inf if known_by is None else known_by)
        own = within.replace("l.{id}", self._joinable("l"))
        is_label = self._is_label(self.labels.column(label, "l"), label)
        return f"FROM {self.labels.sql} l WHERE {own} AND {is_label} AND {known}"

    def _is_label(self, sql: str, name: str) -> str:
        table = self.labels or self.predictions
        number = pa.types.is_floating(table.columns[name])
        return f"{sql} IS NOT NULL" + (f" AND {sql} <> {self._nan(table.columns[name])}" if number else "")

    def _label_time_column(self) -> str:
        assert self.labels is not None
        own = self.names.of_labels["label_at"]
        return own if own in self.labels.columns else self.names.of_labels["received_at"]

    def _label_kind(self) -> pa.DataType:
        assert self.labels is not None
        return self.labels.need(self._label_time_column(), "when a label was known")

    def _label_time(self) -> str:
        """When a label was known: where that is missing, when it was received."""
        assert self.labels is not None
        column, received = self._label_time_column(), self.names.of_labels["received_at"]
        kind = self._label_kind()
        at = self._number_or_null(self.labels.column(column, "l"), kind)
        if column == received or self.labels.columns.get(received) != kind:
            return at
        return f"COALESCE({at}, {self.labels.column(received, 'l')})"

    def _number_or_null(self, sql: str, kind: pa.DataType) -> str:
        return f"NULLIF({sql}, {self._nan(kind)})" if pa.types.is_floating(kind) else sql

    def _nan(self, kind: pa.DataType) -> str:
        return f"CAST('NaN' AS {'REAL' if kind == pa.float32() else 'DOUBLE PRECISION'})"

    def _is_known(self, at: str, kind: pa.DataType, known_by: float) -> str:
        if math.isinf(known_by):
            return f"{at} IS NOT NULL"
        return f"{at} < {self._literal(math.nextafter(known_by, math.inf), kind, 'label_at')}"

    def _joinable(self, alias: str) -> str:
        """The identity, in a type that both tables share: as it is, or as text where they differ."""
        assert self.labels is not None
        ours = self.predictions.need(self.names.id, "the identity of a prediction")
        theirs = self.labels.need(self.names.of_labels["id"], "the identity of a label")
        table, name = (self.predictions, self.names.id) if alias == "p" else (self.labels, self.names.of_labels["id"])
        sql = table.column(name, alias)
        plain = self.names.id not in self.predictions.casts and self.names.of_labels["id"] not in self.labels.casts
        both_text = plain and is_text(ours) and is_text(theirs)
        if (ours == theirs and plain) or both_text or (pa.types.is_integer(ours) and pa.types.is_integer(theirs)):
            return sql
        return f"LOWER(CAST({sql} AS VARCHAR))"

    def _holds_text(self, label: str) -> bool:
        assert self.labels is not None
        return is_text(self.labels.columns[label]) or self.labels.casts.get(label) == "TEXT"

    def _between(self, sql: str, kind: pa.DataType, start: float, end: float) -> str:
        """`start <= sql < end`; what is missing or infinite is in no span."""
        parts = []
        if start > -math.inf:
            parts.append(f"{sql} >= {self._literal(start, kind, sql)}")
        elif _is_moment(kind):
            parts.append(f"{sql} > '-infinity'")
        if end < math.inf or not (_is_moment(kind) or pa.types.is_floating(kind)):
            parts.append(f"{sql} < {self._literal(end, kind, sql)}" if end < math.inf else f"{sql} IS NOT NULL")
        else:
            parts.append(f"{sql} < 'infinity'")
        return " AND ".join(parts)

    def _literal(self, seconds: float, kind: pa.DataType, where: str) -> str:
        """A time in the type of a column: the least value of that type that is not before it."""
        if pa.types.is_floating(kind):
            return f"CAST('{seconds!r}' AS DOUBLE PRECISION)"
        if pa.types.is_integer(kind):
            return str(math.ceil(max(min(seconds, 2.0**62), -(2.0**62))))
        if _is_moment(kind):
            return moment(seconds, with_zone=pa.types.is_timestamp(kind) and kind.tz is not None)
        if pa.types.is_decimal(kind) or isinstance(kind, pa.OpaqueType):
            return f"CAST('{seconds!r}' AS DECIMAL(38, 9))"
        table = self.predictions.sql
        raise EngineError(f"{where} in {table} holds no times that can be compared ({kind}): give a view that casts it")

    def _partitions(self, key: str, slack: float, query: Query) -> list[str]:
        kind = self.predictions.need(key, "partition.key")
        sql = f"p.{quote(key)}"
        bounds = [("<=", query.end + slack), (">=", query.start - slack)]
        return [f"{sql} {sign} {self._day(at, kind, key)}" for sign, at in bounds if math.isfinite(at)]

    def _day(self, at: float, kind: pa.DataType, key: str) -> str:
        day = from_micros(least_micros(at)).date()
        if pa.types.is_date(kind):
            return f"DATE '{day.isoformat()}'"
        if is_text(kind):
            return f"'{day.isoformat()}'"
        if pa.types.is_integer(kind):
            return f"{day:%Y%m%d}"
        if _is_moment(kind):
            return moment(at, with_zone=kind.tz is not None)
        raise EngineError(
            f"partition.key {key!r} is of the type {kind}: it must be a date, its text, or such as 20260131"
        )


def moment(seconds: float, *, with_zone: bool) -> str:
    """A time as a literal of a timestamp, in UTC: of all microseconds the first that is not before it."""
    text = from_micros(least_micros(seconds)).replace(tzinfo=None).isoformat(" ", "microseconds")
    return f"TIMESTAMP WITH TIME ZONE '{text}+00:00'" if with_zone else f"TIMESTAMP '{text}'"


def least_micros(seconds: float) -> int:
    """The least whole number of microseconds that is, as seconds in a float, not below a number of seconds."""
    if seconds * _MICROS >= _LAST_MICRO or seconds * _MICROS <= _FIRST_MICRO:
        return _LAST_MICRO if seconds > 0 else _FIRST_MICRO
    micros = math.ceil(seconds * _MICROS)
    while micros / _MICROS < seconds:
        micros += 1
    while (micros - 1) / _MICROS >= seconds:
        micros -= 1
    return micros


def from_micros(micros: int) -> datetime:
    """A count of microseconds since 1970 as a time."""
    return _EPOCH + timedelta(microseconds=micros)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))
