"""What an alarm is told with besides its own window: the windows since the change, their labels, its certainty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftd.events import Trigger, trigger_named
from driftd.loop.alarm_figures import with_alarm_figures
from driftd.loop.check_schedule import CheckRun
from driftd.loop.checks import CheckResult
from driftd.records import Window
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, Change, EvidenceKind, KindAssessment, Measure, Verdict
from driftd_detectors.evidence.change_sentences import describe_changes
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.profile.profile import merge, profile_of
from worlds import DAY, day_of, reference_of

MODEL, VERSION = "demand", 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore.open(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    reference = reference_of(np.random.default_rng(1))
    return Monitor.begin(reference, MonitorSettings(windows_per_year=365.25, window_seconds=DAY))


def run_of(kind: str, window: Window, monitor: Monitor, found: KindAssessment, **more: object) -> CheckRun:
    """A check that came to this."""
    assessment = Assessment(Verdict.DRIFT, found.sentence, 400, (found,), figures={"labels": 165.0})
    return CheckRun(kind, window, CheckResult(monitor, assessment, **more), 0.1)  # type: ignore[arg-type]


def test_an_alarm_of_data_is_told_over_the_windows_since_its_change(store: StateStore, monitor: Monitor) -> None:
    """Profiles of the version's windows from the change on are merged; those before it and of others are not."""
    rng, layout, profiles = np.random.default_rng(2), monitor.reference.layout, {}
    for number in range(28, 32):
        columns, outcomes = day_of(rng, number, 400, shift=0.5 if number >= 30 else 0.0)
        profiles[number] = profile_of(columns, outcomes, layout)
    with store.transaction():
        for number in (28, 29, 30):
            window = Window(number, number * DAY, (number + 1) * DAY)
            store.save_profile(MODEL, window, version=VERSION, rows=400, profile=profiles[number].to_bytes())
    found = KindAssessment(
        EvidenceKind.DATA, Verdict.DRIFT, 3652.5, 913.0, "x", change_start=30 * DAY, crossed=True,
        streams=(("a", "location"),),
    )  # fmt: skip
    run = run_of("window", Window(31, 31 * DAY, 32 * DAY), monitor, found, profile=profiles[31])
    after = with_alarm_figures(run, store, MODEL, VERSION).result.assessment.kinds[0]
    both = merge(profiles[30], profiles[31])
    assert after.changes[0].now == pytest.approx(float(both.moments.mean[0]))
    assert (after.changes[0].windows, after.changes[0].rows) == (2, 800)
    assert after.chance_years == pytest.approx(10.0)
    alone = with_alarm_figures(run, store, MODEL, VERSION + 1).result.assessment.kinds[0]
    assert alone.changes[0].windows == 1


def test_an_alarm_of_performance_counts_the_labels_of_its_average(store: StateStore, monitor: Monitor) -> None:
    """The labels of all windows of the average are told, and what follows the first sentence stays."""
    change = Change("brier", Measure.LOSS, 0.046, 0.073, windows=3)
    first = describe_changes((change,), 30 * DAY)
    found = KindAssessment(
        EvidenceKind.PERFORMANCE, Verdict.DRIFT, 2000.0, 913.0, f"{first} Most of it in a.", change_start=30 * DAY,
        crossed=True, changes=(change,),
    )  # fmt: skip
    with store.transaction():
        for number, labels in ((28, 999.0), (29, 40.0), (30, 60.0)):
            earlier = Assessment(Verdict.OK, "calm", 400, figures={"labels": labels})
            window = Window(number, number * DAY, (number + 1) * DAY)
            store.save_check(MODEL, "labels", window, earlier, at=window.end, version=VERSION)
    run = run_of("labels", Window(31, 31 * DAY, 32 * DAY), monitor, found)
    after = with_alarm_figures(run, store, MODEL, VERSION).result.assessment
    assert after.kinds[0].changes[0].rows == 265
    assert " on 265 labels since " in after.sentence
    assert after.sentence.endswith("Most of it in a.")
    calm = replace(found, verdict=Verdict.OK, crossed=False)
    same = run_of("labels", run.window, monitor, calm)
    assert with_alarm_figures(same, store, MODEL, VERSION) is same


def test_the_trigger_on_estimated_performance_has_two_names() -> None:
    """The config may say the field's word or the earlier one."""
    assert trigger_named("estimated_performance") is trigger_named("harm") is Trigger.HARM
    assert trigger_named("performance") is Trigger.PERFORMANCE
