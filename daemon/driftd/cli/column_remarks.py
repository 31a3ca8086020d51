"""What `driftd init` says of the columns of a file: what each was taken for, and what is surprising about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from driftd_detectors.columns import Numbers
from driftd_detectors.kinds import Kind, is_padded
from driftd_detectors.values import class_name

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


def _newest(count: int, at: Numbers | None) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The newest quarter of the rows; the last ones where rows have no time."""
    order = np.arange(count) if at is None else np.argsort(np.nan_to_num(at, nan=-np.inf), kind="stable")
    newest = np.zeros(count, dtype=np.bool_)
    newest[order[int(count * (1 - NEWEST)) :]] = True
    return newest
