"""Performance estimated without labels: near the truth where only the inputs move, and silent where it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftd_detectors.assessment import EvidenceKind, Verdict
from driftd_detectors.columns import Coded, Columns, Outcomes
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.performance.estimated_loss import ExpectedLoss, learn_expected
from driftd_detectors.performance.losses import losses
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import empty_profile, merge, profile_of
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY = 86_400.0
ROWS = 400
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "y",
    (Feature("x", Kind.NUMBER), Feature("group", Kind.CATEGORY), Feature("noise", Kind.NUMBER)),
    ("0", "1"),
)
SETTINGS = MonitorSettings(windows_per_year=365.25, window_seconds=DAY)


def rows_of(rng, day: int, *, rows: int = ROWS, shift: float = 0.0, turned: float = 0.0) -> tuple[Columns, Outcomes]:
    """A model that is sure far from x = 0, and whose score is too sure in the group "odd".

    `shift` moves x towards where it errs; `turned` turns so many labels round, which no input shows.
    """
    x = rng.normal(2.0 - shift, 1.0, rows) * rng.choice([-1.0, 1.0], rows)
    odd = rng.random(rows) < 0.3
    score = 1 / (1 + np.exp(-2 * x))
    chance = np.where(odd, 0.5 + (score - 0.5) * 0.6, score)
    label = (rng.random(rows) < chance).astype(float)
    label = np.where(rng.random(rows) < turned, 1 - label, label)
    at = day * DAY + np.sort(rng.random(rows)) * DAY
    columns = Columns(
        rows, {"x": x, "group": Coded(odd.astype(np.int32), ("even", "odd")), "noise": rng.normal(size=rows)}, {}
    )
    said = Outcomes(at, (score > 0.5).astype(float), score, label, at + 60.0, np.ones(rows, dtype=np.int64), ("0", "1"))
    return columns, said


def reference_of(days: int = 40) -> Reference:
    rng = np.random.default_rng(1)
    columns, outcomes = rows_of(rng, 0, rows=days * ROWS)
    starts = np.repeat(np.arange(days), ROWS) * DAY
    outcomes = replace(outcomes, at=starts + 1.0, label_at=starts + 61.0)
    importance = {"x": 0.8, "group": 0.2, "noise": 0.0}
    return learn_reference(columns, outcomes, SCHEMA, starts=starts, importance=importance, loss="brier")


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of()


def truth_of(outcomes: Outcomes, metric: str) -> float:
    return float(np.mean(losses(metric, Task.CLASSIFICATION, outcomes)))


@pytest.mark.parametrize("metric", ["brier", "error", "log_loss"])
@pytest.mark.parametrize("shift", [0.0, 0.7, 1.5])
def test_the_estimate_follows_the_inputs(reference: Reference, metric: str, shift: float) -> None:
    """Under covariate shift the estimate is within noise of the loss that labels show later; the reference is not."""
    rng = np.random.default_rng(2)
    columns, outcomes = rows_of(rng, 50, rows=20_000, shift=shift)
    expected = reference.expected[metric]
    found = expected.of(profile_of(columns, outcomes, reference.layout))
    truth = truth_of(outcomes, metric)
    assert abs(found.loss - truth) < 0.03 * expected.mean + 4 * expected.uncertainty(20_000)
    if shift > 1:
        assert abs(truth - expected.mean) > 10 * abs(found.loss - truth)


def test_the_band_holds_the_loss_of_clean_and_of_shifted_windows(reference: Reference) -> None:
    """Of 200 windows of the usual size at least 185 have their loss inside the 95 % band, also when inputs move."""
    rng = np.random.default_rng(3)
    for shift in (0.0, 1.0):
        held = 0
        for day in range(200):
            columns, outcomes = rows_of(rng, day, shift=shift)
            found = reference.expected["brier"].of(profile_of(columns, outcomes, reference.layout))
            held += found.low <= truth_of(outcomes, "brier") <= found.high
        assert held >= 185


def test_the_estimate_of_a_merged_profile_is_the_mean_of_its_parts(reference: Reference) -> None:
    """An estimate is a mean over rows, so days add up to weeks without reading a row again."""
    rng = np.random.default_rng(4)
    parts = [profile_of(*rows_of(rng, day, rows=300, shift=day / 4), reference.layout) for day in range(4)]
    whole = parts[0]
    for part in parts[1:]:
        whole = merge(whole, part)
    expected = reference.expected["brier"]
    assert expected.of(whole).loss == pytest.approx(np.mean([expected.of(part).loss for part in parts]))


def test_on_the_reference_itself_it_is_the_mean(reference: Reference) -> None:
    """The estimate for the reference's own rows is their mean loss."""
    expected = reference.expected["brier"]
    assert expected.of(reference.profile).loss == pytest.approx(expected.mean, rel=1e-6)
    assert expected.mean == pytest.approx(reference.losses["brier"].mean)


