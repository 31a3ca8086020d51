"""Spark's SQL for the rows of a model: which partitions, which times, and the newest label of each row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from driftd.sources.engines.protocol import EngineError, Query

if TYPE_CHECKING:
    from driftd.config.source_schema import EngineTables, Partition

_DAY = 86_400.0
_MOST_SECONDS = 9e12  # beyond, microseconds overflow
_FORMS = {  # of partition keys that are texts or whole numbers: their format, and the seconds that one spans
    r"\d{4}-\d{2}-\d{2}": ("%Y-%m-%d", _DAY),
    r"\d{8}": ("%Y%m%d", _DAY),
    r"\d{4}-\d{2}": ("%Y-%m", 31 * _DAY),
    r"\d{6}": ("%Y%m", 31 * _DAY),
    r"\d{4}-\d{2}-\d{2}-\d{2}": ("%Y-%m-%d-%H", 3600.0),
    r"\d{4}-\d{2}-\d{2}T\d{2}": ("%Y-%m-%dT%H", 3600.0),
    r"\d{10}": ("%Y%m%d%H", 3600.0),
}
_NUMERIC = re.compile(r"tinyint|smallint|int|bigint|float|double|decimal.*")
_WHOLE = re.compile(r"tinyint|smallint|int|bigint")


def quote(name: str) -> str:
    """A name as an identifier."""
    return "`" + name.replace("`", "``") + "`"


def number(value: float) -> str:
    """A float as a literal of type double."""
    if math.isinf(value):
        return f"double('{'-' if value < 0 else ''}Infinity')"
    return f"{value!r}D"


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the types of its columns, as Spark spells them."""

    name: str
    types: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self.types

    def seconds(self, name: str) -> str:
        """A column of times as epoch seconds, the same bits that Arrow's microseconds give; NULL without a time."""
        column, kind = quote(name), self.types.get(name, "")
        if kind == "timestamp":
            return f"unix_micros({column}) / 1e6D"
        if kind == "timestamp_ntz":
            return f"unix_micros(CAST({column} AS TIMESTAMP)) / 1e6D"
        if kind == "date":
            return f"unix_date({column}) * 86400D"
        if _NUMERIC.fullmatch(kind):
            return f"nullif(CAST({column} AS DOUBLE), double('NaN'))"
        if kind == "string":
            return f"unix_micros(try_cast({column} AS TIMESTAMP)) / 1e6D"
        return "CAST(NULL AS DOUBLE)"

    def about(self, name: str, start: float, end: float) -> str:
        """A condition that files and row groups are left out by; it holds for all rows between the two times."""
        column, kind = quote(name), self.types.get(name, "")
        bounds = []
        for sign, at in ((">=", start), ("<=", end)):
            if abs(at) < _MOST_SECONDS:
                text = _time_literal(kind, at, -1 if sign == ">=" else 1)
                bounds += [] if text is None else [f"{column} {sign} {text}"]
        return " AND ".join(bounds) or "true"

    def between(self, name: str, start: float, end: float) -> str:
        """The rows with `start <= at < end`, exactly."""
        seconds = self.seconds(name)
        exact = f"{seconds} >= {number(start)} AND {seconds} < {number(end)}"
        return f"{self.about(name, start, end)} AND {exact}"

    def has_label(self, name: str) -> str:
        """The rows whose label is one: no NULL, no NaN."""
        column = quote(name)
        no_number = f" AND NOT isnan({column})" if self.types[name] in {"float", "double"} else ""
        return f"{column} IS NOT NULL{no_number}"

    def identity(self, name: str) -> str:
        """An identity as text: 5, 5.0 and "5.0" are one."""
        column, kind = quote(name), self.types[name]
        if _WHOLE.fullmatch(kind):
            return f"CAST({column} AS STRING)"
        if _NUMERIC.fullmatch(kind):
            whole = f"CAST(CAST({column} AS DECIMAL(38, 0)) AS STRING)"
            return f"CASE WHEN {column} = floor({column}) THEN {whole} ELSE CAST({column} AS STRING) END"
        return f"regexp_replace(trim(CAST({column} AS STRING)), '^(-?[0-9]+)[.]0*$', '$1')"


