"""A window as counts that a database makes: GROUP BYs on the bins of a layout, read into the Profile of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from driftd.sources.engines.protocol import EngineError, Query
from driftd.sources.engines.sql_text import Statements, quote
from driftd_detectors.batches.arrow_columns import has_text, is_text, read_feature, read_times
from driftd_detectors.batches.profile_batches import ProfileJob
from driftd_detectors.batches.rows import Rows
from driftd_detectors.columns import Coded, Columns
from driftd_detectors.profile.column_layout import ColumnLayout
from driftd_detectors.profile.counting import NO_MOMENTS, ColumnMoments, Moments, bins_of
from driftd_detectors.profile.layout import predicted_classes
from driftd_detectors.profile.profile import Joint, Profile, no_joint, normal_scores
from driftd_detectors.schema import Kind
from driftd_detectors.window_data import WindowData, empty_window

MOST_WORDS = 100_000  # distinct values of all categories of one type
_UNITS = 1024  # of a normal score: it is a whole number of them
_LARGE = 1e140  # values beyond are taken as this in means, so that no square overflows in any database
_INFINITY = "CAST('Infinity' AS DOUBLE PRECISION)"
_MAX = 1.7976931348623157e308
Ask = Callable[[str], pa.Table]


@dataclass(frozen=True)
class Item:
    """One column of a layout: where it lies in it, and the column of the table, None where there is none."""

    place: int
    layout: ColumnLayout
    name: str | None
    is_feature: bool


@dataclass(frozen=True)
class Counting:
    """The statements that count one window, and how their answers become a Profile."""

    statements: Statements
    query: Query
    job: ProfileJob

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every column of the layout."""
        layout, names, there = self.job.layout, self.job.names, self.statements.predictions.columns
        own = {"prediction": names.prediction, "score": names.score}
        features = [(column, column.name, True) for column in layout.features]
        given = [(column, own[column.name], False) for column in layout.predictions]
        return tuple(
            Item(place, column, name if name in there else None, is_feature)
            for place, (column, name, is_feature) in enumerate([*features, *given])
        )

    @cached_property
    def numbers(self) -> tuple[Item, ...]:
        """The numeric columns that can be read as numbers."""
        return tuple(item for item in self.items if item.layout.numeric and item.name and self._is_number(item))

    @cached_property
    def words(self) -> dict[pa.DataType, list[Item]]:
        """The columns of categories and booleans, by their types."""
        found: dict[pa.DataType, list[Item]] = {}
        for item in self.items:
            if not item.layout.numeric and item.name and has_text(self._kind(item)):
                found.setdefault(self._kind(item), []).append(item)
        return found

    def bins(self) -> str | None:
        """How many rows each bin of each numeric column has: (place, bin, rows)."""
        parts = [
            f"SELECT {n.place} AS place, c{n.place} AS bin, COUNT(*) AS n FROM w GROUP BY c{n.place}"
            for n in self.numbers
        ]
        return f"{self._with_bins()} {' UNION ALL '.join(parts)}" if parts else None

    def distinct(self, kind: pa.DataType) -> str:
        """The distinct values of the columns of one type: (place, word, rows)."""
        table = self.statements.predictions
        columns = ", ".join(f"{table.column(str(item.name))} AS w{item.place}" for item in self.words[kind])
        parts = [
            f"SELECT {item.place} AS place, w{item.place} AS word, COUNT(*) AS n FROM w GROUP BY w{item.place}"
            for item in self.words[kind]
        ]
        rows = f"WITH w AS (SELECT {columns} FROM {table.sql} p WHERE {self._span})"
        return f"{rows} SELECT place, word, n FROM ({' UNION ALL '.join(parts)}) u LIMIT {MOST_WORDS + 1}"

    def versions(self) -> str:
        """How many rows each version predicted, before and after the champion began: (version, early, rows)."""
        table, names = self.statements.predictions, self.job.names
        version = table.column(names.version) if names.version in table.columns else "NULL"
        since = self.job.served.since
        early = "0" if since == -np.inf else f"CASE WHEN {self._at} < {number(since)} THEN 1 ELSE 0 END"
        rows = f"SELECT {version} AS version, {early} AS early FROM {table.sql} p WHERE {self._span}"
        return f"WITH w AS ({rows}) SELECT version, early, COUNT(*) AS n FROM w GROUP BY version, early"

    def summary(self) -> str:
        """One row: rows, first and last time, then per numeric column mean, variance and extremes, then faults."""
        table, at = self.statements.predictions, quote(self.statements.names.at)
        chosen = ["COUNT(*) AS n", "MIN(w.driftd_at) AS first_at", "MAX(w.driftd_at) AS last_at"]
        columns = [f"p.{at} AS driftd_at"]
        for item in self.numbers:
            x = f"x{item.place}"
            columns.append(f"{self._value(item)} AS {x}")
            finite = f"{x} >= {number(-_MAX)} AND {x} <= {number(_MAX)}"
            low, high = number(-_LARGE), number(_LARGE)
            held = f"CASE WHEN {x} < {low} THEN {low} WHEN {x} > {high} THEN {high} ELSE {x} END"
            held = f"CASE WHEN {finite} THEN {held} END"
            exact = f"CASE WHEN {finite} THEN {x} END"
            chosen += [f"AVG({held}) AS m{item.place}", f"VAR_POP({held}) AS v{item.place}"]
            chosen += [f"MIN({exact}) AS l{item.place}", f"MAX({exact}) AS h{item.place}"]
        for item in self.items:
            if (fault := self._fault(item)) is not None:
                columns.append(f"{fault} AS f{item.place}")
                chosen.append(f"SUM(f{item.place}) AS f{item.place}")
        rows = f"SELECT {', '.join(columns)} FROM {table.sql} p WHERE {self._span}"
        return f"WITH w AS ({rows}) SELECT {', '.join(chosen)} FROM w"

    def pairs(self, words: dict[int, pa.Table]) -> str | None:
        """One row: rows, the sums of the normal scores of the watched columns, the sums of their products."""
        watched = [self.items[place] for place in self.job.layout.joint]
        if len(watched) < 2 or any(item.name is None for item in watched):  # noqa: PLR2004 - a pair
            return None
        bins = [item for item in self.numbers if item.place in self.job.layout.joint]
        scores = [f"{self._score(item, words)} AS s{item.place}" for item in watched]
        places = [item.place for item in watched]
        sums = [f"CAST(SUM(s{a}) AS BIGINT) AS s{a}" for a in places]
        sums += [f"CAST(SUM(s{a} * s{b}) AS BIGINT) AS s{a}_{b}" for n, a in enumerate(places) for b in places[n:]]
        raw = [f"p.{quote(str(item.name))} AS r{item.place}" for item in watched if item not in bins]
        rows = f"{self._with_bins(bins, raw)}, s AS (SELECT {', '.join(scores)} FROM w)"
        return f"{rows} SELECT COUNT(*) AS n, {', '.join(sums)} FROM s"

    def read(self, ask: Ask) -> WindowData:
        """The window, asked for by statements."""
        summary = ask(self.summary()).to_pylist()[0]
        rows = int(summary["n"])
        if not rows:
            return empty_window(self.job.layout)
        words = {
            item.place: table for kind, items in self.words.items() for item, table in self._split(items, ask, kind)
        }
        counts = np.zeros(self.job.layout.bins, dtype=np.int64)
        unreadable = np.zeros(len(self.items), dtype=np.int64)
        absent = np.zeros(len(self.items), dtype=np.int64)
        found = self.bins()
        tables = {} if found is None else _by_place(ask(found))
        for item in self.items:
            first = int(self.job.layout.starts[item.place])
            own = counts[first : first + item.layout.bins]
            if item.name is None and item.is_feature:
                absent[item.place] = rows
            elif item in self.numbers:
                own[_whole(tables[item.place], "bin")] = _whole(tables[item.place], "n")
            elif item.place in words:
                own += self._count_words(item, words[item.place], unreadable)
            else:
                own[-1] = rows
            unreadable[item.place] += int(summary.get(f"f{item.place}") or 0)
        pairs = self.pairs(words)
        profile = Profile(
            self.job.layout.fingerprint,
            rows,
            counts,
            Moments.of([self._moments(item, summary, counts) for item in self.items]),
            unreadable,
            absent,
            no_joint(len(self.job.layout.joint)) if pairs is None else self._joint(ask(pairs).to_pylist()[0]),
        )
        times = [float(read_times(pa.array([summary[name]]))[0]) for name in ("first_at", "last_at")]
        return WindowData(profile, times[0], times[1], self._foreign(ask(self.versions())))

    @cached_property
    def _span(self) -> str:
        return self.statements.span(self.query)

    @cached_property
    def _at(self) -> str:
        table, name = self.statements.predictions, self.statements.names.at
        return self._seconds(table.column(name), table.need(name, "the time of a prediction"), name)

    def _kind(self, item: Item) -> pa.DataType:
        return self.statements.predictions.columns[str(item.name)]

    def _is_number(self, item: Item) -> bool:
        kind = self._kind(item)
        if item.layout.kind is Kind.TIMESTAMP and is_text(kind):
            raise EngineError(f"column {item.name!r} holds times as text, which only count: here reads")
        plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or is_decimal(kind)
        return bool(
            plain or (item.layout.kind is Kind.TIMESTAMP and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)))
        )

    def _value(self, item: Item) -> str:
        """A number, or an age in seconds; scores that are no probability are missing."""
        sql, kind = self.statements.predictions.column(str(item.name)), self._kind(item)
        if item.layout.kind is Kind.TIMESTAMP:
            return f"{self._at} - {self._seconds(sql, kind, str(item.name))}"
        value = as_double(sql, kind)
        if self._is_score(item):
            return f"CASE WHEN {value} >= 0 AND {value} <= 1 THEN {value} END"
        return value

    def _is_score(self, item: Item) -> bool:
        return not item.is_feature and item.layout.name == "score"

    def _fault(self, item: Item) -> str | None:
        """1 for each row whose value cannot be read as what the column is."""
        if item.name is None or (not item.is_feature and item.layout.name == "prediction"):
            return None
        sql = self.statements.predictions.column(item.name)
        if self._is_score(item) and item in self.numbers:
            value = as_double(sql, self._kind(item))
            return f"CASE WHEN {value} < 0 OR ({value} > 1 AND {value} <= {_INFINITY}) THEN 1 ELSE 0 END"
        known = item in self.numbers or not (item.layout.numeric or not has_text(self._kind(item)))
        return None if known else f"CASE WHEN {sql} IS NULL THEN 0 ELSE 1 END"

    def _seconds(self, sql: str, kind: pa.DataType, name: str) -> str:
        """A time as epoch seconds: whole microseconds divided once, which is the nearest float."""
        if pa.types.is_date(kind):
            sql, kind = f"CAST({sql} AS TIMESTAMP)", pa.timestamp("us")
        if not pa.types.is_timestamp(kind):
            if is_text(kind):
                raise EngineError(f"column {name!r} holds times as text, which only count: here reads")
            return as_double(sql, kind)
        if self.statements.dialect == "postgres":
            return f"CAST(EXTRACT(EPOCH FROM {sql}) AS DOUBLE PRECISION)"
        return f"CAST(EPOCH_US({sql}) AS DOUBLE PRECISION) / 1e6"

    def _with_bins(self, items: Sequence[Item] | None = None, more: Iterable[str] = ()) -> str:
        """`WITH v AS (values), w AS (bins)`: the bins of the rows, for all numeric columns unless some are named."""
        chosen = self.numbers if items is None else items
        values = [f"{self._value(item)} AS x{item.place}" for item in chosen]
        names = [column.rpartition(" AS ")[2] for column in more]
        table = self.statements.predictions.sql
        rows = f"SELECT {', '.join([*values, *more])} FROM {table} p WHERE {self._span}"
        bins = [f"{bin_of(f'x{item.place}', item.layout)} AS c{item.place}" for item in chosen]
        return f"WITH v AS ({rows}), w AS (SELECT {', '.join([*bins, *names])} FROM v)"

    def _score(self, item: Item, words: dict[int, pa.Table]) -> str:
        """The normal score of a row in whole units."""
        scores = np.round(normal_scores(item.layout) * _UNITS).astype(np.int64)
        if item in self.numbers:
            cases = [f"WHEN {bin_} THEN {score}" for bin_, score in enumerate(scores) if score]
            return f"CASE c{item.place} {' '.join(cases)} ELSE 0 END" if cases else "0"
        if item.place not in words:
            return "0"
        values = words[item.place].column("word")
        places = self._bins_of_words(item, values)
        literals = [
            (literal(value.as_py(), str(item.name)), scores[bin_])
            for value, bin_ in zip(values, places, strict=True)
            if scores[bin_]
        ]
        cases = [f"WHEN r{item.place} = {value} THEN {score}" for value, score in literals]
        return f"CASE {' '.join(cases)} ELSE 0 END" if cases else "0"

    def _split(self, items: Sequence[Item], ask: Ask, kind: pa.DataType) -> list[tuple[Item, pa.Table]]:
        found = ask(self.distinct(kind))
        if len(found) > MOST_WORDS:
            names = ", ".join(repr(item.name) for item in items)
            raise EngineError(f"{names} have more than {MOST_WORDS:,} distinct values: set source.count: here")
        tables = _by_place(found)
        return [(item, tables[item.place]) for item in items]

    def _bins_of_words(self, item: Item, values: pa.ChunkedArray) -> np.typing.NDArray[np.intp]:
        coded = self._codes_of(item, values)
        return bins_of(coded, item.layout)

    def _codes_of(self, item: Item, values: pa.ChunkedArray) -> Coded:
        """Distinct values as `summarise_rows` sees rows of them."""
        schema = self.job.schema
        if not item.is_feature:
            rows = Rows.read(pa.table({self.job.names.prediction: values}), self.job.names, schema)
            coded = predicted_classes(rows.outcomes.among(schema.classes))
        else:
            feature = next(feature for feature in schema.features if feature.name == item.layout.name)
            column, _ = read_feature(values, feature)
            coded = (
                Columns(len(values), {feature.name: column}, {})
                .rename_categories(schema.category_names)
                .values[feature.name]
            )
        assert isinstance(coded, Coded)
        return coded

    def _count_words(
        self, item: Item, table: pa.Table, unreadable: np.typing.NDArray[np.int64]
    ) -> np.typing.NDArray[np.int64]:
        coded, rows = self._codes_of(item, table.column("word")), _whole(table, "n")
        if item.layout.kind is Kind.BOOLEAN and item.is_feature:
            there = ~table.column("word").is_null().to_numpy()
            unreadable[item.place] += int(rows[(coded.codes < 0) & there].sum())
        return np.bincount(bins_of(coded, item.layout), weights=rows, minlength=item.layout.bins).astype(np.int64)

    def _moments(self, item: Item, summary: dict[str, float], counts: np.typing.NDArray[np.int64]) -> ColumnMoments:
        first = int(self.job.layout.starts[item.place])
        finite = int(counts[first + 1 : first + item.layout.bins - 2].sum())
        if item not in self.numbers or not finite:
            return NO_MOMENTS
        mean, variance, low, high = (float(summary[f"{letter}{item.place}"]) for letter in "mvlh")
        return ColumnMoments(finite, mean, variance * finite, low, high)

    def _joint(self, found: dict[str, int]) -> Joint:
        places = self.job.layout.joint
        sums = np.array([found[f"s{a}"] for a in places], dtype=np.float64) / _UNITS
        products = np.array([[found[f"s{min(a, b)}_{max(a, b)}"] for b in places] for a in places], dtype=np.float64)
        return Joint(int(found["n"]), sums, products / _UNITS**2)

    def _foreign(self, found: pa.Table) -> int:
        """Rows of other versions: each group is judged as one of its rows would be."""
        names, schema, served = self.job.names, self.job.schema, self.job.served
        total = 0
        for place, (early, rows) in enumerate(zip(_whole(found, "early"), _whole(found, "n"), strict=True)):
            at = np.nextafter(served.since, -np.inf) if early else max(served.since, self.job.start)
            row = pa.table({names.version: found.column("version").slice(place, 1), names.at: [float(at)]})
            total += int(rows) * served.foreign_rows(Rows.read(row, names, schema).outcomes)
        return total


