"""One cohort's labels, from the first look to what its loss says."""

from __future__ import annotations

import numpy as np

from driftd_detectors.assessment import (
    Assessment,
    Change,
    EvidenceKind,
    KindAssessment,
    Measure,
    Score,
    Verdict,
    format_windows,
    number,
)
from driftd_detectors.columns import Outcomes
from driftd_detectors.evidence.change_sentences import describe_changes, format_number, metric_title
from driftd_detectors.evidence.evidence import SUSPECTED
from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.cohort_loss import CohortEstimate, estimate_loss
from driftd_detectors.performance.label_delay import FEWEST_LABELS, LabelDelay, Maturity
from driftd_detectors.performance.level_view import (
    alarm_sentence,
    change_sentence,
    cleared_sentence,
    level_change,
    suspicion_sentence,
)
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.losses import value_of
from driftd_detectors.performance.performance import Performance, PerformancePair
from driftd_detectors.schema import display_name

Detector = Performance | CertifiedPerformance | PerformancePair


def assess_cohort(
    performance: Detector,
    maturity: Maturity,
    loss: LossReference,
    outcomes: Outcomes,
    start: float,
    age: float,
    window_seconds: float | None,
    chosen_instead: str | None = None,
) -> tuple[Detector, Maturity, Assessment]:
    """Evaluate one cohort if it is ready.

    Parameters
    ----------
    performance, maturity, loss
        What is known so far.
    outcomes, start, age
        The cohort's predictions with the labels known now, the start of its window, and seconds since the window's end.
    window_seconds
        The length of the window; None: it ended with its last row.
    chosen_instead
        The metric that was asked for and is not defined for the reference.
    """
    if outcomes.rows == 0:
        return performance, maturity, Assessment(Verdict.INCONCLUSIVE, "no predictions in this window", 0)
    readiness = maturity.ready(outcomes, age)
    labels = int(outcomes.labelled.sum())
    if readiness in {"wait", "given_up"}:
        return performance, maturity, _not_yet(outcomes, age, maturity, waits=readiness == "wait")
    known_by = end_of(outcomes, start, window_seconds) + age
    delay = delay_in_use(maturity, outcomes, age)
    estimate = estimate_loss(outcomes, loss, delay, known_by)
    if not np.isfinite(estimate.loss):
        sentence = f"{display_name(loss.metric)} cannot be computed from the {labels} labels of this window"
        return performance, maturity, Assessment(Verdict.INCONCLUSIVE, sentence, outcomes.rows)
    beside = None
    if isinstance(performance, PerformancePair):
        beside = estimate_loss(outcomes, performance.beside.reference, delay, known_by)
    after = _update(performance, estimate, beside, start)
    known = maturity.learn_ready(outcomes, known_by, readiness, start)
    kind = _kind(after, estimate, loss)
    notes = []
    if known.changed:
        notes.append(
            "the delay of labels changed: until it is learned again, only windows with nearly all labels count"
        )
    if chosen_instead is not None:
        notes.append(f"{chosen_instead} is not defined for the reference")
    figures = _figures(after, estimate, loss, known)
    if isinstance(after, PerformancePair) and beside is not None and np.isfinite(beside.loss):
        other = after.beside.reference
        level = after.beside.evidence.promise.mean  # what it is held to: an AUC of a month is not that of a day
        value, usual = value_of(other.metric, beside.loss), value_of(other.metric, level)
        notes.append(f"{other.metric} {value:.3g}, {usual:.3g} on the reference")
        figures |= {other.metric: value, f"{other.metric}_baseline": usual}
    name = display_name(loss.metric)
    assessment = Assessment(
        kind.verdict,
        "; ".join([kind.sentence.rstrip("."), *notes]) + ".",
        outcomes.rows,
        (kind,),
        (Score(EvidenceKind.PERFORMANCE, name, "loss", estimate.loss, estimate.sampling_sd, after.value),),
        learning=after.learning,
        figures=figures,
    )
    return after, known, assessment


def end_of(outcomes: Outcomes, start: float, window_seconds: float | None) -> float:
    """When the window of a cohort with rows ended, in epoch seconds; a window of rows ends with its last row."""
    return float(np.max(outcomes.at)) if window_seconds is None else start + window_seconds


def delay_in_use(maturity: Maturity, outcomes: Outcomes, age: float) -> LabelDelay | None:
    """How late labels come, where a cohort is evaluated before nearly all of its labels are there; else None."""
    return maturity.delay if maturity.ready(outcomes, age) == "early" else None


def _update(performance: Detector, estimate: CohortEstimate, beside: CohortEstimate | None, start: float) -> Detector:
    if isinstance(performance, PerformancePair):
        assert beside is not None
        return performance.update(estimate, start, beside)
    return performance.update(estimate, start)


