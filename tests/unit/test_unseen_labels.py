"""Labels outside the classes of a version: what they cost, and when they are a fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driftd.loop.checks import check_labels, fault_in
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.store import StoreSource
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd.store.state.records import CheckFigures
from driftd.views.status import unseen_labels
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.performance.losses import losses, metric_value
from driftd_detectors.quality.faults import unseen_label
from driftd_detectors.reference import learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy

SCHEMA = Schema(Task.CLASSIFICATION, "y", (Feature("x", Kind.NUMBER),), ("0", "1"))
NOW = 1_800_000_000.0
ROWS = 400
EVER = Window(0, 0.0, 9e9)


def source_with(folder: Path, labels: list[str], schema: Schema = SCHEMA) -> StoreSource:
    """A store in which a model that is never wrong predicted, and these labels came."""
    places = Places(folder)
    places.events_db("m").parent.mkdir(parents=True)
    truth = np.arange(ROWS) % 2
    predictions = [
        {"prediction_id": f"p{row}", "at": NOW - 900 + row, "features": {"x": 0.5}, "prediction": str(y)}
        | {"score": 0.9 if y else 0.1, "version": 1}
        for row, y in enumerate(truth)
    ]
    feedback = [{"prediction_id": f"p{row}", "at": NOW - 5, "label": label} for row, label in enumerate(labels)]
    store = EventStore.open(places.events_db("m"), schema, segments=places.segments("m"))
    store.append(read_events(predictions + feedback, schema, NOW)[0])
    store.close()
    source = StoreSource("m", schema, places)
    source.refresh(NOW)
    return source


def with_strays(count: int, stray: str = "unknown") -> list[str]:
    return [stray] * count + [str(row % 2) for row in range(count, ROWS)]


@pytest.mark.parametrize(("strays", "brier", "error"), [(0, 0.01, 0.0), (1, 0.012475, 0.0025), (40, 0.109, 0.1)])
def test_a_stray_label_costs_its_own_row_alone(tmp_path: Path, strays: int, brier: float, error: float) -> None:
    """One unseen label among 400 is one wrong row; the classes, and every other row's loss, stay what they were."""
    outcomes = source_with(tmp_path, with_strays(strays)).outcomes(EVER, NOW)
    assert outcomes.classes == ("0", "1")
    assert outcomes.unseen == (("unknown",) if strays else ())
    assert int(outcomes.strays.sum()) == strays
    assert np.nanmean(losses("brier", Task.CLASSIFICATION, outcomes)) == pytest.approx(brier)
    assert np.nanmean(losses("error", Task.CLASSIFICATION, outcomes)) == pytest.approx(error)
    assert metric_value("roc_auc", outcomes) == 1.0


def test_a_stray_prediction_of_a_stray_label_is_wrong() -> None:
    """Even where both say the same: no version of ours can have predicted a text outside its classes."""
    code = np.array([-2.0, 1.0])
    outcomes = Outcomes(
        np.zeros(2), code, np.full(2, 0.9), code, np.zeros(2), np.ones(2, dtype=int), ("0", "1"), ("x",)
    )
    assert losses("error", Task.CLASSIFICATION, outcomes).tolist() == [1.0, 0.0]
    assert outcomes.texts(outcomes.prediction).labels == ("0", "1", "x")
    assert outcomes.texts(outcomes.prediction).codes.tolist() == [2, 1]


def test_outcomes_can_be_put_in_the_classes_of_another_version(tmp_path: Path) -> None:
    """A class that joined later is no stray any more, and one that is gone becomes one."""
    outcomes = source_with(tmp_path, with_strays(3)).outcomes(EVER, NOW)
    wider = outcomes.among(("0", "1", "unknown"))
    assert (wider.unseen, int(wider.strays.sum())) == ((), 0)
    assert wider.label[:4].tolist() == [2.0, 2.0, 2.0, 1.0]
    narrower = wider.among(("1",))
    assert narrower.unseen == ("0", "unknown")
    assert int(narrower.strays.sum()) == 3 + (ROWS - 4) // 2


def test_labels_in_other_spellings_are_no_strays(tmp_path: Path) -> None:
    """1.0, TRUE and " 1" are the class 1, and their rows are right."""
    spelled = {"0": ("0", "0.0", "False", " 0"), "1": ("1", "1.0", "TRUE", " 1")}
    labels = [spelled[str(row % 2)][row // 2 % 4] for row in range(ROWS)]
    outcomes = source_with(tmp_path, labels).outcomes(EVER, NOW)
    assert outcomes.unseen == ()
    assert metric_value("accuracy", outcomes) == 1.0


def monitor_of(outcomes: Outcomes) -> Monitor:
    columns = Columns(ROWS, {"x": np.full(ROWS, 0.5)}, {})
    starts = np.repeat(np.arange(40) * 10.0, 10)
    reference = learn_reference(columns, outcomes, SCHEMA, starts=starts, importance={"x": 1.0}, loss="brier")
    return Monitor.begin(reference, MonitorSettings(windows_per_year=8766, window_seconds=3600.0))


@pytest.mark.parametrize(("strays", "blocks"), [(1, False), (20, False), (80, True), (400, True)])
def test_a_share_of_stray_labels_is_a_fault(tmp_path: Path, strays: int, blocks: bool) -> None:
    """A few unseen labels are counted; from a clear excess over 5 % on they are a fault that blocks builds."""
    good = source_with(tmp_path / "good", with_strays(0))
    monitor = monitor_of(good.outcomes(EVER, NOW))
    source = source_with(tmp_path / "strays", with_strays(strays))
    seen = check_labels(source, Window(0, NOW - 3600, NOW), monitor, ServedBy(1), NOW)
    assert seen.assessment.figures["unseen_labels"] == strays
    assert "'unknown'" in seen.assessment.sentence
    fault = fault_in(seen.assessment)
    assert (fault is not None) is blocks
    named = check_labels(source, Window(0, NOW - 3600, NOW), monitor, ServedBy(1), NOW, {"unknown"})
    assert fault_in(named.assessment) is None


def test_the_fault_names_the_labels(tmp_path: Path) -> None:
    """The sentence has the share, the texts, and what to do where they are a class."""
    labels = ["n/a", "maybe", *with_strays(80)[2:]]
    fault = unseen_label(source_with(tmp_path, labels).outcomes(EVER, NOW))
    assert fault is not None
    assert fault.sentence == (
        "label has values outside the classes of the version in 20.0% of 400 labels ('n/a', 'maybe', 'unknown'); "
        "a class that is new belongs into `classes`"
    )


def test_status_says_how_many_labels_are_outside() -> None:
    """Strays of the last evaluated cohort are one sentence of the status; without any there is none."""
    assert unseen_labels(CheckFigures(unseen_labels=3.0, labels=200.0)) == [
        "3 of the last 200 labels are outside the classes of the version; each counts as wrong"
    ]
    assert unseen_labels(CheckFigures(labels=200.0)) == []
    assert unseen_labels(CheckFigures()) == []
