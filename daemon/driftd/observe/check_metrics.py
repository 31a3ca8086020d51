"""What one check's assessment shows: evidence, scores, faults, performance."""

from __future__ import annotations

import math
from collections.abc import Mapping

from driftd.observe import model_families
from driftd.observe.exposition import MetricStore
from driftd.observe.model_families import FEATURES_SHOWN
from driftd.records import Verdict, Window
from driftd_detectors.assessment import Assessment, EvidenceKind, Fault, Score
from driftd_detectors.performance.losses import value_of
from driftd_detectors.schema import HIGHER_IS_BETTER

SEEN_BY = {
    "window": (EvidenceKind.DATA, EvidenceKind.PREDICTION, EvidenceKind.QUALITY, EvidenceKind.HARM),
    "labels": (EvidenceKind.PERFORMANCE,),
}
EITHER_WAY = frozenset({"location", "spread", "proportion", "missing"})  # components whose scores have a direction
DETECTOR_COMPONENT = "detector"  # of the scores that the user's detectors give
OF_MANY = ("all features", "joint", "prediction", "score")  # subjects that are no feature: always shown
OF_VERSION = (  # what was seen of one version says nothing of the next
    model_families.SCORE,
    model_families.SCORE_THRESHOLD,
    model_families.HIDDEN,
    model_families.LEARNING,
    model_families.QUALITY_SHARE,
    model_families.PERFORMANCE,
    model_families.PERFORMANCE_LOWER,
    model_families.PERFORMANCE_UPPER,
    model_families.PERFORMANCE_BASELINE,
    model_families.PERFORMANCE_TOLERATED,
    model_families.LOSS,
    model_families.LOSS_TOLERATED,
    model_families.ESTIMATED,
    model_families.ESTIMATED_LOWER,
    model_families.ESTIMATED_UPPER,
    model_families.ESTIMATED_BASELINE,
    model_families.ESTIMATED_TOLERATED,
    model_families.ESTIMATED_LOSS,
    model_families.ESTIMATE_OFF,
    model_families.ESTIMATE_HELD,
)


def covers(later: Assessment, earlier: Assessment) -> bool:
    """Whether a later check of the same kind sets every gauge that an earlier one has set."""
    if later.verdict is Verdict.ERROR or not later.kinds:
        return False
    kinds = {kind.kind for kind in later.kinds}
    return all(kind.kind in kinds for kind in earlier.kinds) and later.figures.keys() >= earlier.figures.keys()


def show_evidence(board: MetricStore, model: str, kind: str, assessment: Assessment) -> None:
    """The verdict on each kind of evidence. A check that could not look leaves the evidence, never an old verdict."""
    by_kind = {kind.kind: kind for kind in assessment.kinds}
    for evidence in SEEN_BY[kind]:
        found = by_kind.get(evidence)
        board.states(
            model_families.VERDICT, Verdict, _without(assessment) if found is None else found.verdict, model, evidence
        )
        if found is not None:
            board.set(model_families.EVIDENCE, found.evidence, model, evidence)
            board.set(model_families.THRESHOLD, found.threshold, model, evidence)


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
    board.set(model_families.WINDOW_ROWS, assessment.rows, model)
    if window.by == "time":
        board.set(model_families.WINDOW_END, window.end, model)
    _show_scores(board, model, assessment.scores, tolerances)  # none in a window that says nothing: rather no score
    if assessment.kinds:  # than an old one; its faults stay, because they block builds until a window shows none
        board.set(model_families.LEARNING, assessment.learning is not None, model)
        board.set(model_families.DETECTORS_FAILED, len(assessment.failed_detectors), model)
        _show_faults(board, model, assessment.faults)


