"""One check: a window or a cohort is read, and the monitor assesses it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftd.loop.attribution import KnownRows, with_attribution
from driftd.plugins.client import with_own_loss
from driftd.plugins.process import HelperProcess
from driftd.records import Alarm, Verdict, Window
from driftd.sources.protocol import Source, WindowAbsentError, WindowSpec
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment
from driftd_detectors.cohort import Cohort
from driftd_detectors.columns import Outcomes, missing_column
from driftd_detectors.monitor import Monitor
from driftd_detectors.performance.requested_labels import RequestedLabels
from driftd_detectors.profile.profile import Profile
from driftd_detectors.quality.checks import LEVEL_FAULTS
from driftd_detectors.quality.faults import unseen_label
from driftd_detectors.schema import is_own
from driftd_detectors.window_data import ServedBy

FOREIGN_SHARE = 0.1  # of a window's rows may come from another version than the champion (requests on their way)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The assessment of a check, and the monitor after it."""

    monitor: Monitor
    assessment: Assessment
    profile: Profile | None = None
    span: tuple[float, float] | None = None  # of the times of the window's rows: `start <= at < end`, epoch seconds


def check_window(
    source: Source, window: Window, monitor: Monitor, served: ServedBy, labelled_at: float | None = None
) -> CheckResult:
    """Evaluate data, prediction and quality of one window; `labelled_at` is the time of the newest label."""
    read = source.profile(window, monitor.reference, served)
    rows = read.profile.rows
    if read.foreign > FOREIGN_SHARE * max(rows, 1):
        sentence = f"{read.foreign} of {rows} predictions were made by another version than {served.champion}"
        return CheckResult(monitor, Assessment(Verdict.INCONCLUSIVE, sentence, rows), read.profile)
    if window.by == "time":
        span = window.start, window.end
    else:
        span = read.first_at, float(np.nextafter(read.last_at, np.inf))
    after, assessment = monitor.check(read.profile, span[0], labelled_at)
    return CheckResult(after, assessment, read.profile, span)


def check_labels(
    source: Source,
    window: Window,
    monitor: Monitor,
    served: ServedBy,
    now: float,
    classes: Collection[str] = (),
    helper: HelperProcess | None = None,
    spec: WindowSpec | None = None,
    requested: RequestedLabels | None = None,
) -> CheckResult:
    """Evaluate the performance of one window's predictions by the labels known now.

    `classes` are those that the config names beyond those of the version: labels of them are not counted as a fault.
    `helper` is asked where the metric is a function of the user; with `spec`, how windows are cut, an alarm that is
    raised says where the loss comes from. Labels that were `requested` count by the probability of their draw.
    """
    cohort = weigh_requested(read_cohort(source, window, monitor, served, now), requested)
    now = min(now, cohort.known_by)
    columns, outcomes = (cohort.columns if monitor.segment_columns else None), cohort.outcomes
    if helper is not None and (metric := own_metric(monitor)) is not None:
        outcomes = with_own_loss(helper, metric, outcomes)
    start, end = extent_of(window, cohort.first_at, cohort.last_at)
    after, assessment = monitor.check_labels(outcomes, start, max(0.0, now - end), columns)
    assessment = replace(assessment, figures={**assessment.figures, **arrivals_of(outcomes, cohort.newest_label_at)})
    assessment = _with_strays(assessment, outcomes, classes)
    if cohort.is_sample:
        assessment = _with_sample(assessment, cohort)
    if cohort.foreign > FOREIGN_SHARE * max(cohort.total, 1):
        sentence = f"{cohort.foreign} of {cohort.total} predictions were made by another version than {served.champion}"
        return CheckResult(monitor, replace(assessment, verdict=Verdict.INCONCLUSIVE, sentence=sentence, kinds=()))
    if spec is not None and any(kind.crossed for kind in assessment.kinds):
        assessment = with_attribution(assessment, source, spec, window, after, KnownRows(now, helper))
    return CheckResult(after, assessment)


def read_cohort(source: Source, window: Window, monitor: Monitor, served: ServedBy, now: float) -> Cohort:
    """The predictions of a window with the labels known now, and the features by which its segments are told."""
    schema = monitor.reference.schema
    cohort = source.cohort(window, now, monitor.segment_columns, served)
    values = {
        name: cohort.columns.values.get(name, missing_column(schema.kind_of(name), cohort.outcomes.rows))
        for name in monitor.segment_columns
    }
    columns = replace(cohort.columns, values=values).rename_categories(schema.category_names)
    return replace(cohort, columns=columns, outcomes=cohort.outcomes.among(schema.classes))


def weigh_requested(cohort: Cohort, requested: RequestedLabels | None) -> Cohort:
    """The cohort, with what the labels count that were asked for."""
    weights = None if requested is None else requested.weights(cohort.hashes, cohort.outcomes)
    return cohort if weights is None else replace(cohort, outcomes=replace(cohort.outcomes, sampling=weights))


