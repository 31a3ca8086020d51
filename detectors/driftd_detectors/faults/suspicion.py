"""What a fault is looked for in, what is tolerated, and how certain a share of rows makes it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.column_layout import ColumnLayout

FEWEST_ROWS = 20  # of a window in which anything is certain
MOST_EVIDENCE = 1e12  # evidence is not told beyond this
_STEPS = (1.1, 1.2, 1.35, 1.6, 2.0, 3.0)  # alternatives, as multiples of the tolerated share


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """What is tolerated, as a share of the rows above the reference's own; and when a fault is certain."""

    missing: float = 0.3
    vanished: float = 0.3
    unreadable: float = 0.05
    new_category: float = 0.3
    range: float = 0.1  # of values far beyond the reference's range
    overdispersion: float = 3.0  # rows come in bunches: so many count as one
    certain: float = 1e4  # evidence at which a fault alarms and blocks builds

    def __post_init__(self) -> None:
        for name in ("missing", "vanished", "unreadable", "new_category", "range"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a tolerated share lies between 0 and 1")
        if self.overdispersion < 1 or self.certain <= 1:
            raise ValueError(
                f"overdispersion is {self.overdispersion} and certain {self.certain}; "
                "the first is at least 1, the second more than 1"
            )


@dataclass(frozen=True, slots=True, eq=False)
class ColumnWindow:
    """One column of a window beside the reference: what a fault is looked for in."""

    column: ColumnLayout
    rows: int  # of the window
    counts: NDArray[np.int64]
    reference: NDArray[np.int64]
    unreadable: int
    absent: int
    reference_unreadable: int
    reference_absent: int
    finite: int
    low: float
    high: float

    @property
    def delivered(self) -> int:
        """Rows to which the column was delivered."""
        return int(self.counts.sum())

    @property
    def present(self) -> int:
        """Rows in which it has a value."""
        return self.delivered - int(self.counts[-1])


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a window shows of one fault."""

    share: float  # of the rows looked at
    evidence: float  # an e-value: at most 1 on average where there is no fault
    sentence: str


def suspect(
    hits: float, rows: int, usual: float, tolerated: float, sentence: str, settings: QualitySettings
) -> Suspicion | None:
    """So many of `rows` rows show a fault that the reference had in the share `usual`; None where none does."""
    if rows <= 0 or hits <= 0:
        return None
    effective = settings.overdispersion
    return Suspicion(hits / rows, share_evidence(hits / effective, rows / effective, usual + tolerated), sentence)


def share_evidence(hits: float, rows: float, tolerated: float) -> float:
    """The evidence that a share lies above `tolerated`: an e-value, the mean of likelihood ratios.

    Shin, Ramdas, Rinaldo, *E-detectors*, 2024, with the alternatives of STATISTICS 4.
    """
    if rows <= 0 or tolerated >= 1:
        return 1.0
    logs = []
    for step in (*_STEPS, math.inf):
        share = min(step * tolerated, (1 + tolerated) / 2)
        logs.append(hits * math.log(share / tolerated) + (rows - hits) * math.log((1 - share) / (1 - tolerated)))
    highest = max(logs)
    total = highest + math.log(sum(math.exp(one - highest) for one in logs) / len(logs))
    return math.exp(min(total, math.log(MOST_EVIDENCE)))


def percent(hits: float, rows: int) -> str:
    """A share as people read it."""
    return f"{hits / max(1, rows):.1%}"
