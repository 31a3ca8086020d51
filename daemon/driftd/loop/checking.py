"""What one check does: read a window once, make its Profile, ask the monitor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from driftd.records import Alarm, Verdict, Window
from driftd.sources.protocol import Source
from driftd_detectors.assessment import Assessment, EvidenceKind
from driftd_detectors.columns import Outcomes
from driftd_detectors.layout import Layout
from driftd_detectors.monitor import Monitor
from driftd_detectors.profile import Profile, empty_profile, merge, profile_of

FOREIGN_SHARE = 0.1  # of a window's rows may come from another version than the champion (requests on their way)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check saw, and the monitor that has learned from it."""

    monitor: Monitor
    assessment: Assessment
    profile: Profile | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One window read once."""

    profile: Profile
    first_at: float  # NaN when the window is empty
    foreign: int  # rows that another version than the champion predicted


def read_window(source: Source, window: Window, layout: Layout, champion: int) -> Read:
    """Merge the Profiles of a window's chunks; memory is bounded by one chunk."""
    profile, first_at, foreign = empty_profile(layout), float("nan"), 0
    for columns, outcomes in source.chunks(window):
        profile = merge(profile, profile_of(columns, outcomes, layout))
        foreign += foreign_rows(outcomes, champion)
        if outcomes.rows:
            first_at = float(np.fmin(first_at, np.min(outcomes.at)))
    return Read(profile, first_at, foreign)


def foreign_rows(outcomes: Outcomes, champion: int) -> int:
    """How many predictions name another version than the champion; 0 stands for "made elsewhere"."""
    return int(np.count_nonzero((outcomes.version != champion) & (outcomes.version > 0)))


def check_window(source: Source, window: Window, monitor: Monitor, champion: int) -> Seen:
    """Evaluate data, prediction and quality of one window."""
    read = read_window(source, window, monitor.reference.layout, champion)
    rows = read.profile.rows
    if read.foreign > FOREIGN_SHARE * max(rows, 1):
        sentence = f"{read.foreign} of {rows} predictions were made by another version than {champion}"
        return Seen(monitor, Assessment(Verdict.INCONCLUSIVE, sentence, rows), read.profile)
    start = window.start if window.by == "time" else read.first_at
    after, assessment = monitor.check(read.profile, start)
    return Seen(after, assessment, read.profile)


def check_labels(source: Source, window: Window, monitor: Monitor, champion: int, now: float) -> Seen:
    """Evaluate the performance of one window's predictions by the labels known now."""
    outcomes = source.outcomes(window, now)
    start, end = extent_of(window, outcomes)
    after, assessment = monitor.check_labels(outcomes, start, max(0.0, now - end))
    assessment = replace(assessment, figures={**assessment.figures, **arrivals_of(outcomes)})
    foreign = foreign_rows(outcomes, champion)
    if foreign > FOREIGN_SHARE * max(outcomes.rows, 1):
        sentence = f"{foreign} of {outcomes.rows} predictions were made by another version than {champion}"
        return Seen(monitor, replace(assessment, verdict=Verdict.INCONCLUSIVE, sentence=sentence, kinds=()))
    return Seen(after, assessment)


def arrivals_of(outcomes: Outcomes) -> dict[str, float]:
    """How the labels of a window came: their median delay in seconds, and when the newest did. Empty without labels."""
    known = outcomes.labelled
    if not known.any():
        return {}
    delay = np.median(outcomes.label_at[known] - outcomes.at[known])
    return {"label_delay": float(delay), "newest_label_at": float(outcomes.label_at[known].max())}


def extent_of(window: Window, outcomes: Outcomes) -> tuple[float, float]:
    """Start and end of a window in epoch seconds; those of its rows when the window counts rows."""
    if window.by == "time":
        return window.start, window.end
    return (float(np.min(outcomes.at)), float(np.max(outcomes.at))) if outcomes.rows else (0.0, 0.0)


def failed(error: Exception, rows: int = 0) -> Assessment:
    """The verdict of a check that could not look."""
    return Assessment(Verdict.ERROR, f"the check failed: {type(error).__name__}: {error}", rows)


def alarms_in(assessment: Assessment) -> list[tuple[Alarm, tuple[tuple[str, float], ...]]]:
    """The alarms that this window newly raised, each with the leaders of its evidence."""
    return [
        (
            Alarm(
                kind=str(one.kind),
                subject=one.leaders[0][0] if one.leaders else str(one.kind),
                evidence=one.evidence,
                threshold=one.threshold,
                sentence=one.sentence,
                change_start=one.change_start,
            ),
            one.leaders,
        )
        for one in assessment.kinds
        if one.crossed
    ]


def fault_in(assessment: Assessment) -> str | None:
    """The sentence of the pipeline's faults that are certain enough to block builds; None when it is whole."""
    certain = [fault.sentence for fault in assessment.faults if fault.alarm]
    if not certain:
        return None
    more = f" (and {len(certain) - 3} more faults)" if len(certain) > 3 else ""  # noqa: PLR2004 - three are readable
    return "; ".join(certain[:3]) + more


def looked(assessment: Assessment, kind: EvidenceKind) -> bool:
    """Whether this check had something to say of a kind."""
    one = assessment.of(kind)
    return one is not None and one.verdict not in (Verdict.INCONCLUSIVE, Verdict.ERROR)
