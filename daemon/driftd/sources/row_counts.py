"""Where the rows of log files ended: every row that is read is in a window, or counted under one reason."""

from __future__ import annotations

from collections.abc import Sequence

from driftd.sources.catalogue import LogFile

REASONS = {
    "malformed": "are no rows",
    "no_time": "have no readable time",
    "impossible_time": "have an impossible time",
    "no_label": "have no label",
    "refused": "were refused",
}
FAULT_SHARE = 0.05  # of what was read lately; beyond it the rows that are left tell little of the whole
_LATELY_NANOSECONDS = 86_400 * 10**9


def counts_of(files: Sequence[LogFile]) -> dict[str, float]:
    """How many rows were set aside, by reason; and how many were late, which are read all the same."""
    counts = {reason: float(sum(getattr(file, reason) for file in files)) for reason in REASONS if reason != "refused"}
    return {**counts, "late": float(sum(file.late for file in files))}


def share_faults(files: Sequence[LogFile]) -> list[str]:
    """The reasons for which too large a share of the rows was set aside, each with an example.

    Counted over the files that were written within a day of the newest: a fault that was mended ends.
    """
    newest = max((file.changed_at for file in files), default=0)
    counted = [file for file in files if file.begun_at is not None]  # an earlier release did not count good rows
    lately = [file for file in counted if file.changed_at >= newest - _LATELY_NANOSECONDS]
    total = sum(file.rows + file.malformed for file in lately)
    faults = []
    for reason, said in REASONS.items():
        count = sum(getattr(file, reason) for file in lately)
        if count > FAULT_SHARE * total and reason != "no_label":
            example = next((file.examples[reason] for file in reversed(lately) if reason in file.examples), "")
            faults.append(f"{count:,} of {total:,} rows {said}" + (f" ({example})" if example else ""))
    return faults