def is_decimal(kind: pa.DataType) -> bool:
    """Whether a type holds decimals; PostgreSQL's come as text."""
    return bool(pa.types.is_decimal(kind) or (isinstance(kind, pa.OpaqueType) and kind.type_name == "numeric"))


def as_double(sql: str, kind: pa.DataType) -> str:
    """A number as a double: decimals by their text, since databases misround them otherwise."""
    if pa.types.is_boolean(kind):
        return f"CASE WHEN {sql} THEN 1e0 WHEN NOT {sql} THEN 0e0 END"
    if is_decimal(kind):
        sql = f"CAST({sql} AS VARCHAR)"
    return sql if kind == pa.float64() else f"CAST({sql} AS DOUBLE PRECISION)"


def number(value: float) -> str:
    """A double as a literal that every database reads to the same bits."""
    if np.isinf(value):
        return _INFINITY if value > 0 else "CAST('-Infinity' AS DOUBLE PRECISION)"
    text = repr(float(value))
    return text if "e" in text else f"{text}e0"


def bin_of(sql: str, column: ColumnLayout) -> str:
    """The bin of a number, as `bins_of` has it: NaN, which fails comparisons or is the greatest, is in the last."""
    edges = column.all_edges[:-2]  # without infinity and NaN
    cases = [f"WHEN {sql} < {number(edge)} THEN {bin_}" for bin_, edge in enumerate(edges)]
    cases += [f"WHEN {sql} <= {number(_MAX)} THEN {len(edges)}", f"WHEN {sql} = {_INFINITY} THEN {len(edges) + 1}"]
    return f"CASE {' '.join(cases)} ELSE {len(edges) + 2} END"


def literal(value: object, name: str) -> str:
    """A distinct value as SQL. Raises EngineError for types that have no plain literal."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        escaped = value.replace("'", "''")
        return f"'{escaped}'"
    raise EngineError(f"column {name!r} has two values of a type without literals: set source.count: here")


def _by_place(table: pa.Table) -> dict[int, pa.Table]:
    places = _whole(table, "place")
    return {int(place): table.filter(pa.array(places == place)) for place in np.unique(places)}


def _whole(table: pa.Table, name: str) -> np.typing.NDArray[np.int64]:
    return np.array(table.column(name).cast(pa.int64()).to_pylist(), dtype=np.int64)