def _time_literal(kind: str, at: float, margin: int) -> str | None:
    micros = math.floor(at * 1e6) + margin
    if kind == "timestamp":
        return f"timestamp_micros({micros})"
    if kind == "timestamp_ntz":
        return f"CAST(timestamp_micros({micros}) AS TIMESTAMP_NTZ)"
    if kind == "date":
        return f"date_from_unix_date({math.floor(at / _DAY)})"
    return number(at) if _NUMERIC.fullmatch(kind) else None


@dataclass(frozen=True, slots=True)
class Keys:
    """The partition key of a table; `format` is how its texts or numbers are written, None where it is a time."""

    name: str
    kind: str
    slack: float
    format: str | None
    span: float

    @classmethod
    def read(cls, partition: Partition, table: Table, example: object) -> Keys:
        """The key, by one of its values. Raises EngineError where it is no time."""
        kind = table.types.get(partition.key)
        if kind is None:
            raise EngineError(f"{table.name} has no column {partition.key!r}: mend source.partition.key")
        if kind in {"date", "timestamp", "timestamp_ntz"}:
            return cls(partition.key, kind, partition.slack, None, _DAY)
        for pattern, (form, span) in _FORMS.items():
            if re.fullmatch(pattern, str(example)):
                return cls(partition.key, kind, partition.slack, form, span)
        raise EngineError(
            f"the partition key {partition.key!r} of {table.name} holds {example!r}, which is no day, hour or month "
            "such as 2026-01-31, 20260131, 2026-01-31-23 or 2026-01: leave source.partition out"
        )

    def near(self, start: float, end: float) -> str:
        """The partitions in which rows between two times may lie, and those without a key."""
        bounds = []
        for sign, at in ((">=", start - self.slack - self.span), ("<=", end + self.slack)):
            if abs(at) < _MOST_SECONDS / 100:
                bounds.append(f"{quote(self.name)} {sign} {self.literal(at)}")
        return f"({' AND '.join(bounds)} OR {quote(self.name)} IS NULL)" if bounds else "true"

    def literal(self, at: float) -> str:
        """The key of a time."""
        if self.format is None:
            literal = _time_literal(self.kind, at, 0)
            assert literal is not None  # it is a time
            return literal
        text = datetime.fromtimestamp(max(at, 0.0), UTC).strftime(self.format)
        return text if _WHOLE.fullmatch(self.kind) else f"'{text}'"

    def time(self, key: object) -> float:
        """The time at which a partition begins."""
        if isinstance(key, int | str) and self.format is not None:
            return datetime.strptime(str(key), self.format).replace(tzinfo=UTC).timestamp()
        moment = datetime.fromisoformat(str(key))
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


@dataclass(frozen=True, slots=True)
class LabelNames:
    """What the columns of the labels are called."""

    id: str = "prediction_id"
    label: str = "label"
    label_at: str = "label_at"
    received_at: str = "received_at"

    def time_in(self, labels: Table) -> str | None:
        """The column that says when a label was known; None where there is none."""
        return next((name for name in (self.label_at, self.received_at) if labels.has(name)), None)


@dataclass(frozen=True, slots=True)
class Names:
    """What the columns mean, as the config says."""

    id: str
    at: str
    label: str
    label_at: str
    labels: LabelNames

    @classmethod
    def of(cls, tables: EngineTables) -> Names:
        """Those of a config."""
        named = {str(meaning): name for meaning, name in tables.columns.items()}
        of_labels = {str(meaning): name for meaning, name in tables.label_columns.items()}
        own = named.get("id", "prediction_id")
        return cls(
            own,
            named.get("at", "at"),
            named.get("label", "label"),
            named.get("label_at", "label_at"),
            LabelNames(**{"id": own, **of_labels}),
        )


