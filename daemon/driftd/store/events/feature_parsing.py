"""Parses features of events, by kind. A missing value (None, NaN) is None."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

from driftd_detectors.schema import Kind
from driftd_detectors.times import read_time
from driftd_detectors.values import class_name, truth_of_text

LONGEST_TEXT = 1_000
_LARGEST = 2**1023  # an integer beyond this has no float
_SPOKEN = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}

ReadColumn = tuple[list[Any], dict[int, str]]  # the values, and the reason of each row that is refused


@dataclass(frozen=True, slots=True)
class FeatureError:
    """The feature and the reason for which a row is refused."""

    feature: str
    reason: str


def read_numbers(values: list[Any]) -> ReadColumn:
    """Numbers as they are; int and float are told apart no further."""
    kinds = set(map(type, values))
    if kinds <= {float, NoneType}:
        return values, {}
    if kinds <= {float, int, NoneType} and all(-_LARGEST < value < _LARGEST for value in values if type(value) is int):
        return values, {}
    return _one_by_one(values, _number)


def read_categories(values: list[Any]) -> ReadColumn:
    """Text of at most `LONGEST_TEXT` characters."""
    if set(map(type, values)) <= {str, NoneType}:
        texts = list(filter(None, values))
        if max(map(len, texts), default=0) <= LONGEST_TEXT and "".join(texts).isascii():
            return values, {}
    return _one_by_one(values, _category)


def read_booleans(values: list[Any]) -> ReadColumn:
    """True and False."""
    if set(map(type, values)) <= {bool, NoneType}:
        return values, {}
    return _one_by_one(values, _boolean)


def read_timestamps(values: list[Any]) -> ReadColumn:
    """Epoch seconds."""
    if set(map(type, values)) <= {NoneType}:
        return values, {}
    return _one_by_one(values, _timestamp)


READERS: dict[Kind, Callable[[list[Any]], ReadColumn]] = {
    Kind.NUMBER: read_numbers,
    Kind.CATEGORY: read_categories,
    Kind.BOOLEAN: read_booleans,
    Kind.TIMESTAMP: read_timestamps,
}


def _one_by_one(values: list[Any], read: Callable[[Any], Any]) -> ReadColumn:
    clean: list[Any] = []
    faults: dict[int, str] = {}
    for row, value in enumerate(values):
        try:
            clean.append(None if value is None else read(_plain(value)))
        except (ValueError, OverflowError) as error:
            clean.append(None)
            faults[row] = str(error)
    return clean, faults


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's own, pandas' missing values as None."""
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    return None if kind.__name__ in {"NAType", "NaTType"} else value


def _number(value: Any) -> float | int | None:
    if isinstance(value, str):
        if value in _SPOKEN:
            return _SPOKEN[value]
        raise ValueError(f"expected a number or null, got the text {value[:40]!r}")
    if isinstance(value, bool | float):
        return float(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else float(value)
    if isinstance(value, int):
        if -_LARGEST < value < _LARGEST:
            return value
        raise ValueError("expected a number that fits 64 bits of floating point")
    if value is None:
        return None
    raise _type_error("a number or null", value)


def _category(value: Any) -> str | None:
    if isinstance(value, float | Decimal) and math.isnan(value):
        return None
    if isinstance(value, bool | int | float | Decimal | UUID | date):
        value = class_name(value)
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"expected a text of at most {LONGEST_TEXT} characters, got {len(value)}")
        if _is_storable(value):
            return str(value)
        raise ValueError("is not valid Unicode text")
    if value is None:
        return None
    raise _type_error("a text, number, boolean or null", value)


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, float | Decimal) and math.isnan(value):
        return None
    if isinstance(value, int | float | Decimal) and value in {0, 1}:
        return bool(value)
    if value is None:
        return None
    truth = truth_of_text(value) if isinstance(value, str) else None
    if truth is not None:
        return bool(truth)
    raise _type_error("true, false, 0, 1 or null", value)


def _timestamp(value: Any) -> float | None:
    if value is None:
        return None
    at = read_time(float(value) if isinstance(value, Decimal) else value)
    return None if math.isnan(at) else at


def _type_error(expected: str, value: Any) -> ValueError:
    return ValueError(f"expected {expected}, got {str(value)[:40]!r} ({type(value).__name__})")
