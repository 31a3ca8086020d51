"""What `driftd init` says of the columns of a file: the kind of each, and what surprises in their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from driftd_detectors.columns import Numbers
from driftd_detectors.schema import MOSTLY, Kind, is_padded
from driftd_detectors.values import class_name, number_of_text, zone_remedy

MOST_CLASSES = 20
MOST_SIGNS = 5  # different texts among numbers that may stand for nothing
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
    elif (written := written_numbers(column)) is not None:
        yield f"{column.name} is a category: {written}"
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


_NUMBER = r"[-+]?(?:\d{1,3}(?:[.,' \u2019\u00a0\u202f]\d{3})+|\d+)(?:[.,]\d+)?"
_WITH_UNIT = re.compile(rf"\s*[$€£¥]?\s*{_NUMBER}\s*[%$€£¥]?\s*")


def zone_names(column: pd.Series) -> str | None:
    """That the texts of a column are times with the short name of a zone, and the remedy; None where they are not."""
    text = next((value for value in column.dropna() if isinstance(value, str)), "")
    remedy = zone_remedy(text)
    return f"it holds texts such as {text[:40]!r}{remedy}, and run this again" if remedy else None


def written_numbers(column: pd.Series) -> str | None:
    """That the texts of a column are numbers as people write them, and the remedy; None where they are not.

    Plain whole numbers in text are codes, unless there are too many of them.
    """
    texts = [value for value in column.dropna().unique() if isinstance(value, str)]
    numbers = [text for text in texts if _WITH_UNIT.fullmatch(text) is not None]
    odd = [text for text in numbers if not text.isdigit()]
    if not numbers or len(numbers) < MOSTLY * len(texts) or any(text.isdigit() and is_padded(text) for text in numbers):
        return None
    if not odd and len(numbers) <= MOST_CLASSES:
        return None
    example = (odd or numbers)[0]
    return (
        f"it holds texts such as {example!r}; if these are numbers, write them as plain numbers, or say which decimal "
        "sign they have (--decimal), and run this again"
    )