def _not_yet(outcomes: Outcomes, age: float, maturity: Maturity, *, waits: bool) -> Assessment:
    """A cohort that still waits, or that is given up: figures `settled` and `given_up` say that labels come in vain."""
    rows, labels = outcomes.rows, int(outcomes.labelled.sum())
    if waits:
        sentence = f"{labels} of {rows} labels are there; the rest is waited for"
    else:
        sentence = f"only {labels} of {rows} labels came; {FEWEST_LABELS} are needed"
    figures = {"labels": float(labels), "coverage": labels / rows}
    if maturity.first_age is not None:
        figures["label_age"] = maturity.first_age
    if not waits:
        figures["given_up"] = 1.0
    elif maturity.has_settled(outcomes, age):
        figures["settled"] = 1.0
    return Assessment(Verdict.INCONCLUSIVE, sentence, rows, figures=figures, waits=waits)


def _figures(after: Detector, estimate: CohortEstimate, loss: LossReference, maturity: Maturity) -> dict[str, float]:
    return {
        "loss": estimate.loss,
        "baseline": loss.mean,
        "tolerated": loss.mean + after.tolerated,
        "metric": value_of(loss.metric, estimate.loss),
        "metric_baseline": value_of(loss.metric, loss.mean),
        "labels": float(estimate.labels),
        "coverage": estimate.coverage,
        "low": estimate.low,
        "high": estimate.high,
        "label_delay_changed": float(maturity.changed),
    }


def _kind(after: Detector, estimate: CohortEstimate, loss: LossReference) -> KindAssessment:
    value, threshold = after.value, after.threshold
    verdict = Verdict.DRIFT if after.alarmed else Verdict.SUSPECTED if value >= SUSPECTED else Verdict.OK
    if after.is_learning:
        sentence = f"{_describe_loss(estimate, loss)}: too few to tell the loss to 30 %, so more windows are waited for"
        return KindAssessment(EvidenceKind.PERFORMANCE, Verdict.INCONCLUSIVE, value, threshold, sentence)
    calm = verdict is Verdict.OK
    return KindAssessment(
        EvidenceKind.PERFORMANCE,
        verdict,
        value,
        threshold,
        _sentence(after, verdict, estimate, loss),
        figures=_format_figures(after, verdict, estimate, loss),
        changes=() if calm else (_change(after, estimate, loss),),
        leaders=() if calm else ((display_name(_leading_metric(after, loss)), 1.0),),
        change_start=None if calm else after.change_start,
        crossed=after.crossed,
        standing=after.standing,
        cleared=after.ended,
    )


def _change(after: Detector, estimate: CohortEstimate, loss: LossReference) -> Change:
    """What the metric that leads is now, and what it was on the reference."""
    if isinstance(after, CertifiedPerformance):
        now, usual = (value_of(loss.metric, value) for value in (estimate.loss, loss.mean))
        return Change(loss.metric, Measure.LOSS, usual, now, rows=estimate.labels)
    leading = after.leading if isinstance(after, PerformancePair) else after
    return level_change(leading.evidence, leading.reference.metric)


def _sentence(after: Detector, verdict: Verdict, estimate: CohortEstimate, loss: LossReference) -> str:
    """What the loss is now, without the evidence."""
    if verdict is Verdict.OK and not after.cleared:
        return f"{_describe_loss(estimate, loss)}."
    if after.cleared:
        said = _format_figures(after, verdict, estimate, loss)
        return f"{said.rstrip('.')}."
    change = _change(after, estimate, loss)
    if isinstance(after, CertifiedPerformance):
        return describe_changes((change,), after.change_start)
    leading = after.leading if isinstance(after, PerformancePair) else after
    return change_sentence(leading.evidence, change)


def _format_figures(after: Detector, verdict: Verdict, estimate: CohortEstimate, loss: LossReference) -> str:
    """The same with the evidence and what is tolerated."""
    gathered = f"evidence {number(after.value)} against a threshold of {number(after.threshold)}"
    seen, metric = _describe_loss(estimate, loss), _leading_metric(after, loss)
    if isinstance(after, CertifiedPerformance):
        over = "" if verdict is Verdict.OK else f", over {format_windows(max(1, after.since))}"
        return f"{seen}: {'the alarm has cleared' if after.cleared else gathered + over}"
    leading = after.leading if isinstance(after, PerformancePair) else after
    if after.alarmed:
        return f"{alarm_sentence(leading.evidence, metric, display_name(metric))} {gathered[:1].upper()}{gathered[1:]}."
    if after.cleared:
        ended = after.first if isinstance(after, PerformancePair) and after.first.cleared else leading
        metric = ended.reference.metric
        return cleared_sentence(ended.evidence, metric, display_name(metric))
    if verdict is Verdict.OK:
        return f"{seen}: {gathered}"
    return suspicion_sentence(leading.evidence, metric, display_name(metric))


def _leading_metric(after: Detector, loss: LossReference) -> str:
    return after.leading.reference.metric if isinstance(after, PerformancePair) else loss.metric


def _describe_loss(estimate: CohortEstimate, loss: LossReference) -> str:
    now, usual = (format_number(value_of(loss.metric, value)) for value in (estimate.loss, loss.mean))
    labels = "1 label" if estimate.labels == 1 else f"{estimate.labels:,} labels"
    return f"{metric_title(display_name(loss.metric))}: {now} on {labels}, {usual} on the reference"
