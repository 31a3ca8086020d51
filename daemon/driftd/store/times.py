"""Times at the border: ISO 8601, datetimes and epoch seconds in; epoch seconds inside."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

_LIMIT = 1e15  # seconds; 30 million years


def read_time(value: object) -> float:
    """Epoch seconds of a number, an ISO 8601 text (UTC unless it says otherwise), a date or a datetime.

    NaN stays NaN. Raises ValueError with the reason when it is none of them.
    """
    if isinstance(value, str):
        value = _read_iso(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value) or abs(value) < _LIMIT:
            return float(value)
        raise ValueError(f"expected epoch seconds, got the number {value!r:.40}")
    raise ValueError(f"expected epoch seconds or an ISO 8601 text, got {str(value)[:40]!r} ({type(value).__name__})")


def _read_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected epoch seconds or an ISO 8601 text, got the text {text[:40]!r}") from None
