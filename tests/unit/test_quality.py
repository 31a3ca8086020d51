"""Faults of the pipeline, told apart from drift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driftd_detectors.columns import Coded, Columns, Outcomes, columns_of
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.quality.checks import QualitySettings, quality_faults
from driftd_detectors.quality.faults import share_evidence
from driftd_detectors.schema import Task, learn_schema
from driftd_detectors.scores.scoring import score_window, streams_of
from profile_samples import SCHEMA, only, part, sample

LAYOUT = learn_layout(*sample(5000, 0), SCHEMA)
REFERENCE = profile_of(*sample(5000, 0), LAYOUT)
STREAMS = Path(__file__).resolve().parents[3] / "shared" / "data"


def alarms(columns: Columns, outcomes: Outcomes) -> set[tuple[str, str]]:
    faults = quality_faults(profile_of(columns, outcomes, LAYOUT), REFERENCE, LAYOUT)
    return {(fault.subject, fault.fault) for fault in faults if fault.alarm}


@pytest.mark.parametrize(
    ("subject", "fault", "values"),
    [
        ("distance", "missing", np.where(np.arange(100) < 97, np.nan, 0.1)),
        ("distance", "constant", np.full(100, 0.37)),
        ("distance", "vanished", None),
        ("distance", "unreadable", Coded(np.zeros(100, dtype=np.int32), ("12 km",))),
        ("distance", "range", np.linspace(-1, 1, 100) * 1000),
        ("rain", "range", np.where(np.arange(100) % 3, -9999.0, 0.0)),
        ("carrier", "new_category", Coded(np.zeros(100, dtype=np.int32), ("CARRIER 0",))),
        ("booked_at", "range", np.zeros(100)),
    ],
)
def test_a_gross_fault_alarms_in_one_window(subject: str, fault: str, values: object) -> None:
    """Each fault is certain in one window of 100 rows, is named, and its column gets no drift score in it."""
    columns, outcomes = sample(100, 7)
    broken = only(columns, **{subject: values})
    assert alarms(broken, outcomes) == {(subject, fault)}
    window = profile_of(broken, outcomes, LAYOUT)
    faults = quality_faults(window, REFERENCE, LAYOUT)
    assert faults[0].sentence.startswith(subject)
    values_of = score_window(window, REFERENCE, LAYOUT, faults=faults).values
    for stream, value in zip(streams_of(LAYOUT), values_of, strict=True):
        if stream.subject in {subject, "carrier", "weekend"}:
            assert np.isnan(value) == (stream.subject == subject)


@pytest.mark.parametrize("seed", range(20))
def test_clean_windows_have_no_fault(seed: int) -> None:
    """Windows like the reference raise nothing, at 30 rows and at 1,000."""
    for rows in (30, 1000):
        assert alarms(*sample(rows, 100 + seed)) == set()


def test_drift_is_no_fault() -> None:
    """A shift beyond the range, a new label in a tenth of the rows and some more missing values are left to drift."""
    columns, outcomes = sample(1000, 8, shift=1.5)
    carrier = columns.values["carrier"]
    assert isinstance(carrier, Coded)
    codes = np.where(np.arange(1000) % 10 == 0, 60, carrier.codes).astype(np.int32)
    holes = np.where(np.arange(1000) % 5 == 0, np.nan, columns.values["holes"])
    changed = only(columns, carrier=Coded(codes, (*carrier.labels, "newcomer")), holes=holes)
    assert alarms(changed, outcomes) == set()


def test_no_certainty_from_a_few_rows() -> None:
    """In fewer than 20 rows nothing is a fault, not even a column that is all missing."""
    columns, outcomes = part(*sample(100, 7), 0, 19)
    assert alarms(only(columns, distance=np.full(19, np.nan)), outcomes) == set()


def test_evidence_is_a_fair_bet() -> None:
    """At the tolerated share the evidence is at most one on average, and far above it is large."""
    hits = np.random.default_rng(0).binomial(200, 0.3, 4000)
    assert np.mean([share_evidence(float(item), 200.0, 0.3) for item in hits]) < 1.1
    assert share_evidence(97.0, 100.0, 0.3) > 1e10


def test_settings_refuse_nonsense() -> None:
    """A share outside 0 to 1 and an over-dispersion below 1 are refused, by name."""
    with pytest.raises(ValueError, match=r"missing is 1\.5"):
        QualitySettings(missing=1.5)
    with pytest.raises(ValueError, match=r"overdispersion is 0\.5"):
        QualitySettings(overdispersion=0.5)


@pytest.mark.parametrize("name", ["nyc_airtime", "bike_sharing", "hotel_bookings"])
def test_clean_real_streams_raise_no_fault(name: str) -> None:
    """Real streams, seasons and growth and all, raise no fault in windows of 200 and 2,000 rows."""
    pd = pytest.importorskip("pandas")
    path = STREAMS / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no folder of real streams: {path}")
    frame = pd.read_parquet(path)
    ignored = [column for column in frame.columns if column.startswith("meta_") or column in {"ts", "label_ts"}]
    schema = learn_schema(frame, task=Task.REGRESSION, target="target", ignore=ignored)
    rows = len(frame)

    def cut(first: int, last: int) -> tuple[Columns, Outcomes]:
        none = np.zeros(last - first)
        times = np.arange(float(last - first))
        outcomes = Outcomes(times, none, none, none, none, none.astype(np.int64))
        return columns_of(frame.iloc[first:last], schema), outcomes

    layout = learn_layout(*cut(0, rows // 10), schema)
    reference = profile_of(*cut(0, rows // 10), layout)
    for size in (200, 2000):
        for first in range(rows // 10, rows - size, rows // 12):
            faults = quality_faults(profile_of(*cut(first, first + size), layout), reference, layout)
            alarms = [fault.sentence for fault in faults if fault.alarm and fault.fault != "scale"]
            assert alarms == []  # half a year on, a temperature is rescaled; day by day it is not, see test_novelty.py
