"""What `driftd init` reads off a file: the task, the times, the features, a window. Every guess is a remark."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import click
import numpy as np
import pandas as pd

from driftd.config.types import seconds
from driftd.training.bootstrap import FileColumns, epoch_seconds, read_series
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Kind, Task, is_padded, kind_of_column, learn_schema
from driftd_detectors.scores.scoring import FEWEST_ROWS
from driftd_detectors.values import class_name, learn_names, number_of_text

MANY_CATEGORIES = 1_000
NEWEST = 0.25  # of the rows: what the others are asked about
RARELY_BACK = 0.1  # share of the newest rows' values that no older row has
_PLURALS = {
    Kind.NUMBER: "numbers",
    Kind.CATEGORY: "categories",
    Kind.BOOLEAN: "booleans",
    Kind.TIMESTAMP: "timestamps",
}


def remarks_on(rows: pd.DataFrame, features: Mapping[str, Kind], at: Numbers | None) -> list[str]:
    """One sentence a kind that lists its columns, then one for each surprise."""
    found = []
    for kind, plural in _PLURALS.items():
        names = [name for name, own in features.items() if own is kind]
        if names:
            found.append(f"taken for {plural}: {', '.join(names)}")
    newest = _newest(len(rows), at)
    for name, kind in features.items():
        if kind is Kind.CATEGORY:
            found += _on_category(rows[name], newest)
    return found


def _on_category(column: pd.Series, newest: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Iterator[str]:
    present = column.notna().to_numpy()
    texts = np.array([class_name(value) for value in column[present]], dtype=object)
    distinct = set(texts.tolist())
    yield from _on_numbers(column, texts)
    if distinct and all(text.isdigit() for text in distinct) and any(map(is_padded, distinct)):
        yield f"{column.name} is a category, not a number: its digits have leading zeros"
    if len(distinct) > MANY_CATEGORIES:
        yield f"{column.name} has {len(distinct):,} different values; a model learns little from most of them"
    older = set(texts[~newest[present]].tolist())
    late = texts[newest[present]]
    new = sum(text not in older for text in late)
    if len(late) and new > RARELY_BACK * len(late):
        yield (
            f"the values of {column.name} rarely come back: {new / len(late):.0%} of the newest quarter's were never "
            "seen before, and so will be those to come; leave it out unless the model needs it"
        )


def _on_numbers(column: pd.Series, texts: np.ndarray[tuple[int], np.dtype[np.object_]]) -> Iterator[str]:
    """A column of numbers that is a category for some values alone: signs of what is missing, most often."""
    names, counts = np.unique(texts.astype(str), return_counts=True)
    is_text = np.array([says_no_number(str(name)) for name in names], dtype=np.bool_)
    others = int(counts[is_text].sum())
    if len(names) > MOST_CLASSES and 0 < others < len(texts) / 2 and is_text.sum() <= MOST_SIGNS:
        signs = ", ".join(repr(str(name)) for name in names[is_text])
        yield (
            f"{column.name} is a category for {others:,} of its {len(texts):,} values ({signs}); the others are "
            "numbers: if these stand for nothing, write them empty"
        )


def says_no_number(text: str) -> bool:
    """Whether a text is no number."""
    try:
        number_of_text(text)
    except ValueError:
        return True
    return False


def _newest(count: int, at: Numbers | None) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The newest quarter of the rows; the last ones where rows have no time."""
    order = np.arange(count) if at is None else np.argsort(np.nan_to_num(at, nan=-np.inf), kind="stable")
    newest = np.zeros(count, dtype=np.bool_)
    newest[order[int(count * (1 - NEWEST)) :]] = True
    return newest


