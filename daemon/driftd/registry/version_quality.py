"""What is measured of two versions beside what their manifests record: quality by segment, and shifts of their data."""

from __future__ import annotations

import msgspec


class SegmentQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The mean loss of a version on the labelled rows of one segment, beside that of another version.

    The bounds are those of 95 % intervals over whole days, which share their luck; None where the rows are of fewer
    than three days. `gain` is the other version's loss minus this one's: positive means that this one is better.
    """

    segment: str  # "" for all rows
    rows: int
    loss: float | None
    lower: float | None = None
    upper: float | None = None
    other_loss: float | None = None  # None: there was no other version
    gain: float | None = None
    gain_lower: float | None = None
    gain_upper: float | None = None


class FeatureShift(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature of the rows that version `b` learned from differs from those of version `a`."""

    feature: str
    distance: float  # Jensen-Shannon distance of the two distributions, base 2: 0 alike, 1 without overlap
    a: str  # the median, or the most frequent category
    b: str
    missing_a: float  # shares of the rows
    missing_b: float


class MeasuredDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What a job measured of two versions `a` and `b`. In `segments`, `b` is the version and `a` the other one."""

    metric: str | None = None  # whose losses are compared; lower is better
    since: float | None = None  # rows from this time on were scored: neither version learned from them
    segments: list[SegmentQuality] = []  # all rows first
    shifts: list[FeatureShift] = []  # largest first
    remarks: list[str] = []  # what could not be measured, and why
