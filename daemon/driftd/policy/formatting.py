"""Times and spans as a person says them, and what several reasons say alike."""

from __future__ import annotations

from datetime import UTC, datetime

PIN_AGAIN = "any change of the override, also of its reason, has the pin tried again"


def moment(at: float) -> str:
    """`2026-05-03 14:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: float) -> str:
    """The largest whole unit that says it within a tenth: `6 h`, `1.5 d`, `40 s`."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"