MOST_CLASSES = 20
MOST_SIGNS = 5  # different texts among numbers that may stand for nothing
WINDOWS_WANTED = 56  # in the file: then the reference shows what windows always do
FEWEST_ROWS_A_WINDOW = 100
ROWS_TO_JUDGE = 1.5 * FEWEST_ROWS  # on average: then few windows have too few to say anything
LENGTHS = (("15m", 900.0), ("1h", 3600.0), ("6h", 21_600.0), ("1d", 86_400.0), ("1w", 604_800.0))
DAY = LENGTHS[3]
TIME_NAMES = ("ts", "time", "timestamp", "date", "datetime", "at", "event_time")
LABEL_TIME_NAMES = ("label_ts", "label_time", "label_at")
UNIQUE_SHARE = 0.95
EARLIEST, LATEST = 100_000_000.0, 7_258_118_400.0  # 1973 to 2200, in epoch seconds: no hour of the day
YEAR_2000, YEAR_2100 = 946_684_800.0, 4_102_444_800.0
UNITS = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
MOSTLY = 0.99  # of a column's values must be times for it to hold times
LONGEST_NAME = 63


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
) -> Guess:
    """Read off what was not said. Raises click.ClickException when the target is absent or nothing is left.

    `folders` are columns that stand in names of folders: none is the time of a row that has one of its own.
    """
    names = [str(column) for column in rows.columns]
    _require(names, [target, *columns.names])
    remarks: list[str] = []
    if rows[target].isna().all():
        raise click.ClickException(f"the target {target} is empty in every row: there is nothing to learn from")
    chosen = Task(task) if task is not None else _task_of(rows[target], remarks)
    _require_target(rows[target], chosen)
    free = [name for name in names if name not in {target, *columns.names}]
    label_time = columns.label_time or _time_named(rows, free, LABEL_TIME_NAMES, "time of a row's label", remarks)
    free = [name for name in free if name != label_time]
    own = [name for name in free if name not in folders]
    at = columns.time or _time_column(rows, own, remarks) or _time_column(rows, free, remarks)
    found = replace(columns, time=at, label_time=label_time)
    for column in (found.time, found.label_time):
        _require_times(rows, column)
    ignored = _ignored_columns(rows, [column for column in names if column not in {target, *found.names}], remarks)
    try:
        schema = learn_schema(rows, task=chosen, target=target, ignore=[*found.names, *ignored])
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    moments = epoch_seconds(rows[found.time]) if found.time is not None else None
    features = {feature.name: feature.kind for feature in schema.features}
    remarks += remarks_on(rows, features, moments)
    if moments is not None and np.isnan(moments).any():
        remarks.append(f"{int(np.isnan(moments).sum()):,} rows have no readable time in {found.time} and are left out")
    last = None if moments is None else float(np.nanmax(moments))
    if found.label_time is not None and last is not None:
        last = max(last, float(np.nanmax(epoch_seconds(rows[found.label_time]))))
    cut = _window_section(window) if window is not None else _window(len(rows), moments, remarks)
    return Guess(_slug(name), chosen, target, features, found, cut, last, tuple(remarks))


def _require(names: list[str], wanted: list[str]) -> None:
    absent = [name for name in wanted if name not in names]
    if absent:
        raise click.ClickException(f"no column {', '.join(map(repr, absent))} in the file; it has {', '.join(names)}")


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


def _numbers(column: pd.Series) -> Numbers:
    numbers, _ = read_series(column, Kind.NUMBER)
    assert isinstance(numbers, np.ndarray)
    return numbers[np.isfinite(numbers)]


def _time_named(
    rows: pd.DataFrame, names: list[str], usual: tuple[str, ...], what: str, remarks: list[str]
) -> str | None:
    """A column with a usual name that does hold times (an hour of the day called `time` does not)."""
    found = next((name for name in names if name.lower() in usual and _holds_times(rows[name])), None)
    if found is not None:
        remarks.append(f"{found} is taken for the {what}")
    return found


def _time_column(rows: pd.DataFrame, names: list[str], remarks: list[str]) -> str | None:
    return _time_named(rows, names, TIME_NAMES, "time of a row", remarks) or _date_column(rows, names, remarks)


def _date_column(rows: pd.DataFrame, names: list[str], remarks: list[str]) -> str | None:
    """The only column of dates, whatever its name; of several, none is surely the time of the row."""
    dated = [name for name in names if kind_of_column(rows[name]) is Kind.TIMESTAMP]
    if len(dated) == 1:
        remarks.append(f"{dated[0]} is taken for the time of a row: it is the only column of dates")
        return dated[0]
    if dated:
        remarks.append(f"{', '.join(dated)} are all dates: say with --time which one is the time of a row")
    return None


def _holds_times(column: pd.Series) -> bool:
    """Whether nearly all that the column holds are times; dates of any year, epoch seconds of ours."""
    held = column.dropna()
    kind = kind_of_column(held)
    if kind is Kind.BOOLEAN:
        return False
    moments = epoch_seconds(held)
    within = (moments >= EARLIEST) & (moments < LATEST) if kind is Kind.NUMBER else np.isfinite(moments)
    return bool(len(held)) and bool(within.mean() >= MOSTLY)


def _require_times(rows: pd.DataFrame, name: str | None) -> None:
    if name is not None and not _holds_times(rows[name]):
        smaller = _smaller_unit(rows[name])
        remedy = f"; it {smaller}" if smaller is not None else ""
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
            why[name] = f"it {smaller}" if smaller is not None else "it names the row"
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
