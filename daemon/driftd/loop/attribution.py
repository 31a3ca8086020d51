"""Attributes an alarm of performance: reads the rows since the change once, and says where their loss comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import structlog

from driftd.plugins.client import with_own_loss
from driftd.plugins.process import HelperProcess
from driftd.records import Window
from driftd.sources.protocol import NoRowsError, Source, WindowSpec, window_at
from driftd.store.integrity import is_damage
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, exchange_start
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.monitor import Monitor
from driftd_detectors.performance.attribution import Attribution, attribute
from driftd_detectors.performance.losses import losses
from driftd_detectors.profile.profile import empty_profile, merge, profile_of
from driftd_detectors.schema import is_own

log = structlog.get_logger()

MOST_WINDOWS = 32  # the newest since the change
MOST_ROWS = 200_000  # no further window is read once so many rows were


def with_attribution(
    assessment: Assessment, source: Source, spec: WindowSpec, window: Window, monitor: Monitor, known: KnownRows
) -> Assessment:
    """The assessment of a cohort that raised an alarm of performance, with where its loss comes from.

    What cannot be read costs the attribution alone, and the figures say so.
    """
    kind = assessment.of(EvidenceKind.PERFORMANCE)
    if kind is None or not kind.crossed:
        return assessment
    try:
        found = attribute_alarm(source, spec, window, monitor, known)
    except NoRowsError as error:
        return _with_attribution(assessment, kind, f"It could not be attributed: {error}.", kind.leaders)
    except Exception as error:  # whatever a source raises: the alarm itself stands without it
        if is_damage(error):
            raise
        log.warning("alarm_not_attributed", window=window.index, error=str(error), exc_info=True)
        return _with_attribution(assessment, kind, f"It could not be attributed: {error}.", kind.leaders)
    if found is None:
        return assessment
    shares = dict(kind.leaders) | dict(found.leaders)  # those that led stay first, by what they have of the rise
    return _with_attribution(assessment, kind, f"{found.sentence}.", tuple(shares.items()), found.place)


def _with_attribution(
    assessment: Assessment, kind: KindAssessment, found: str, leaders: tuple[tuple[str, float], ...], place: str = ""
) -> Assessment:
    """Where most of the rise is belongs to what people read first; its shares belong to the figures."""
    is_news = place and place not in kind.sentence
    said = f"{kind.sentence.rstrip('.')}. Most of the rise is where {place}." if is_news else kind.sentence
    figures = f"{kind.figures.rstrip('.')}. {found}" if kind.figures else found
    after = replace(kind, sentence=said, figures=figures, leaders=leaders)
    sentence = exchange_start(assessment.sentence, kind.sentence, after.sentence)
    kinds = tuple(after if found is kind else found for found in assessment.kinds)
    return replace(assessment, sentence=sentence, kinds=kinds)


def attribute_alarm(
    source: Source, spec: WindowSpec, window: Window, monitor: Monitor, known: KnownRows
) -> Attribution | None:
    """Attribute the rise of the loss in the windows whose averages raised the alarm, up to this one."""
    reference, segments = monitor.reference, monitor.watched_segments
    recent = empty_profile(reference.layout)
    sums = dict.fromkeys((segment.name for segment in segments), (0.0, 0.0))
    for number in range(window.index, window.index - min(monitor.alarm_span, MOST_WINDOWS), -1):
        for columns, outcomes in known.chunks(source, window_at(spec, number), monitor):
            loss = losses(reference.loss, reference.schema.task, outcomes)
            recent = merge(recent, profile_of(columns, outcomes, reference.layout, loss=loss))
            counted = np.isfinite(loss)
            for segment in segments:
                inside = counted & segment.holds(columns)
                rows, total = sums[segment.name]
                sums[segment.name] = rows + float(inside.sum()), total + float(loss[inside].sum())
        if recent.rows >= MOST_ROWS:
            break
    return attribute(reference, recent, sums)


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Reads rows with the labels that are known at a time, and with the losses of the user's own function."""

    now: float
    helper: HelperProcess | None = None

    def chunks(self, source: Source, window: Window, monitor: Monitor) -> Iterator[tuple[Columns, Outcomes]]:
        """The rows of a window in the words of the reference, piece by piece."""
        schema, loss = monitor.reference.schema, monitor.reference.loss
        for columns, outcomes in source.chunks(window):
            known = outcomes.label_at <= self.now
            label = np.where(known, outcomes.label, -1.0 if outcomes.classes else np.nan)
            seen = replace(outcomes, label=label, label_at=np.where(known, outcomes.label_at, np.nan))
            seen = seen.among(schema.classes)
            if self.helper is not None and is_own(loss):
                seen = with_own_loss(self.helper, loss, seen)
            yield columns.rename_categories(schema.category_names), seen
