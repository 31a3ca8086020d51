"""Checks a window for faults: each is a bet that clean data all but never win."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import Fault
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Profile
from driftd_detectors.quality.faults import (
    FEWEST_ROWS,
    ColumnWindow,
    QualitySettings,
    Suspicion,
    constant,
    missing_values,
    new_category,
    out_of_range,
    unreadable,
    vanished_values,
)

Check = Callable[[ColumnWindow, QualitySettings], Suspicion | None]
FAULTS: dict[str, Check] = {
    "vanished": vanished_values,
    "unreadable": unreadable,
    "missing": missing_values,
    "new_category": new_category,
    "range": out_of_range,
    "constant": constant,
}


def quality_faults(
    window: Profile, reference: Profile, layout: Layout, *, settings: QualitySettings | None = None
) -> tuple[Fault, ...]:
    """The faults of a window, the most certain first.

    A fault is reported from the point where its evidence exceeds 1; `alarm` says that one window made it certain.
    The evidence of one window is an e-value (under no fault its expectation is at most 1), so who watches many
    windows may multiply or add it up.

    Raises ValueError when one of the Profiles was made on another layout.
    """
    chosen = settings or QualitySettings()
    for profile in (window, reference):
        if profile.layout != layout.fingerprint:
            raise DetectorError(
                f"the Profile is of layout {profile.layout}, not {layout.fingerprint}; profile it again"
            )
    if window.rows < FEWEST_ROWS:
        return ()
    found = []
    for column in _columns(window, reference, layout):
        for name, check in FAULTS.items():
            seen = check(column, chosen)
            if seen is not None and seen.evidence > 1:
                certain = seen.evidence >= chosen.certain
                sentence = f"{column.column.name} {seen.sentence}"
                found.append(Fault(column.column.name, name, sentence, seen.share, seen.evidence, certain))
    return tuple(sorted(found, key=lambda fault: (not fault.alarm, -fault.evidence)))


def _columns(window: Profile, reference: Profile, layout: Layout) -> Iterator[ColumnWindow]:
    for index in np.flatnonzero(_worth_a_look(window, reference, layout)):
        column = layout.columns[index]
        bins = slice(int(layout.starts[index]), int(layout.starts[index + 1]))
        yield ColumnWindow(
            column,
            window.rows,
            window.counts[bins],
            reference.counts[bins],
            int(window.unreadable[index]),
            int(window.absent[index]),
            int(reference.unreadable[index]),
            int(reference.absent[index]),
            int(window.moments.finite[index]),
            float(window.moments.low[index]),
            float(window.moments.high[index]),
        )


def _worth_a_look(window: Profile, reference: Profile, layout: Layout) -> NDArray[np.bool_]:
    """Columns in which any fault is possible, found for all of them at once: a sound window costs next to nothing."""
    starts, ends = layout.starts[:-1], layout.starts[1:]
    if len(starts) == 0:
        return np.zeros(0, dtype=np.bool_)
    counts, usual = window.counts, reference.counts
    delivered = np.add.reduceat(counts, starts)
    gone, usually_gone = counts[ends - 1], usual[ends - 1]
    more_missing = gone * np.add.reduceat(usual, starts) > usually_gone * delivered
    one_bin = np.maximum.reduceat(np.where(_missing_bins(layout), 0, counts), starts) == delivered - gone
    numeric = np.array([column.numeric for column in layout.columns])
    new = ~numeric & (counts[ends - 2] > 0)
    strange = numeric & (counts[starts] + counts[starts + 1] + counts[ends - 3] + counts[ends - 2] > 0)
    found: NDArray[np.bool_] = (window.absent > 0) | (window.unreadable > 0) | more_missing | one_bin | new | strange
    return found


def _missing_bins(layout: Layout) -> NDArray[np.bool_]:
    """Which bins of the flat vector are those of missing values."""
    found = np.zeros(layout.bins, dtype=np.bool_)
    found[layout.starts[1:] - 1] = True
    return found