def test_features_that_tell_nothing_are_left_out() -> None:
    """Where the score says all there is, the penalty is without limit, and no weight falls on a feature."""
    rng = np.random.default_rng(5)
    rows = 4000
    score = rng.random(rows)
    label = (rng.random(rows) < score).astype(float)
    at = np.sort(rng.random(rows)) * 10 * DAY
    outcomes = Outcomes(
        at, (score > 0.5).astype(float), score, label, at + 1, np.ones(rows, dtype=np.int64), ("0", "1")
    )
    columns = Columns(rows, {"a": rng.normal(size=rows), "b": rng.normal(size=rows)}, {})
    schema = Schema(Task.CLASSIFICATION, "y", (Feature("a", Kind.NUMBER), Feature("b", Kind.NUMBER)), ("0", "1"))
    layout = learn_layout(columns, outcomes, schema)
    loss = losses("brier", Task.CLASSIFICATION, outcomes)
    starts = np.floor(at / DAY) * DAY
    expected = learn_expected("brier", loss, columns, outcomes, layout, starts=starts, importance={})
    assert expected is not None
    features = expected.weights[: layout.starts[2]]
    assert np.abs(features).max() < 0.15 * np.abs(expected.weights).max()


def test_too_few_labelled_rows_give_no_estimate(reference: Reference) -> None:
    """Below 500 rows with a loss nothing is estimated, rather than something made of noise."""
    columns, outcomes = rows_of(np.random.default_rng(6), 0)
    loss = losses("brier", Task.CLASSIFICATION, outcomes)
    starts = np.zeros(ROWS)
    assert learn_expected("brier", loss, columns, outcomes, reference.layout, starts=starts, importance={}) is None


def test_an_expected_loss_reads_back_as_it_was(reference: Reference) -> None:
    """It survives the reference's bytes; a reference written before there were estimates has none."""
    again = Reference.from_bytes(reference.to_bytes())
    found = {name: item.to_dict() for name, item in again.expected.items()}
    assert found == {name: item.to_dict() for name, item in reference.expected.items()}
    assert isinstance(again.expected["brier"], ExpectedLoss)


def test_a_profile_without_rows_has_no_loss(reference: Reference) -> None:
    """Asked for the loss of nothing it says so."""
    with pytest.raises(ValueError, match="without rows"):
        reference.expected["brier"].of(empty_profile(reference.layout))


def lived(reference: Reference, days: int, *, labels: bool = True, **change: float) -> tuple[Monitor, list]:
    """A monitor after so many days, and what each window's check said of harm."""
    rng, monitor, seen = np.random.default_rng(7), Monitor.begin(reference, SETTINGS), []
    for day in range(40, 40 + days):
        columns, outcomes = rows_of(rng, day, **change)
        monitor, assessment = monitor.check(profile_of(columns, outcomes, reference.layout), day * DAY)
        seen.append(assessment)
        if labels:
            monitor, _ = monitor.check_labels(outcomes, day * DAY, DAY)
    return monitor, seen


def test_inputs_that_harm_raise_an_alarm_before_any_label(reference: Reference) -> None:
    """Inputs that move to where the model errs are told as harm, with the estimate beside the reference's loss."""
    _, seen = lived(reference, 12, labels=False, shift=1.2)
    harm = [item.of(EvidenceKind.HARM) for item in seen]
    assert sum(item.crossed for item in harm) == 1
    assert harm[-1].verdict is Verdict.DRIFT
    assert harm[-1].sentence.startswith("Estimated Brier score got worse from ")
    assert "estimated without labels brier is" in harm[-1].figures
    assert seen[-1].figures["estimated_loss_low"] > reference.expected["brier"].mean


@pytest.mark.slow
def test_a_clean_year_raises_no_harm(reference: Reference) -> None:
    """Over 200 clean days the estimate stays calm and its band is borne out by the labels."""
    monitor, seen = lived(reference, 200)
    assert not any(item.of(EvidenceKind.HARM).crossed for item in seen)
    assert not monitor.harm.is_off
    assert monitor.harm.coverage >= 0.8


def test_an_estimate_that_labels_contradict_is_switched_off_and_says_so(reference: Reference) -> None:
    """Under concept drift, which no input shows, the estimate loses its voice, without making windows unclear."""
    monitor, seen = lived(reference, 30, turned=0.3)
    harm = seen[-1].of(EvidenceKind.HARM)
    assert monitor.harm.is_off
    assert harm.verdict is Verdict.INCONCLUSIVE
    assert "switched off: its band held 0 of the last 20 windows that labels came for" in harm.sentence
    assert seen[-1].verdict is Verdict.OK
    assert seen[-1].figures["estimate_off"] == 1.0


def test_what_was_compared_is_kept_over_a_restart(reference: Reference) -> None:
    """Estimates that wait for labels, and the trust in them, survive the store."""
    monitor, _ = lived(reference, 15)
    columns, outcomes = rows_of(np.random.default_rng(8), 55)
    monitor, _ = monitor.check(profile_of(columns, outcomes, reference.layout), 55 * DAY)
    again = Monitor.from_bytes(reference, SETTINGS, monitor.to_bytes())
    assert again.harm.waiting == monitor.harm.waiting != {}
    assert again.harm.compared == monitor.harm.compared
    item, two = (each.check_labels(outcomes, 55 * DAY, DAY)[0].harm.compared for each in (monitor, again))
    assert item == two
    assert len(item) == 16