def _with_sample(assessment: Assessment, cohort: Cohort) -> Assessment:
    """The assessment of a cohort of which some rows were drawn: the counts are those of all rows.

    Evidence was gathered from the rows that were drawn, and knows no more of them than their number.
    """
    drawn = cohort.outcomes.rows
    figures = dict(assessment.figures)
    if "unseen_labels" in figures:
        seen = max(1, int(np.count_nonzero(cohort.outcomes.labelled)))
        figures["unseen_labels"] = float(round(figures["unseen_labels"] / seen * cohort.labelled))
    counts = {"labels": float(cohort.labelled), "coverage": cohort.labelled / cohort.total, "drawn": float(drawn)}
    sentence = f"{assessment.sentence.rstrip('.')}; judged by {drawn:,} of {cohort.total:,} rows, drawn evenly."
    return replace(assessment, rows=cohort.total, sentence=sentence, figures={**figures, **counts})


def own_metric(monitor: Monitor) -> str | None:
    """The function of the user that gives the losses; None where the metric is one of driftd's."""
    return monitor.loss.metric if monitor.loss is not None and is_own(monitor.loss.metric) else None


def learn_late_labels(
    source: Source, abandoned: Sequence[Window], monitor: Monitor, served: ServedBy, now: float
) -> Monitor:
    """Learn how late labels come from windows whose labels were given up, oldest first: theirs may have come since."""
    cohorts = []
    for window in abandoned:
        with contextlib.suppress(WindowAbsentError):  # its file was deleted since
            cohorts.append(source.cohort(window, now, (), served))
    known_by = min([now, *(cohort.known_by for cohort in cohorts)])
    return monitor.learn_late_labels([rows.outcomes for rows in cohorts if rows.outcomes.labelled.any()], known_by)


def _with_strays(assessment: Assessment, outcomes: Outcomes, classes: Collection[str]) -> Assessment:
    """The assessment of a cohort with the labels that are no class of its version; each counts as wrong for its row."""
    strays = int(np.count_nonzero(outcomes.strays))
    if not outcomes.classes:
        return assessment
    counted = replace(assessment, figures={**assessment.figures, "unseen_labels": float(strays)})
    fault = unseen_label(outcomes, classes) if strays else None
    if fault is None:
        return counted
    return replace(
        counted, faults=(*counted.faults, fault), sentence=f"{counted.sentence.rstrip('.')}; {fault.sentence}."
    )


def arrivals_of(outcomes: Outcomes, newest: float) -> dict[str, float]:
    """How the labels of a window came: their median delay in seconds, and when the newest did. Empty without labels."""
    known = np.isfinite(outcomes.label_at)
    if not known.any():
        return {}
    delay = np.median(outcomes.label_at[known] - outcomes.at[known])
    return {"label_delay": float(delay), "newest_label_at": newest}


def extent_of(window: Window, first_at: float, last_at: float) -> tuple[float, float]:
    """Start and end of a window in epoch seconds; those of its rows, if it has any, when the window counts rows."""
    if window.by == "time":
        return window.start, window.end
    return (first_at, last_at) if np.isfinite(first_at) else (0.0, 0.0)


def error_assessment(error: Exception, rows: int = 0) -> Assessment:
    """The verdict of a check that could not run."""
    return Assessment(Verdict.ERROR, f"the check failed: {type(error).__name__}: {error}", rows)


def alarm_of(kind: KindAssessment) -> Alarm:
    """The alarm that an assessment of one kind of evidence raises."""
    return Alarm(
        kind=str(kind.kind),
        subject=kind.leaders[0][0] if kind.leaders else str(kind.kind),
        evidence=kind.evidence,
        threshold=kind.threshold,
        sentence=kind.sentence,
        change_start=kind.change_start,
        figures=kind.figures,
        chance_years=kind.chance_years,
    )


def fault_in(assessment: Assessment) -> str | None:
    """The sentence of the pipeline's faults that are certain enough to block builds; None when it is whole."""
    certain = [fault.sentence for fault in assessment.faults if fault.alarm]
    if not certain:
        return None
    more = f" (and {len(certain) - 3} more faults)" if len(certain) > 3 else ""  # noqa: PLR2004 - three are readable
    return "; ".join(certain[:3]) + more


def is_level_fault(assessment: Assessment) -> bool:
    """Whether the rows came whole, and only hold values that were never seen before."""
    return all(fault.fault in LEVEL_FAULTS for fault in assessment.faults if fault.alarm)


def is_conclusive(assessment: Assessment, kind: EvidenceKind) -> bool:
    """Whether this check reached a verdict on a kind of evidence."""
    found = assessment.of(kind)
    return found is not None and found.verdict not in (Verdict.INCONCLUSIVE, Verdict.ERROR)
