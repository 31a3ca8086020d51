"""From when on something needs a person's attention: one set for alert rules, page and `driftd status`."""

from __future__ import annotations

GRACE = 600.0  # seconds: a restart, a slow scrape and a queue of checks pass
WINDOWS = 3  # lengths of a window that a check or a prediction may fail to come
WINDOW_OF_ROWS = 86_400.0  # seconds: what counts as a length where windows are of rows, which never fall due

LABEL_GRACE = 3600.0
LABEL_WAITS = 4  # times as long as labels usually take
NEVER_LABELLED = 14 * 86_400.0  # seconds more where none ever came: nobody knows yet how long they take
COHORTS = 3  # windows that wait for their labels
NOT_EVALUATED = 7  # windows in a row whose labels come and are not evaluated

REFUSALS = 3  # builds in a row that the gate let through none of
RECENT = 6 * 3600.0  # seconds that a rollback is news
DISK_SHARE, DISK_BYTES = 0.05, 1 << 30  # of free room


def silent_after(window_seconds: float) -> float:
    """How long predictions may fail to come, in seconds."""
    return GRACE + WINDOWS * (window_seconds or WINDOW_OF_ROWS)


def unlabelled_limit(window_seconds: float, label_wait: float, *, ever: bool) -> float:
    """How long labels may fail to come, in seconds; `ever` tells whether any came."""
    usual = LABEL_GRACE + WINDOWS * window_seconds + LABEL_WAITS * label_wait
    return usual if ever else usual + NEVER_LABELLED
