"""Spans of time as people write them: `90s`, `6h`, `1.5d`, `2w`; seconds inside."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
LONGEST = 100 * 366 * UNITS["d"]
_PATTERN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(ms|s|min|m|h|d|w)")


def seconds(value: Any) -> float:
    """Read a span; numbers are seconds already.

    Raises ValueError for anything else, for zero and negative spans, and for more than a hundred years.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        read = float(value) if abs(value) <= LONGEST else float("inf")
    elif isinstance(value, str) and (found := _PATTERN.fullmatch(value.strip())):
        read = float(found[1]) * UNITS[found[2]]
    else:
        raise ValueError(f"a span of time is a number and a unit (90s, 15m, 6h, 1d, 2w), not {value!r:.60}")
    if not 0 < read <= LONGEST:
        raise ValueError(f"a span of time is more than zero and at most a hundred years, not {value!r:.60}")
    return read


def spelled(span: float) -> str:
    """A span as one would write it in the config: the largest unit that says it in a whole number, else seconds."""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        count = span / UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{span:g}s"


def _written(span: float, info: SerializationInfo) -> float | str:
    return spelled(span) if info.context is FOR_PEOPLE else span


FOR_PEOPLE = {"durations": "spelled"}  # the `context` of a dump in which spans are written as people write them
Duration = Annotated[
    float,
    BeforeValidator(seconds),
    PlainSerializer(_written, return_type=float | str, when_used="json"),
]
