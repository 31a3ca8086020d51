"""Times as epoch seconds, from numbers, texts and dates, and which of them an event can have."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, date, datetime

from driftd_detectors.values import iso_text, zone_remedy

FUTURE_SECONDS = 86_400.0  # clocks of applications may be wrong by this much
EARLIEST = 100_000_000.0  # March 1973: below it are 0, dates as numbers (20260131) and days as spreadsheets count them
_LIMIT = 1e15  # seconds; 30 million years (only nanoseconds and microseconds are larger)
_BASIC_DATE = 8
_DATE_DIGITS = (_BASIC_DATE, 12, 14)  # with minutes, with seconds
_CENTURIES = ("19", "20")
_YEAR_2000 = 946_684_800.0
_FIRST_DAY, _LAST_DAY = 36_526.0, 73_051.0  # the years 2000 to 2100 in days since 1900
_UNITS = ((1e3, "milliseconds", "1,000"), (1e6, "microseconds", "1,000,000"), (1e9, "nanoseconds", "1,000,000,000"))


def read_time(value: object) -> float:
    """Epoch seconds of a number, an ISO 8601 text (UTC unless it says otherwise), a date or a datetime.

    NaN stays NaN. Raises ValueError with the reason when it is none of them.
    """
    if isinstance(value, str):
        value = _read_iso(value)
    if isinstance(value, datetime):
        if value != value:  # noqa: PLR0124 - pandas' NaT is a datetime, and unlike itself
            raise ValueError("expected a time, got NaT")
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value) or abs(value) < _LIMIT:
            return float(value)
        raise ValueError(f"expected epoch seconds, got the number {value!r:.40}; are these micro- or nanoseconds?")
    raise ValueError(f"expected epoch seconds or an ISO 8601 text, got {str(value)[:40]!r} ({type(value).__name__})")


def read_time_text(text: str) -> float:
    """Epoch seconds of a text in a file: digits are seconds, unless they are a date like 20240131.

    Raises ValueError with the reason when it is no time.
    """
    text = text.strip()
    if len(text) != _BASIC_DATE or not text.isdigit():
        with suppress(ValueError):
            return float(text)
    return read_time(text)


def time_obstacle(at: float, now: float) -> str | None:
    """Why no event can have happened at `at` (epoch seconds) when it arrives at `now`, and the remedy; None if it can.

    The same bounds hold for every source: not before 1973, at most a day ahead.
    """
    if not at >= EARLIEST:  # NaN too
        return f"expected a time since 1973, got {_shown_number(at)}{_remedy_of_date(at)}"
    if at <= now + FUTURE_SECONDS:
        return None
    for divisor, name, spelled in _UNITS:
        if _YEAR_2000 <= at / divisor <= now + FUTURE_SECONDS:
            return f"{at:.0f} is in {name}; expected epoch seconds, not {name}: divide by {spelled}"
    if remedy := _remedy_of_date(at):
        return f"{at:.0f} is no count of seconds{remedy}"
    return f"{at:.0f} ({_date_of(at)}) is more than a day ahead; correct the clock or the zone of what writes it"


def _shown_number(at: float) -> str:
    return f"{at:.0f}" if at.is_integer() else f"{at:g}"


def _remedy_of_date(at: float) -> str:
    """Which date a number of the wrong size seems to be, and the remedy; empty where it is like none."""
    digits = _shown_number(at)
    if digits.isdigit() and len(digits) in _DATE_DIGITS and digits[:2] in _CENTURIES:
        with suppress(ValueError):
            day = date.fromisoformat(digits[:_BASIC_DATE])
            return f", which looks like the date {day}: write it as text, not as a number"
    if _FIRST_DAY <= at < _LAST_DAY:
        return ", which looks like a spreadsheet's count of days: write dates"
    return ""


def retention_obstacle(at: float, oldest: float) -> str | None:
    """Why an event of the time `at` is not taken in where older ones than `oldest` are deleted; None if it is."""
    if at >= oldest:
        return None
    return (
        f"{_date_of(at)} is older than the retention, which keeps events since {_date_of(oldest)}: it would be deleted "
        "at once; raise retention.events to keep it"
    )


def _date_of(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return "no date of the calendar"


def _read_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(iso_text(text))
    except ValueError:
        said = f"expected epoch seconds or an ISO 8601 text, got the text {text[:40]!r}{zone_remedy(text)}"
        raise ValueError(said) from None
