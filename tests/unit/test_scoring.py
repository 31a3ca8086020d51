"""The scores of a window: their level and sd without drift, their power, and what they survive."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.columns import Coded, Columns
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import empty_profile, merge, profile_of
from driftd_detectors.quality.checks import quality_faults
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.scores.scoring import SHARES, score_window, streams_of
from profile_samples import SCHEMA, only, part, sample

LAYOUT = learn_layout(*sample(20_000, 0), SCHEMA)
REFERENCE = profile_of(*sample(20_000, 0), LAYOUT)
STREAMS = streams_of(LAYOUT)
DISTANCE = {item.component: at for at, item in enumerate(STREAMS) if item.subject == "distance"}


@cache
def standardised(rows: int, windows: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    drawn = []
    for seed in range(windows):
        profile = profile_of(*sample(rows, 1000 + seed, shift=shift, scale=scale), LAYOUT)
        scores = score_window(profile, REFERENCE, LAYOUT)
        drawn.append(scores.values / scores.sampling_sd)
    return np.array(drawn)


def test_streams() -> None:
    """Every column has shares of missing and outside beside its own streams; weights of a kind sum to one."""
    of = {(item.subject, item.component): item for item in STREAMS}
    assert {("distance", "location"), ("distance", "spread"), ("distance", "rest")} <= of.keys()
    assert [component for subject, component in of if subject == "carrier"] == ["chi_square", "missing", "outside"]
    assert of["holes", "missing"].two_sided
    assert not of["weekend", "missing"].two_sided  # the reference had none: the share can only rise
    assert of["weekend", "proportion"].two_sided
    assert not of["all features", "global"].two_sided
    assert of["prediction", "proportion"].kind is EvidenceKind.PREDICTION
    for kind in (EvidenceKind.DATA, EvidenceKind.PREDICTION):
        assert sum(item.weight for item in STREAMS if item.kind is kind) == pytest.approx(1)


def test_level_without_drift() -> None:
    """Over clean windows every standardised score has about mean 0 and standard deviation 1."""
    drawn = standardised(300, 150)
    assert np.isfinite(drawn).all()
    shares = [at for at, item in enumerate(STREAMS) if item.component in SHARES]
    rare = [at for at in shares if (STREAMS[at].subject, STREAMS[at].component) != ("holes", "missing")]
    assert np.percentile(np.abs(drawn[:, rare]), 99.9) < 3.5  # of rows that hardly any window has: never above 1
    assert drawn[:, rare].std(axis=0).max() < 1.25
    drawn = np.delete(drawn, rare, axis=1)
    assert np.abs(drawn.mean(axis=0)).max() < 0.4  # 150 windows: sd .08, and the one reference adds .12 to all
    assert 0.8 < drawn.std(axis=0).min() < drawn.std(axis=0).max() < 1.25


def test_power_at_300_rows() -> None:
    """A shift of a quarter sd is found by location, a scale of 1.25 by spread, in at least 95 % and 88 % of windows."""
    shifted, wider = standardised(300, 60, shift=0.25), standardised(300, 60, scale=1.25)
    assert (np.abs(shifted[:, DISTANCE["location"]]) > 1.96).mean() >= 0.95
    assert (np.abs(wider[:, DISTANCE["spread"]]) > 1.96).mean() >= 0.88


def test_rest_sees_what_location_and_spread_do_not() -> None:
    """A distribution with two peaks of the same location and spread moves the rest."""
    columns, outcomes = sample(1000, 5)
    rng = np.random.default_rng(0)
    peaks = np.where(rng.random(1000) < 0.5, -1.0, 1.0) + 0.25 * rng.normal(size=1000)
    scores = score_window(profile_of(only(columns, distance=peaks), outcomes, LAYOUT), REFERENCE, LAYOUT)
    assert scores.values[DISTANCE["rest"]] > 8


def test_leave_one_out() -> None:
    """A window that is part of the reference scores as against the reference without it."""
    windows = [profile_of(*sample(500, seed), LAYOUT) for seed in range(5)]
    others = empty_profile(LAYOUT)
    for item in windows[1:]:
        others = merge(others, item)
    inside = score_window(windows[0], merge(others, windows[0]), LAYOUT, leave_out=True)
    outside = score_window(windows[0], others, LAYOUT)
    assert np.allclose(inside.sampling_sd, outside.sampling_sd)
    assert np.allclose(inside.values, outside.values, atol=0.15)  # bins are scaled by the whole reference


def test_a_broken_correlation_names_its_pair() -> None:
    """When a correlation of .6 falls to .3 the joint streams move, and the pair is named."""
    schema = Schema(Task.REGRESSION, "y", tuple(Feature(name, Kind.NUMBER) for name in "abcd"))

    def rows(count: int, correlation: float, seed: int) -> Columns:
        values = np.random.default_rng(seed).normal(size=(4, count))
        values[1] = correlation * values[0] + np.sqrt(1 - correlation**2) * values[1]
        return Columns(count, dict(zip("abcd", values, strict=True)), {})

    layout = learn_layout(rows(10_000, 0.6, 0), None, schema)
    reference = profile_of(rows(10_000, 0.6, 0), None, layout)
    largest = [item.component for item in streams_of(layout)].index("largest")
    found = 0
    for seed in range(1, 41):
        window = profile_of(rows(1000, 0.3, seed), None, layout)
        found += score_window(window, reference, layout).values[largest] > 3
    assert found >= 38


@pytest.mark.parametrize("rows", [0, 1, 2, 29])
def test_too_few_rows_say_nothing(rows: int) -> None:
    """Fewer than 30 rows give NaN in every stream, and no exception."""
    window = profile_of(*part(*sample(100, 3), 0, rows), LAYOUT)
    scores = score_window(window, REFERENCE, LAYOUT)
    assert scores.rows == rows
    assert np.isnan(scores.values).all()
    assert np.isnan(scores.sampling_sd).all()


def test_window_larger_than_the_reference() -> None:
    """A window larger than its reference is scored at the level of both samples."""
    layout = learn_layout(*sample(400, 0), SCHEMA)
    scores = score_window(profile_of(*sample(5000, 1), layout), profile_of(*sample(400, 0), layout), layout)
    assert np.nanmax(np.abs(scores.values / scores.sampling_sd)) < 4.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values",
    [
        np.full(200, np.nan),
        np.full(200, np.inf),
        np.full(200, -np.inf),
        np.full(200, 1e300),
        np.zeros(200),
        np.arange(200.0) * 1e15,
        None,
        Coded(np.zeros(200, dtype=np.int32), ("text",)),
    ],
)
def test_survives(values: object) -> None:
    """Whatever a column turns into, in the window or in the reference, no warning is raised and nothing is infinite."""
    columns, outcomes = sample(200, 4)
    strange = only(columns, distance=values, carrier=values, weekend=values)
    window = profile_of(strange, outcomes, LAYOUT)
    faults = quality_faults(window, REFERENCE, LAYOUT)
    assert {fault.subject for fault in faults if fault.alarm} or isinstance(values, np.ndarray)
    assert not np.isinf(score_window(window, REFERENCE, LAYOUT, faults=faults).values).any()
    odd = learn_layout(strange, outcomes, SCHEMA)
    sound, broken = profile_of(columns, outcomes, odd), profile_of(strange, outcomes, odd)
    for item in (sound, broken):
        assert not np.isinf(score_window(item, broken, odd).values).any()
        quality_faults(item, broken, odd)


def test_other_layout_is_refused() -> None:
    """Profiles of another layout are refused, with both fingerprints."""
    other = learn_layout(*sample(500, 9), SCHEMA)
    with pytest.raises(ValueError, match=LAYOUT.fingerprint):
        score_window(empty_profile(other), REFERENCE, LAYOUT)