@dataclass(frozen=True, slots=True)
class Statements:
    """The SELECTs of one model. `labels` is None where they stand beside the predictions."""

    predictions: Table
    labels: Table | None
    names: Names
    keys: Keys | None

    def rows(self, query: Query) -> str:
        """The rows of a query: its columns as far as they are there, and the newest label of each."""
        source = f"SELECT {self._columns(query)} FROM {self.predictions.name} WHERE {self._where(query)}"
        if query.known_by is None or self.labels is None:
            return source
        join = "JOIN" if query.labelled_only else "LEFT JOIN"
        columns = [f"p.{quote(name)}" for name in query.columns if self.predictions.has(name)]
        names = self.names
        label = f"l.newest.label AS {quote(names.label)}, l.newest.known AS {quote(names.label_at)}"
        newest = self._newest_labels(self.labels, query.known_by)
        return (
            f"SELECT {', '.join([*columns, label])} FROM ({source}) p {join} ({newest}) l ON p.driftd_id = l.driftd_id"
        )

    def count(self, query: Query) -> str:
        """How many rows there are."""
        return f"SELECT count(*) FROM ({self.rows(query)})"

    def so_many_back(self, rows: int, query: Query) -> str:
        """The time of the row that is so many before the newest."""
        wanted = Query((self.names.at,), query.start, query.end, query.known_by, labelled_only=query.labelled_only)
        times = self.predictions.seconds(self.names.at)
        return f"SELECT {times} AS at FROM ({self.rows(wanted)}) ORDER BY at DESC LIMIT 1 OFFSET {rows - 1}"

    def key_extent(self) -> str | None:
        """The first and the last partition key; None where there is none."""
        if self.keys is None:
            return None
        key = quote(self.keys.name)
        return f"SELECT min({key}), max({key}) FROM {self.predictions.name}"

    def extent(self, since: float | None, first_key: object = None, last_key: object = None) -> str:
        """The first time (NULL after an earlier look) and the newest one, from few partitions."""
        seconds, name, keys = self.predictions.seconds(self.names.at), self.predictions.name, self.keys
        if since is not None:
            where = self.predictions.about(self.names.at, since, math.inf)
            near = "true" if keys is None else keys.near(since, math.inf)
            return f"SELECT CAST(NULL AS DOUBLE), max({seconds}) FROM {name} WHERE {near} AND {where}"
        if keys is None or first_key is None or last_key is None:
            return f"SELECT min({seconds}), max({seconds}) FROM {name}"
        first, last = keys.time(first_key), keys.time(last_key)
        early = keys.near(-math.inf, first + keys.span + keys.slack)
        late = keys.near(last - keys.slack, math.inf)
        oldest = f"(SELECT min({seconds}) FROM {name} WHERE {early})"
        return f"SELECT {oldest}, (SELECT max({seconds}) FROM {name} WHERE {late})"

    def newest_label(self, since: float | None) -> str | None:
        """The time of the newest label, of those later than an earlier look; None where only a scan would tell."""
        if self.labels is None:
            return None
        column = self.names.labels.time_in(self.labels)
        if column is None:
            return None
        where = "true" if since is None else self.labels.about(column, since, math.inf)
        has_label = self.labels.has_label(self.names.labels.label)
        return f"SELECT max({self.labels.seconds(column)}) FROM {self.labels.name} WHERE {where} AND {has_label}"

    def example_key(self, key: str) -> str:
        """Any value of the partition key."""
        return f"SELECT {quote(key)} FROM {self.predictions.name} WHERE {quote(key)} IS NOT NULL LIMIT 1"

    def _columns(self, query: Query) -> str:
        wanted = list(query.columns)
        if query.known_by is not None and self.labels is None:
            wanted += [self.names.label, self.names.label_at]
        columns = [quote(name) for name in dict.fromkeys(wanted) if self.predictions.has(name)]
        if query.known_by is not None and self.labels is not None:
            columns.append(f"{self.predictions.identity(self.names.id)} AS driftd_id")
        return ", ".join(columns) or "1 AS driftd_row"

    def _where(self, query: Query) -> str:
        names, table = self.names, self.predictions
        parts = [] if self.keys is None else [self.keys.near(query.start, query.end)]
        parts.append(table.between(names.at, query.start, query.end))
        if query.labelled_only and query.known_by is not None and self.labels is None:
            if not table.has(names.label):
                return "false"
            known = f"coalesce({table.seconds(names.label_at)}, {table.seconds(names.at)})"
            parts += [table.has_label(names.label), f"{known} <= {number(query.known_by)}"]
        return " AND ".join(parts)

    def _newest_labels(self, labels: Table, known_by: float) -> str:
        """The newest label of each identity; among those of one time the one received last, then the greatest."""
        names = self.names.labels
        received = labels.seconds(names.received_at)
        known = f"coalesce({labels.seconds(names.label_at)}, {received})"
        newest = f"max(struct({known} AS known, {received} AS received, {quote(names.label)} AS label))"
        was_known = f"{known} <= {number(known_by)}"
        return (
            f"SELECT {labels.identity(names.id)} AS driftd_id, {newest} AS newest FROM {labels.name} "
            f"WHERE {labels.has_label(names.label)} AND {was_known} GROUP BY 1"
        )
