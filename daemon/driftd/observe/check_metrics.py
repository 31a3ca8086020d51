"""What one check's assessment shows: evidence, scores, faults, performance."""

from __future__ import annotations

import math
from collections.abc import Mapping

from driftd.observe import families
from driftd.observe.exposition import MetricStore
from driftd.observe.families import FEATURES_SHOWN
from driftd.records import Verdict, Window
from driftd_detectors.assessment import Assessment, EvidenceKind, Fault, Score
from driftd_detectors.performance.losses import HIGHER_IS_BETTER, value_of

SEEN_BY = {
    "window": (EvidenceKind.DATA, EvidenceKind.PREDICTION, EvidenceKind.QUALITY, EvidenceKind.HARM),
    "labels": (EvidenceKind.PERFORMANCE,),
}
EITHER_WAY = frozenset({"location", "spread", "proportion"})  # components whose scores have a direction
OF_MANY = ("all features", "joint", "prediction", "score")  # subjects that are no feature: always shown
OF_VERSION = (  # what was seen of one version says nothing of the next
    families.SCORE,
    families.SCORE_THRESHOLD,
    families.HIDDEN,
    families.LEARNING,
    families.QUALITY_SHARE,
    families.PERFORMANCE,
    families.PERFORMANCE_LOWER,
    families.PERFORMANCE_UPPER,
    families.PERFORMANCE_BASELINE,
    families.PERFORMANCE_TOLERATED,
    families.LOSS,
    families.LOSS_TOLERATED,
    families.ESTIMATED,
    families.ESTIMATED_LOWER,
    families.ESTIMATED_UPPER,
    families.ESTIMATED_BASELINE,
    families.ESTIMATED_TOLERATED,
    families.ESTIMATED_LOSS,
    families.ESTIMATE_OFF,
    families.ESTIMATE_HELD,
)


def show_evidence(board: MetricStore, model: str, kind: str, assessment: Assessment) -> None:
    """The verdict on each kind of evidence. A check that could not look leaves the evidence, never an old verdict."""
    by_kind = {kind.kind: kind for kind in assessment.kinds}
    for evidence in SEEN_BY[kind]:
        found = by_kind.get(evidence)
        board.states(
            families.VERDICT, Verdict, _without(assessment) if found is None else found.verdict, model, evidence
        )
        if found is not None:
            board.set(families.EVIDENCE, found.evidence, model, evidence)
            board.set(families.THRESHOLD, found.threshold, model, evidence)


def _without(assessment: Assessment) -> Verdict | None:
    """The verdict on a kind of which an assessment says nothing: what kept it from looking; None: it is not watched."""
    if assessment.verdict is Verdict.ERROR:
        return Verdict.ERROR
    return None if assessment.kinds else Verdict.INCONCLUSIVE


def show_window(
    board: MetricStore, model: str, assessment: Assessment, window: Window, tolerances: Mapping[tuple[str, str], float]
) -> None:
    """Rows, scores and faults of a window. One that could not be looked at leaves those of the window before."""
    if assessment.verdict is Verdict.ERROR:
        return
    board.set(families.WINDOW_ROWS, assessment.rows, model)
    if window.by == "time":
        board.set(families.WINDOW_END, window.end, model)
    _show_scores(board, model, assessment.scores, tolerances)  # none in a window that says nothing: rather no score
    if assessment.kinds:  # than an old one; its faults stay, because they block builds until a window shows none
        board.set(families.LEARNING, assessment.learning is not None, model)
        _show_faults(board, model, assessment.faults)


def _show_scores(
    board: MetricStore, model: str, scores: tuple[Score, ...], tolerances: Mapping[tuple[str, str], float]
) -> None:
    features = [name for name in dict.fromkeys(subject for subject, _ in tolerances) if name not in OF_MANY]
    names = {*features[:FEATURES_SHOWN], *OF_MANY}
    seen = {(score.subject, score.component): score for score in scores if score.subject in names}
    board.replace(families.SCORE, model, {series: _size(score) for series, score in seen.items()})
    board.replace(families.SCORE_THRESHOLD, model, {series: tolerances[series] for series in seen})
    board.set(families.HIDDEN, max(0, len(features) - FEATURES_SHOWN), model)


def _size(score: Score) -> float:
    return abs(score.value) if score.component in EITHER_WAY else max(0.0, score.value)


def _show_faults(board: MetricStore, model: str, faults: tuple[Fault, ...]) -> None:
    for fault in families.FAULTS:
        board.set(families.QUALITY_FAULTS, sum(seen.fault == fault for seen in faults), model, fault)
    worst = sorted(faults, key=lambda seen: -seen.share)[:FEATURES_SHOWN]
    board.replace(families.QUALITY_SHARE, model, {(seen.subject, seen.fault): seen.share for seen in worst})


def show_estimate(board: MetricStore, model: str, metric: str, assessment: Assessment) -> None:
    """What is estimated without labels for a window; nothing for one that says nothing of it."""
    for family, name in (
        (families.ESTIMATED, "estimated"),
        (families.ESTIMATED_LOWER, "estimated_low"),
        (families.ESTIMATED_UPPER, "estimated_high"),
        (families.ESTIMATED_LOSS, "estimated_loss"),
    ):
        board.replace(family, model, {(metric,): assessment.figures.get(name, math.nan)})
    for family, name in ((families.ESTIMATE_OFF, "estimate_off"), (families.ESTIMATE_HELD, "estimate_coverage")):
        board.replace(family, model, {(): assessment.figures.get(name, math.nan)})


def show_estimated_baseline(board: MetricStore, model: str, metric: str, loss: float, tolerated: float) -> None:
    """What the estimate is on the reference, and the worst that is tolerated, in units of the metric."""
    board.set(families.ESTIMATED_BASELINE, value_of(metric, loss), model, metric)
    board.set(families.ESTIMATED_TOLERATED, value_of(metric, tolerated), model, metric)


def show_baseline(board: MetricStore, model: str, metric: str, loss: float, tolerated: float) -> None:
    """The reference's loss and the highest that is tolerated, also in units of the metric."""
    board.set(families.LOSS_TOLERATED, tolerated, model, metric)
    board.set(families.PERFORMANCE_BASELINE, value_of(metric, loss), model, metric)
    board.set(families.PERFORMANCE_TOLERATED, value_of(metric, tolerated), model, metric)


def show_cohort(board: MetricStore, model: str, metric: str, assessment: Assessment) -> None:
    """What a cohort's labels said; figures that it does not have stay as the last cohort left them."""
    figures = assessment.figures
    if assessment.kinds and "loss" in figures:
        board.set(families.LOSS, figures["loss"], model, metric)
        board.set(families.PERFORMANCE, value_of(metric, figures["loss"]), model, metric)
        ends = [
            value_of(metric, max(0.0, figures[end]) if metric == "rmse" else figures[end]) for end in ("low", "high")
        ]
        lower, upper = reversed(ends) if metric in HIGHER_IS_BETTER else ends
        board.set(families.PERFORMANCE_LOWER, lower, model, metric)
        board.set(families.PERFORMANCE_UPPER, upper, model, metric)
        show_baseline(board, model, metric, figures["baseline"], figures["tolerated"])
    for family, name in (
        (families.COVERAGE, "coverage"),
        (families.LABEL_DELAY, "label_delay"),
        (families.LABEL_DELAY_CHANGED, "label_delay_changed"),
    ):
        if name in figures:
            board.set(family, figures[name], model)
