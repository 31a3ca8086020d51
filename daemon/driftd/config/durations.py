"""Spans of time as people write them: `90s`, `6h`, `1.5d`, `2w`; seconds inside."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")


def seconds(value: Any) -> float:
    """Read a span; numbers are seconds already.

    Raises ValueError for anything else, zero and negative spans.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        read = float(value)
    elif isinstance(value, str) and (found := _PATTERN.fullmatch(value.strip())):
        read = float(found[1]) * UNITS[found[2]]
    else:
        raise ValueError("a span of time is a number and a unit: 90s, 15m, 6h, 1d, 2w")
    if not 0 < read < float("inf"):
        raise ValueError("a span of time is more than zero")
    return read


Duration = Annotated[float, BeforeValidator(seconds)]
