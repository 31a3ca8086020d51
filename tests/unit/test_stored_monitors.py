"""References and monitors that commit 844b24d wrote are read, and what they wrongly held is mended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.performance.label_delay import DEFAULT_PATIENCE
from driftd_detectors.reference import Reference
from worlds import DAY, day_of, known_by

STORED = Path(__file__).parents[1] / "data" / "monitors_844b24d"
EXPECTED = json.loads((STORED / "expected.json").read_text())
SETTINGS = MonitorSettings(windows_per_year=365, window_seconds=DAY)


def stored(name: str) -> Monitor:
    """A monitor as that commit left it, with its reference."""
    reference = Reference.from_bytes((STORED / f"{name}.reference.bin").read_bytes())
    return Monitor.from_bytes(reference, SETTINGS, (STORED / f"{name}.monitor.bin").read_bytes())


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_stored_monitor_knows_of_labels_goes_on(name: str) -> None:
    """The delays are what they were; performance, whose level was learned then, begins anew and is named."""
    monitor = stored(name)
    assert "performance" in monitor.renewed
    again = Monitor.from_bytes(monitor.reference, SETTINGS, monitor.to_bytes())
    assert again.renewed == ()
    for read in (monitor, again):
        assert read.performance is not None
        assert read.performance.value == 0.0
        assert len(read.maturity.delays) == EXPECTED[name]["delays"]


def test_a_delay_that_was_learned_from_times_is_kept() -> None:
    """The age of the first evaluation and the end of waiting are what they were."""
    monitor, expected = stored("label_times"), EXPECTED["label_times"]
    assert monitor.label_age() == pytest.approx(expected["label_age"])
    assert monitor.maturity.longest == pytest.approx(expected["longest"])


def test_a_delay_of_zero_that_stood_for_no_label_time_is_read_as_unknown() -> None:
    """A model that was made without label times gave each window up after a second; now it waits, and then learns."""
    assert EXPECTED["no_label_times"]["longest"] == 1.0
    monitor = stored("no_label_times")
    assert monitor.label_age() is None
    assert monitor.maturity.longest == DEFAULT_PATIENCE
    rng = np.random.default_rng(5)
    for number in range(24, 28):
        _, outcomes = day_of(rng, number, 120, delay=0.2)
        _, early = monitor.check_labels(known_by(outcomes, (number + 1) * DAY - 0.9 * DAY), number * DAY, 60.0)
        assert early.waits
        monitor, assessment = monitor.check_labels(outcomes, number * DAY, 2 * DAY)
        assert "loss" in assessment.figures
    assert 0 < (monitor.label_age() or 0) < DAY
