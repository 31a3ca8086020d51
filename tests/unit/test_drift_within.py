"""Drift inside the reference, which no detector can see later, is told at `init`."""

from __future__ import annotations

import numpy as np
import pytest

from driftd_detectors.columns import Column
from driftd_detectors.evidence.history import DAY
from driftd_detectors.reference import InnerDrift, drift_within
from stream_worlds import Change, day_of, reference_of, unchanged


def within(seed: int, change: Change = unchanged, days: int = 28) -> tuple[InnerDrift, ...]:
    """What drifts inside a reference of so many days."""
    rng = np.random.default_rng(seed)
    return drift_within(reference_of([day_of(number, rng, change) for number in range(days)]), DAY)


def test_a_shift_inside_the_reference_is_named_with_its_day_and_size() -> None:
    """The column, since when and how much; a column that goes missing is told by its shares."""

    def change(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        holes = np.where((rng.random(len(values["x"])) < 0.1) & (day >= 20), np.nan, values["b"])
        return {**values, "x": values["x"] + 0.6 * (day >= 16), "b": holes}

    found = {drift.subject: drift.sentence for drift in within(3, change)}
    assert set(found) >= {"x", "b"}
    assert found["x"].startswith("x moved up by 0.")
    assert "from 17 January 2024 on, inside the reference (12 of its 28 windows)" in found["x"]
    assert "b is missing in 10." in found["b"] or "b is missing in 9." in found["b"]
    assert "was 0.0%, from 21 January 2024 on" in found["b"]


@pytest.mark.slow
def test_a_clean_reference_has_no_remark() -> None:
    """Neither chance nor a day of the week is drift; too few windows say nothing."""

    def weekly(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        return {**values, "x": values["x"] + 0.8 * (day % 7 >= 5)}

    for seed in range(4):
        assert within(seed) == ()
        assert within(seed, weekly, 35) == ()
    assert within(9, lambda day, _, values: {**values, "x": values["x"] + 3.0 * (day >= 3)}, 6) == ()