def _show_scores(
    board: MetricStore, model: str, scores: tuple[Score, ...], tolerances: Mapping[tuple[str, str], float]
) -> None:
    features = [name for name in dict.fromkeys(subject for subject, _ in tolerances) if name not in OF_MANY]
    names = {*features[:FEATURES_SHOWN], *OF_MANY}
    visible = [score for score in scores if score.subject in names or score.component == DETECTOR_COMPONENT]
    seen = {(score.subject, score.component): score for score in visible}
    board.replace(model_families.SCORE, model, {series: _size(score) for series, score in seen.items()})
    within: dict[tuple[str, ...], float] = {series: tolerances[series] for series in seen if series in tolerances}
    board.replace(model_families.SCORE_THRESHOLD, model, within)
    board.set(model_families.HIDDEN, max(0, len(features) - FEATURES_SHOWN), model)


def _size(score: Score) -> float:
    return abs(score.value) if score.component in EITHER_WAY else max(0.0, score.value)


def _show_faults(board: MetricStore, model: str, faults: tuple[Fault, ...]) -> None:
    for fault in model_families.FAULTS:
        board.set(model_families.QUALITY_FAULTS, sum(seen.fault == fault for seen in faults), model, fault)
    worst = sorted(faults, key=lambda seen: -seen.share)[:FEATURES_SHOWN]
    board.replace(model_families.QUALITY_SHARE, model, {(seen.subject, seen.fault): seen.share for seen in worst})


def show_estimate(board: MetricStore, model: str, metric: str, assessment: Assessment) -> None:
    """What is estimated without labels for a window; nothing for one that says nothing of it."""
    for family, name in (
        (model_families.ESTIMATED, "estimated"),
        (model_families.ESTIMATED_LOWER, "estimated_low"),
        (model_families.ESTIMATED_UPPER, "estimated_high"),
        (model_families.ESTIMATED_LOSS, "estimated_loss"),
    ):
        board.replace(family, model, {(metric,): assessment.figures.get(name, math.nan)})
    for family, name in (
        (model_families.ESTIMATE_OFF, "estimate_off"),
        (model_families.ESTIMATE_HELD, "estimate_coverage"),
    ):
        board.replace(family, model, {(): assessment.figures.get(name, math.nan)})


def show_estimated_baseline(board: MetricStore, model: str, metric: str, loss: float, tolerated: float) -> None:
    """What the estimate is on the reference, and the worst that is tolerated, in units of the metric."""
    board.set(model_families.ESTIMATED_BASELINE, value_of(metric, loss), model, metric)
    board.set(model_families.ESTIMATED_TOLERATED, value_of(metric, tolerated), model, metric)


def show_baseline(board: MetricStore, model: str, metric: str, loss: float, tolerated: float) -> None:
    """The reference's loss and the highest that is tolerated, also in units of the metric."""
    board.set(model_families.LOSS_TOLERATED, tolerated, model, metric)
    board.set(model_families.PERFORMANCE_BASELINE, value_of(metric, loss), model, metric)
    board.set(model_families.PERFORMANCE_TOLERATED, value_of(metric, tolerated), model, metric)


def show_cohort(board: MetricStore, model: str, metric: str, assessment: Assessment) -> None:
    """What a cohort's labels said; figures that it does not have stay as the last cohort left them."""
    figures = assessment.figures
    if assessment.kinds and "loss" in figures:
        board.set(model_families.LOSS, figures["loss"], model, metric)
        board.set(model_families.PERFORMANCE, value_of(metric, figures["loss"]), model, metric)
        ends = [
            value_of(metric, max(0.0, figures[end]) if metric == "rmse" else figures[end]) for end in ("low", "high")
        ]
        lower, upper = reversed(ends) if metric in HIGHER_IS_BETTER else ends
        board.set(model_families.PERFORMANCE_LOWER, lower, model, metric)
        board.set(model_families.PERFORMANCE_UPPER, upper, model, metric)
        show_baseline(board, model, metric, figures["baseline"], figures["tolerated"])
    for family, name in (
        (model_families.COVERAGE, "coverage"),
        (model_families.LABEL_DELAY, "label_delay"),
        (model_families.LABEL_DELAY_CHANGED, "label_delay_changed"),
    ):
        if name in figures:
            board.set(family, figures[name], model)
