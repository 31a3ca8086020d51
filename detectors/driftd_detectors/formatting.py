"""Figures in sentences."""

from __future__ import annotations

import math

_MOST_TOLD = 1e6
_WHOLE_FROM = 100.0


def number(value: float) -> str:
    """A figure as people read it: 4.2, 1,234, "over a million"."""
    if math.isnan(value):
        return "unknown"
    if value > _MOST_TOLD:
        return "over a million"
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.3g}"


def format_windows(count: int) -> str:
    """So many windows."""
    return "1 window" if count == 1 else f"{count} windows"
