"""Which kind a column is, told from its values: `driftd init` and `learn_schema` ask here, whatever the format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from numbers import Real
from typing import TYPE_CHECKING, Any

from driftd_detectors.values import number_of_text

if TYPE_CHECKING:
    import pandas as pd

MOST_CODES = 20  # so many distinct numbers among texts may be codes of a list
MOSTLY = 0.99  # of the rows: the odd text among numbers is a fault of its row, not the kind of the column
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)? ?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_PADDED = re.compile(r"[+-]?0\d.*", re.ASCII | re.DOTALL)


class Kind(StrEnum):
    """How a feature is stored, binned and scored."""

    NUMBER = "number"  # float64; integers too (few distinct values become ordered categories)
    CATEGORY = "category"  # text, compared as text
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"  # epoch seconds; drift is scored on its age


def kind_of_values(counts: Mapping[object, int], *, untyped: bool = False) -> Kind:
    """The kind of a column that holds these values so many times (missing ones left out).

    `untyped` says that the format has no types, as CSV: texts of numbers are numbers then. Numbers that are written
    with leading zeros ("01") are codes, so a category. A column of nothing is a category.
    """
    if not counts:
        return Kind.CATEGORY
    if all(isinstance(value, str) for value in counts):
        return _kind_of_texts({str(value): count for value, count in counts.items()}, untyped=untyped)
    if all(type(value).__name__ in {"bool", "bool_"} for value in counts):
        return Kind.BOOLEAN
    if all(isinstance(value, date) for value in counts):  # datetimes and pandas' Timestamps too
        return Kind.TIMESTAMP
    return Kind.NUMBER if _mostly(counts, _is_number) else Kind.CATEGORY


def kind_of_column(column: pd.Series) -> Kind:
    """The kind of a pandas column: by its dtype where that tells, else by its values."""
    dtype = column.dtype
    if str(dtype) == "category":
        return Kind.CATEGORY if column.cat.categories.dtype.kind in "iufb" else _kind_of_objects(column)
    if dtype.kind == "b":
        return Kind.BOOLEAN
    if dtype.kind in "iuf":
        return Kind.NUMBER
    return Kind.TIMESTAMP if dtype.kind == "M" else _kind_of_objects(column)


def is_date(text: str) -> bool:
    """Whether a text is a whole date, with or without a time, as ISO 8601 writes it."""
    plain = text.strip()
    if _DATE.fullmatch(plain) is None:
        return False
    try:
        datetime.fromisoformat(plain)
    except ValueError:
        return False
    return True


def is_padded(text: str) -> bool:
    """Whether a text of digits begins with a zero that no number has, as codes do."""
    return _PADDED.fullmatch(text.strip()) is not None


def _kind_of_objects(column: pd.Series) -> Kind:
    try:
        found = column.dropna().astype(object).value_counts()
        counts = dict(zip(found.index.tolist(), found.tolist(), strict=True))
    except TypeError:  # lists and other things that have no identity
        return Kind.CATEGORY
    return kind_of_values(counts)


def _kind_of_texts(counts: Mapping[str, int], *, untyped: bool) -> Kind:
    if _mostly(counts, is_date):
        return Kind.TIMESTAMP
    if all(text.strip().lower() in {"true", "false"} for text in counts):
        return Kind.BOOLEAN
    if untyped and _mostly(counts, _says_number) and not any(map(is_padded, counts)):
        return Kind.NUMBER
    return Kind.CATEGORY


def _mostly(counts: Mapping[Any, int], holds: Callable[[Any], bool]) -> bool:
    """Whether it holds for all values; or for nearly all rows, where so many values are no list of codes."""
    good = {value: count for value, count in counts.items() if holds(value)}
    if len(good) == len(counts):
        return True
    return len(good) > MOST_CODES and sum(good.values()) >= MOSTLY * sum(counts.values())


def _is_number(value: object) -> bool:
    return isinstance(value, Real | Decimal)


def _says_number(text: str) -> bool:
    try:
        number_of_text(text)
    except ValueError:
        return False
    return text.strip().lower() not in {"true", "false"}
