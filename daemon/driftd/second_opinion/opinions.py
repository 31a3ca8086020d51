"""Asks Evidently's stattests about columns, and how often each would alarm on the reference itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.second_opinion.adapter import EvidentlyError, StattestAnswer, ask_stattest
from driftd.stattests import CATEGORY, NUMBER, TEXT, Opinion, Stattest, stattest_named
from driftd_detectors.schema import Kind
from driftd_detectors.values import class_name

if TYPE_CHECKING:
    from driftd_detectors.schema import Schema

Series = pd.Series

MOST_CATEGORIES = 100  # a page that plots 100,000 categories takes minutes and opens in no browser
OTHER = "(other)"


@dataclass(slots=True)
class Prepared:
    """Two samples with the columns that can be compared, and one sentence for each that was left out or changed."""

    reference: pd.DataFrame
    current: pd.DataFrame
    columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert_column(column: Series, kind: Kind) -> Series:
    """A column as its kind says: finite floats, text (booleans "0" and "1"), or times; NaN for all that is none."""
    if kind is Kind.NUMBER:
        numbers = pd.to_numeric(column, errors="coerce").astype("float64")
        return numbers.replace([np.inf, -np.inf], np.nan)
    if kind is Kind.TIMESTAMP:
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            return pd.to_datetime(column, utc=True).dt.tz_localize(None)
        return pd.to_datetime(pd.to_numeric(column, errors="coerce"), unit="s", errors="coerce")
    return column.map(class_name, na_action="ignore").astype(object)


def prepare(reference: pd.DataFrame, current: pd.DataFrame, schema: Schema, columns: list[str]) -> Prepared:
    """Type `columns` of both samples, and leave out (with a sentence) what cannot be compared at all."""
    kept, kept_now, notes = {}, {}, []
    for name in columns:
        reason = _unfit(reference, current, name)
        if reason is not None:
            notes.append(reason)
            continue
        before, now = (
            convert_column(reference[name], schema.kind_of(name)),
            convert_column(current[name], schema.kind_of(name)),
        )
        for rows, where in ((before, "reference"), (now, "window")):
            if not rows.notna().any():
                reason = f"Column {name!r} has no usable value in the {where}'s {len(rows):,} sampled rows."
        if reason is not None:
            notes.append(reason)
            continue
        if schema.kind_of(name) is Kind.CATEGORY:
            before, now, seen = _common_only(before, now)
            if seen > MOST_CATEGORIES:
                notes.append(
                    f"Column {name!r} has {seen:,} categories; all but the {MOST_CATEGORIES} most frequent are {OTHER}."
                )
        kept[name], kept_now[name] = before.reset_index(drop=True), now.reset_index(drop=True)
    return Prepared(pd.DataFrame(kept), pd.DataFrame(kept_now), list(kept), notes)


def _unfit(reference: pd.DataFrame, current: pd.DataFrame, name: str) -> str | None:
    for frame, where in ((reference, "reference"), (current, "window")):
        if name not in frame.columns:
            return f"Column {name!r} is absent from the {where}."
        if not len(frame):
            return f"Column {name!r} has no row in the {where}."
    return None


def _common_only(before: Series, now: Series) -> tuple[Series, Series, int]:
    """Both columns with rare categories pooled, and how many categories there were."""
    counts = pd.concat([before, now]).value_counts()
    if len(counts) <= MOST_CATEGORIES:
        return before, now, len(counts)
    common = set(counts.index[:MOST_CATEGORIES])

    def pool(column: Series) -> Series:
        return column.where(column.isin(common) | column.isna(), OTHER)

    return pool(before), pool(now), len(counts)


FEWEST_ROWS = 10  # below this a test's answer is noise
FEW_VALUES = 20  # a number with at most so many distinct values may be put to a test for categories
TRIALS = 20
TRIAL_SECONDS = 5.0  # for each column: permutation tests take seconds a time

# These build a matrix of all pairs, or permute the rows a thousand times in Python.
ROW_LIMITS = {"empirical_mmd": 500, "TVD": 500, "anderson": 2000}
# These raise unless both samples have the same number of rows.
EQUAL_SIZES = frozenset({"g_test", "fisher_exact"})


def opinions(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    schema: Schema,
    chosen: Mapping[str, str],
    *,
    seed: int,
    trials: int = TRIALS,
) -> list[Opinion]:
    """Ask the chosen stattest of each column of `chosen` (column -> name). Rows of `reference` are in order of time.

    One opinion a column, in the order given, whatever happens: what cannot be asked says why in its sentence.
    Deterministic for a `seed`, but for the number of trials, which stops after `TRIAL_SECONDS`.
    """
    return [
        _opinion(reference, current, schema, column, name, seed=seed, trials=trials) for column, name in chosen.items()
    ]


def _opinion(
    reference: pd.DataFrame, current: pd.DataFrame, schema: Schema, column: str, name: str, *, seed: int, trials: int
) -> Opinion:
    try:
        stattest = stattest_named(name)
        before, now, column_type = samples_for(stattest, reference, current, schema, column)
        answer = ask(stattest, before, now, column_type, seed)
    except (ValueError, EvidentlyError) as error:
        return Opinion(column, name, None, None, None, f"{name} could not be asked about {column!r}: {error}.")
    own, tried = _cries_wolf(stattest, before, len(now), column_type, seed, trials)
    sentence = _sentence(stattest, column, answer, own, tried)
    return Opinion(
        column, name, answer.score, answer.threshold, answer.drifted, sentence, len(before), len(now), own, tried
    )


def samples_for(
    stattest: Stattest, reference: pd.DataFrame, current: pd.DataFrame, schema: Schema, column: str
) -> tuple[Series, Series, str]:
    """The two samples of the column as the test wants them, and their type; raises ValueError with why not."""
    if column not in schema.names:
        raise ValueError(f"it is no feature of the model (features: {', '.join(schema.names)})")
    kind, samples = schema.kind_of(column), []
    for frame, where in ((reference, "reference"), (current, "window")):
        if column not in frame.columns:
            raise ValueError(f"it is absent from the {where}")
        values = _values(frame[column], kind)
        if len(values) < FEWEST_ROWS:
            raise ValueError(f"the {where} has {len(values)} usable values, and {FEWEST_ROWS} are the least")
        samples.append(values)
    before, now = samples
    column_type = _column_type(stattest, kind, before, now)
    if column_type is None:
        distinct = pd.concat([before, now]).nunique()
        raise ValueError(
            f"it is a {kind} with {distinct} distinct values; this test is for {' or '.join(stattest.types)} columns"
        )
    return _present(before, column_type), _present(now, column_type), column_type


def _values(column: Series, kind: Kind) -> Series:
    """What a stattest may see: no missing and no infinite value; times as seconds since 1970."""
    values = convert_column(column, kind).dropna()
    if kind is Kind.TIMESTAMP:
        values = values.astype("datetime64[us]").astype("int64") / 1e6
    return values.reset_index(drop=True)


def _column_type(stattest: Stattest, kind: Kind, before: Series, now: Series) -> str | None:
    """The type under which a column of that kind can be put to the test, or None."""
    if kind in {Kind.NUMBER, Kind.TIMESTAMP}:
        if NUMBER in stattest.types:
            return NUMBER
        few = pd.concat([before, now]).nunique() <= FEW_VALUES
        return CATEGORY if few and CATEGORY in stattest.types else None
    if CATEGORY in stattest.types:
        return CATEGORY
    return TEXT if TEXT in stattest.types and kind is Kind.CATEGORY else None


def _present(values: Series, column_type: str) -> Series:
    return values.astype("float64") if column_type == NUMBER else values.astype(str).astype(object)


def ask(stattest: Stattest, before: Series, now: Series, column_type: str, seed: int) -> StattestAnswer:
    """Ask within the test's limits of size. The seed is set for the tests that permute by NumPy's global state."""
    limit = ROW_LIMITS.get(stattest.name, max(len(before), len(now)))
    sizes = (min(limit, len(before)), min(limit, len(now)))
    if stattest.name in EQUAL_SIZES:
        sizes = (min(sizes), min(sizes))
    before, now = (_thin(rows, size) for rows, size in zip((before, now), sizes, strict=True))
    np.random.seed(seed % 2**32)  # noqa: NPY002 - Evidently's permutations draw from the global state
    return ask_stattest(stattest.name, before, now, column_type)


def _thin(rows: Series, size: int) -> Series:
    """`size` rows, evenly spaced, so that all of the time that they cover stays in."""
    if size >= len(rows):
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, size).astype(int)].reset_index(drop=True)


def _cries_wolf(
    stattest: Stattest, before: Series, rows: int, column_type: str, seed: int, trials: int
) -> tuple[int, int]:
    """In how many of how many stretches of the reference, each against the rest of it, the test says drifted.

    A stretch is `rows` values in a row (a fifth of the reference at most), so that what always moves from one hour or
    day to the next counts too. Stops after `TRIAL_SECONDS`. A stretch that cannot be tested is not counted.
    """
    length = min(rows, len(before) // 5)
    if length < FEWEST_ROWS:
        return 0, 0
    own, tried, ends = 0, 0, time.monotonic() + TRIAL_SECONDS
    for first in np.unique(np.linspace(0, len(before) - length, trials).astype(int)):
        inside = np.zeros(len(before), dtype=bool)
        inside[first : first + length] = True
        try:
            answer = ask(
                stattest,
                before[~inside].reset_index(drop=True),
                before[inside].reset_index(drop=True),
                column_type,
                seed,
            )
        except EvidentlyError:
            continue  # it is the count of answers that is told, and this is none
        own, tried = own + answer.drifted, tried + 1
        if time.monotonic() > ends:
            break
    return own, tried


def _take(rows: Series, chosen: NDArray[np.bool_]) -> Series:
    return rows[chosen].reset_index(drop=True)


def _sentence(stattest: Stattest, column: str, answer: StattestAnswer, own: int, tried: int) -> str:
    word = "drifted" if answer.drifted else "not drifted"
    relation = "p-value" if stattest.is_p_value else "score"
    parts = [
        f"{stattest.title} ({stattest.name}) says {word} of {column!r}:"
        f" {relation} {answer.score:.3g}, threshold {answer.threshold:g}."
    ]
    if tried:
        parts.append(f"It says drifted of {own} of {tried} stretches of the reference itself.")
    if stattest.caveat:
        parts.append(stattest.caveat)
    return " ".join(parts)
