"""Completes what a check says of an alarm: the windows since its change, its labels, and how rare it is by chance."""

from __future__ import annotations

from dataclasses import replace

from driftd.loop.check_schedule import CheckRun
from driftd.store.state.reader import StateReader
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Verdict, exchange_start
from driftd_detectors.evidence.change_sentences import describe_changes
from driftd_detectors.evidence.changes import with_changes
from driftd_detectors.profile.profile import Profile, merge

MOST_WINDOWS = 64  # of those since a change that are put together
_OF_PROFILES = (EvidenceKind.DATA, EvidenceKind.PREDICTION)


def with_alarm_figures(run: CheckRun, store: StateReader, model: str, champion: int) -> CheckRun:
    """The check with the alarms that it raises told over all windows since their change; others stay as they are."""
    assessment = run.result.assessment
    if not any(kind.verdict is Verdict.DRIFT for kind in assessment.kinds):
        return run
    crossed = [kind for kind in assessment.kinds if kind.crossed]
    if run.result.profile is not None and any(kind.kind in _OF_PROFILES for kind in crossed):
        assessment = _over_windows(run, run.result.profile, store, model, champion)
    for kind in crossed:
        if kind.kind is EvidenceKind.PERFORMANCE and kind.changes:
            assessment = _with_labels(assessment, kind, store, model)
    yearly = run.result.monitor.settings.windows_per_year
    kinds = tuple(
        replace(kind, chance_years=kind.evidence / yearly) if kind.verdict is Verdict.DRIFT else kind
        for kind in assessment.kinds
    )
    return replace(run, result=replace(run.result, assessment=replace(assessment, kinds=kinds)))


def _over_windows(run: CheckRun, profile: Profile, store: StateReader, model: str, champion: int) -> Assessment:
    """The assessment of a window, its changes told of all windows since the earliest change that raised an alarm."""
    assessment, reference = run.result.assessment, run.result.monitor.reference
    starts = [kind.change_start for kind in assessment.kinds if kind.crossed and kind.kind in _OF_PROFILES]
    known = [start for start in starts if start is not None]
    if not known or run.window.by == "rows":  # starts of windows of rows are places, those of changes are times
        return assessment
    stored = store.profiles_since(model, champion, min(known), MOST_WINDOWS)
    windows = [found for found in map(Profile.from_bytes, stored) if found.layout == profile.layout]
    merged = profile
    for found in windows:
        merged = merge(merged, found)
    return with_changes(assessment, reference.profile, merged, reference.layout, windows=len(windows) + 1)


def _with_labels(assessment: Assessment, kind: KindAssessment, store: StateReader, model: str) -> Assessment:
    """The assessment of a cohort, its loss told with the labels of all windows that the average is of."""
    change = kind.changes[0]
    if change.rows or change.segment:
        return assessment
    before = store.newest_checks(model, "labels", change.windows - 1) if change.windows > 1 else []
    labels = [assessment.figures.get("labels", 0.0), *(float(check.figures.get("labels", 0.0)) for check in before)]
    counted = replace(change, rows=int(sum(labels)))
    first, complete = (describe_changes((found,), kind.change_start) for found in (change, counted))
    if not kind.sentence.startswith(first):
        return assessment
    after = replace(kind, sentence=complete + kind.sentence.removeprefix(first), changes=(counted, *kind.changes[1:]))
    sentence = exchange_start(assessment.sentence, kind.sentence, after.sentence)
    kinds = tuple(after if found is kind else found for found in assessment.kinds)
    return replace(assessment, sentence=sentence, kinds=kinds)
