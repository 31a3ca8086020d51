"""What `driftd init` reads off a file: the task, the times, the features, a window. Every guess is a remark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import click
import numpy as np
import pandas as pd

from driftd.cli.column_remarks import MOST_CLASSES, remarks_on, written_numbers, zone_names
from driftd.config.types import seconds
from driftd.sources.file_system import quote_names
from driftd.sources.row_counts import are_possible
from driftd.training.bootstrap import FileColumns, epoch_seconds, read_series
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import MOSTLY, Kind, Task, kind_of_column, learn_schema
from driftd_detectors.scores.scoring import FEWEST_ROWS
from driftd_detectors.times import time_obstacle
from driftd_detectors.values import class_name, learn_names, vocabulary_of

WINDOWS_WANTED = 56  # in the file: then the reference shows what windows always do
FEWEST_ROWS_A_WINDOW = 100
ROWS_TO_JUDGE = 1.5 * FEWEST_ROWS  # on average: then few windows have too few to say anything
LENGTHS = (("15m", 900.0), ("1h", 3600.0), ("6h", 21_600.0), ("1d", 86_400.0), ("1w", 604_800.0))
DAY = LENGTHS[3]
TIME_NAMES = ("ts", "time", "timestamp", "date", "datetime", "at", "event_time")
LABEL_TIME_NAMES = ("label_ts", "label_time", "label_at")
UNIQUE_SHARE = 0.95
LATEST = 7_258_118_400.0  # the year 2200
YEAR_2000, YEAR_2100 = 946_684_800.0, 4_102_444_800.0
UNITS = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
FEW_LABELS = 0.1  # of the times of labels: 9999-12-31 and the like often stand for labels that are not known yet
LONGEST_NAME = 63
TWO = 2
RARE_CLASS = 0.005  # share of the labelled rows


@dataclass(frozen=True, slots=True)
class Guess:
    """What the config will say."""

    name: str
    task: Task
    target: str
    features: Mapping[str, Kind]
    columns: FileColumns
    window: str  # as YAML
    last_at: float | None  # epoch seconds of the newest row; None where rows have no time
    remarks: tuple[str, ...]


def guess_settings(
    rows: pd.DataFrame,
    target: str,
    *,
    task: str | None,
    columns: FileColumns,
    window: str | None,
    name: str,
    folders: Collection[str] = (),
    now: float = LATEST,
    total: int | None = None,
) -> Guess:
    """Read off what was not said. Raises click.ClickException when the target is absent or nothing is left.

    `folders` are columns that stand in names of folders: none is the time of a row that has one of its own. Times that
    are impossible at `now` (epoch seconds) count as missing. Where the rows are a sample, the file has `total`.
    """
    names = [str(column) for column in rows.columns]
    _require(names, [target, *columns.names])
    remarks: list[str] = []
    if rows[target].isna().all():
        raise click.ClickException(f"the target {target} is empty in every row: there is nothing to learn from")
    chosen = Task(task) if task is not None else _task_of(rows[target], remarks)
    _require_target(rows[target], chosen)
    free = [name for name in names if name not in {target, *columns.names}]
    label_time = columns.label_time or _time_named(rows, free, now, LABEL_TIME_NAMES, "time of a row's label", remarks)
    free = [name for name in free if name != label_time]
    own = [name for name in free if name not in folders]
    at = columns.time or _time_column(rows, own, now, remarks) or _time_column(rows, free, now, remarks)
    found = replace(columns, time=at, label_time=label_time)
    _require_times(rows, found.time, now)
    _require_times(rows, found.label_time, now, FEW_LABELS)
    ignored = _ignored_columns(rows, [column for column in names if column not in {target, *found.names}], remarks)
    try:
        schema = learn_schema(rows, task=chosen, target=target, ignore=[*found.names, *ignored])
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    moments = _possible(rows, found.time, now) if found.time is not None else None
    features = {feature.name: feature.kind for feature in schema.features}
    remarks += [*_on_rare_classes(rows[target], schema.classes), *remarks_on(rows, features, moments)]
    remarks += [*_on_times(rows, found, now), *_on_ids(rows, found.id)]
    last = None if moments is None else float(np.nanmax(moments))
    if found.label_time is not None and last is not None:
        last = max(last, float(np.nanmax(_possible(rows, found.label_time, now))))
    cut = _window_section(window) if window is not None else _window(total or len(rows), moments, remarks)
    return Guess(_slug(name), chosen, target, features, found, cut, last, tuple(remarks))


def guess_columns(
    rows: pd.DataFrame, target: str, columns: FileColumns, features: Collection[str], now: float
) -> FileColumns:
    """The columns with those of times found by their names, where nobody named them; no feature is one."""
    free = [str(name) for name in rows.columns if str(name) not in {target, *columns.names, *features}]
    label_time = columns.label_time or _time_named(rows, free, now, LABEL_TIME_NAMES, "", [])
    free = [name for name in free if name != label_time]
    return replace(columns, time=columns.time or _time_column(rows, free, now, []), label_time=label_time)


def _require(names: list[str], wanted: list[str]) -> None:
    absent = [name for name in wanted if name not in names]
    if absent:
        raise click.ClickException(f"no column {', '.join(map(repr, absent))} in the file; it has {quote_names(names)}")


def _possible(rows: pd.DataFrame, name: str, now: float) -> Numbers:
    """The times of a column, NaN where no event can have happened then."""
    moments = epoch_seconds(rows[name])
    return np.where(are_possible(moments, now), moments, np.nan)


def _on_times(rows: pd.DataFrame, columns: FileColumns, now: float) -> list[str]:
    """How many rows have a time that cannot be used, column by column."""
    said = []
    for name, what in ((columns.time, "rows are left out"), (columns.label_time, "labels are left out")):
        moments = np.empty(0) if name is None else epoch_seconds(rows[name])
        unreadable = np.isnan(moments)
        bad = moments[~unreadable & ~are_possible(moments, now)]
        if name == columns.time and unreadable.any():
            said.append(f"{int(unreadable.sum()):,} rows have no readable time in {name} and are left out")
        if len(bad):
            said.append(f"{len(bad):,} {what}: an impossible time in {name} ({time_obstacle(float(bad[0]), now)})")
    return said


def _on_ids(rows: pd.DataFrame, name: str | None) -> list[str]:
    twice = 0 if name is None else int(rows[name].dropna().duplicated().sum())
    return [f"{twice:,} rows have an id in {name} that another row has: one row of each id is kept"] if twice else []


def possible_rows(rows: pd.DataFrame, guess: Guess, now: float) -> pd.DataFrame:
    """The rows without those of an impossible time, as a source sets them aside.

    A label that became known at an impossible time is never known: it is missing.
    """
    columns = guess.columns
    if columns.time is not None:
        moments = epoch_seconds(rows[columns.time])
        possible = are_possible(moments, now) | np.isnan(moments)
        rows = rows if possible.all() else rows[possible].reset_index(drop=True)
    if columns.label_time is not None and guess.target in rows.columns:
        moments = epoch_seconds(rows[columns.label_time])
        possible = are_possible(moments, now) | np.isnan(moments)
        if not possible.all():
            known = {name: rows[name].where(possible) for name in (guess.target, columns.label_time)}
            rows = rows.assign(**known)
    return rows


def _task_of(target: pd.Series, remarks: list[str]) -> Task:
    """Truths, texts and few whole numbers are classes; other numbers are predicted. More classes are not guessed."""
    kind = kind_of_column(target)
    distinct = len(_names(target))
    if kind is Kind.NUMBER:
        numbers = _numbers(target)
        whole = bool((numbers % 1 == 0).all())
        task = Task.CLASSIFICATION if whole and distinct <= MOST_CLASSES else Task.REGRESSION
    elif kind is Kind.TIMESTAMP:
        raise click.ClickException(f"the target {target.name} holds times: a model predicts classes or numbers")
    elif distinct > MOST_CLASSES:
        example = _names(target)[0]
        raise click.ClickException(
            f"the target {target.name} has {distinct:,} different texts, such as {example!r}: hardly classes. "
            "Say --task classification if they are, or make it a column of numbers"
        )
    else:
        task = Task.CLASSIFICATION
    remarks.append(f"{target.name} has {distinct} distinct values: a {task} (say otherwise with --task)")
    return task


def _require_target(target: pd.Series, task: Task) -> None:
    if task is Task.CLASSIFICATION:
        names = _names(target)
        if len(names) == 1:
            raise click.ClickException(
                f"the target {target.name} is {names[0]} in every row: there is nothing to tell apart"
            )
        return
    if not len(_numbers(target)):
        raise click.ClickException(f"the target {target.name} holds no numbers: a regression predicts numbers")


def _names(target: pd.Series) -> tuple[str, ...]:
    try:
        return learn_names(class_name(value) for value in target.dropna().unique())
    except TypeError as error:
        raise click.ClickException(f"the target {target.name} holds lists or objects: {error}") from error


def _on_rare_classes(target: pd.Series, classes: tuple[str, ...]) -> list[str]:
    """Classes beside others that hardly any row has: a slip in one label makes three classes of two."""
    if len(classes) <= TWO:
        return []
    vocabulary, counts = vocabulary_of(classes), Counter[str]()
    for value, count in target.value_counts().items():
        counts[vocabulary.resolve(class_name(value))] += int(count)
    rare = [f"{name!r} ({counts[name]:,})" for name in classes if counts[name] < RARE_CLASS * counts.total()]
    return [f"{target.name} has classes of few rows: {', '.join(rare)}; mend those that are slips"] if rare else []


def _numbers(column: pd.Series) -> Numbers:
    numbers, _ = read_series(column, Kind.NUMBER)
    assert isinstance(numbers, np.ndarray)
    return numbers[np.isfinite(numbers)]


def _time_named(
    rows: pd.DataFrame, names: list[str], now: float, usual: tuple[str, ...], what: str, remarks: list[str]
) -> str | None:
    """A column with a usual name that does hold times (an hour of the day called `time` does not)."""
    share = FEW_LABELS if usual is LABEL_TIME_NAMES else MOSTLY
    found = next((name for name in names if name.lower() in usual and _holds_times(rows[name], now, share)), None)
    if found is not None:
        remarks.append(f"{found} is taken for the {what}")
    return found


def _time_column(rows: pd.DataFrame, names: list[str], now: float, remarks: list[str]) -> str | None:
    return _time_named(rows, names, now, TIME_NAMES, "time of a row", remarks) or _date_column(
        rows, names, now, remarks
    )


def _date_column(rows: pd.DataFrame, names: list[str], now: float, remarks: list[str]) -> str | None:
    """The only column of dates, whatever its name; of several, none is surely the time of the row."""
    dates = [name for name in names if kind_of_column(rows[name]) is Kind.TIMESTAMP]
    dated = [name for name in dates if _holds_times(rows[name], now)]
    if len(dated) == 1:
        remarks.append(f"{dated[0]} is taken for the time of a row: it is the only column of dates")
        return dated[0]
    if dated:
        remarks.append(f"{', '.join(dated)} are all dates: say with --time which one is the time of a row")
    return None


def _holds_times(column: pd.Series, now: float, share: float = MOSTLY) -> bool:
    """Whether that share of what the column holds are times at which something can have happened."""
    held = column.dropna()
    kind = kind_of_column(held)
    if kind is Kind.BOOLEAN:
        return False
    return bool(len(held)) and bool(are_possible(epoch_seconds(held), now).mean() >= share)


def _require_times(rows: pd.DataFrame, name: str | None, now: float, share: float = MOSTLY) -> None:
    if name is None or _holds_times(rows[name], now, share):
        return
    smaller = _smaller_unit(rows[name])
    moments = epoch_seconds(rows[name].dropna())
    bad = moments[np.isfinite(moments) & ~are_possible(moments, now)]
    remedy = f"; it {smaller}" if smaller is not None else ""
    if not remedy and len(bad):
        remedy = f"; {time_obstacle(float(bad[0]), now)}"
    elif not remedy and (zones := zone_names(rows[name])) is not None:
        remedy = f"; {zones}"
    raise click.ClickException(
        f"{name} does not hold times: they are dates (ISO 8601) or epoch seconds since 1973{remedy}"
    )


def _smaller_unit(column: pd.Series) -> str | None:
    """That a column looks like epoch times in a unit smaller than the second, and the remedy; None if it does not."""
    numbers = _numbers(column) if kind_of_column(column) is Kind.NUMBER else np.empty(0)
    for unit, per_second in UNITS if len(numbers) else ():
        moments = numbers / per_second
        if ((moments >= YEAR_2000) & (moments < YEAR_2100)).all():
            return f"looks like times in {unit}: divide by {per_second:,.0f}, or write dates"
    return None


def _window_section(window: str) -> str:
    """`500` is a number of rows, `1h` a span."""
    if window.isdecimal():
        return f"{{rows: {int(window)}}}"
    try:
        seconds(window)
    except ValueError as error:
        raise click.BadParameter(f"{error}, or a number of rows", param_hint="--window") from error
    return f"{{every: {window}}}"


def _ignored_columns(rows: pd.DataFrame, candidates: list[str], remarks: list[str]) -> list[str]:
    """Columns that would be no feature: meta_*, constant, or naming each row."""
    why: dict[str, str] = {}
    for name in candidates:
        column = rows[name]
        distinct = _distinct(column)
        if distinct is None:
            why[name] = "it holds lists or objects"
        elif name.startswith("meta_"):
            why[name] = "its name begins with meta_"
        elif distinct <= 1:
            why[name] = "it is constant"
        elif _names_rows(column, distinct):
            smaller = _smaller_unit(column)
            written = written_numbers(column) or zone_names(column)
            why[name] = f"it {smaller}" if smaller is not None else written or "it names the row"
    remarks.extend(
        f"{name or 'the column without a name'} is left out of the features: {reason}" for name, reason in why.items()
    )
    return list(why)


def _names_rows(column: pd.Series, distinct: int) -> bool:
    """Whether nearly every text, or every whole number, is another: decimals are distinct by themselves."""
    count = len(column)
    if count <= MOST_CLASSES:
        return False
    kind = kind_of_column(column)
    if kind is Kind.NUMBER:
        return distinct == count and bool((_numbers(column) % 1 == 0).all())
    return kind is Kind.CATEGORY and distinct >= UNIQUE_SHARE * count


def _distinct(column: pd.Series) -> int | None:
    """How many different values; None where they cannot be told apart (lists, dictionaries)."""
    try:
        return int(column.nunique(dropna=False))
    except TypeError:
        return None


def _window(rows: int, at: np.ndarray[tuple[int], np.dtype[np.float64]] | None, remarks: list[str]) -> str:
    if at is None:
        size = max(FEWEST_ROWS_A_WINDOW, rows // WINDOWS_WANTED)
        remarks.append(f"rows have no time: windows of {size} rows")
        return f"{{rows: {size}}}"
    span = float(np.nanmax(at) - np.nanmin(at)) or 1.0
    text, length = _length(rows, span)
    if rows * length / span < ROWS_TO_JUDGE:
        remarks.append(f"these are few rows: a window with less than {FEWEST_ROWS} is not judged")
    remarks.append(
        f"windows of {text}: about {rows * length / span:.0f} rows each, {span / length:.0f} of them in the file"
    )
    return f"{{every: {text}}}"


def _length(rows: int, span: float) -> tuple[str, float]:
    """A day where that leaves enough windows with enough rows, since much comes back daily.

    Else the longest that leaves enough windows, with enough rows if that can be; else the shortest. Windows with too
    few rows to judge are worth nothing: rather fewer windows, and longer ones.
    """
    enough = [length for length in LENGTHS if span / length[1] >= WINDOWS_WANTED]
    full = [length for length in enough if rows * length[1] / span >= FEWEST_ROWS_A_WINDOW]
    if DAY in full:
        return DAY
    chosen = (full or enough or LENGTHS[:1])[-1]
    judged = [length for length in LENGTHS if rows * length[1] / span >= ROWS_TO_JUDGE and length[1] <= span]
    return chosen if not judged or chosen in judged else judged[0]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:LONGEST_NAME] or "model"
