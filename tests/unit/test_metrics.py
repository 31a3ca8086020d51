"""What the daemon shows to Prometheus."""

from __future__ import annotations

import math
from pathlib import Path

from prometheus_client import generate_latest

from driftd.observe.document import document
from driftd.observe.metrics import FEATURES_SHOWN, Metrics
from driftd.records import ModelState, Phase
from driftd_detectors.assessment import Assessment, EvidenceKind, Fault, KindAssessment, Score, Verdict

ROOT = Path(__file__).parents[2]


def exposed(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def score(subject: str, value: float) -> Score:
    return Score(EvidenceKind.DATA, subject, "location", value, 0.1)


def test_every_metric_is_documented() -> None:
    """docs/metrics.md lists exactly the families that the daemon exposes."""
    assert (ROOT / "docs/metrics.md").read_text() == document()


def test_names_follow_prometheus() -> None:
    """Every name has the prefix, every counter ends in _total, every time in _seconds."""
    for family in Metrics().documents:
        assert family.name.startswith("driftd_")
        assert (family.type == "counter") == family.name.endswith("_total")
        assert "timestamp" not in family.name or family.name.endswith("_timestamp_seconds")
        assert family.help.endswith(".")


def test_a_new_model_shows_its_label_sets_at_zero() -> None:
    """A rule on a counter works from the first scrape, before anything has happened."""
    metrics = Metrics()
    metrics.add_model("demand")
    assert 'driftd_checks_total{kind="window",model="demand",verdict="drift"} 0.0' in exposed(metrics)
    assert 'driftd_alarms_total{kind="performance",model="demand"} 0.0' in exposed(metrics)


def test_the_series_of_a_removed_model_disappear() -> None:
    """Nothing of a removed model is exposed any more, and its neighbours stay."""
    metrics = Metrics()
    for model in ("demand", "price"):
        metrics.add_model(model)
        metrics.state(ModelState(model, Phase.PROBATION, champion=2))
        metrics.check(model, "window", assessment(), seconds=0.1, now=1.0)
    metrics.remove_model("demand")
    assert 'model="demand"' not in exposed(metrics)
    assert 'driftd_phase{model="price",phase="probation"} 1.0' in exposed(metrics)


def assessment(scores: tuple[Score, ...] = (), verdict: Verdict = Verdict.DRIFT) -> Assessment:
    kind = KindAssessment(EvidenceKind.DATA, verdict, 12.0, 1000.0, "it moved")
    fault = Fault("x", "missing", "x is missing", 0.9, alarm=True)
    return Assessment(verdict, "it moved", 100, (kind,), scores, (fault,), figures={"loss": math.nan, "baseline": 0.1})


def test_a_check_shows_evidence_threshold_and_scores_but_never_nan() -> None:
    """Score and threshold are separate gauges; what could not be computed is absent, not NaN."""
    metrics = Metrics()
    metrics.check("demand", "window", assessment((score("a", 0.5), score("b", math.nan))), seconds=0.1, now=7.0)
    text = exposed(metrics)
    assert 'driftd_evidence{kind="data",model="demand"} 12.0' in text
    assert 'driftd_evidence_threshold{kind="data",model="demand"} 1000.0' in text
    assert 'driftd_score{component="location",feature="a",model="demand"} 0.5' in text
    assert 'driftd_quality_faults{fault="missing",model="demand"} 1.0' in text
    assert "NaN" not in text


def test_feature_series_are_capped_and_the_cap_is_visible() -> None:
    """A model with too many features shows the first ones and says how many it hides."""
    metrics = Metrics()
    scores = tuple(score(f"f{number}", 0.1) for number in range(FEATURES_SHOWN + 30))
    metrics.check("demand", "window", assessment(scores), seconds=0.1, now=7.0)
    assert exposed(metrics).count("driftd_score{") == FEATURES_SHOWN
    assert 'driftd_features_hidden{model="demand"} 30.0' in exposed(metrics)


def test_an_error_does_not_count_as_a_successful_check() -> None:
    """The time of the last check stands still while checks fail, so that staleness can alert."""
    metrics = Metrics()
    metrics.check("demand", "window", assessment(), seconds=0.1, now=7.0)
    metrics.check("demand", "window", assessment(verdict=Verdict.ERROR), seconds=0.1, now=9.0)
    assert 'driftd_last_check_timestamp_seconds{kind="window",model="demand"} 7.0' in exposed(metrics)
