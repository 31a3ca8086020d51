"""Values as people and JSON read them: shared by the terminal and the page."""

from __future__ import annotations

import math
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime


def when(at: float | None) -> str:
    """A moment for people, in UTC; a dash for none."""
    return "-" if not at else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def plain(value: object) -> object:
    """A value as JSON can say it: records as mappings, NaN as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def figure(value: float) -> str:
    """Evidence for people: it multiplies, so beyond a million only that is told."""
    if not math.isfinite(value) or value >= 1e6:  # noqa: PLR2004 - as said
        return "over a million"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - no digits behind the point of hundreds


def share_of_limit(evidence: float, threshold: float) -> float:
    """How far evidence has come from 1 to its threshold, in 0 .. 1, by logarithms: evidence multiplies."""
    if threshold <= 1 or evidence <= 1:
        return 0.0
    return min(1.0, math.log(evidence) / math.log(threshold))
