"""Segments: found by a shallow tree or declared, watched like the whole, and named in the alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftd_detectors.assessment import EvidenceKind, Verdict
from driftd_detectors.columns import Columns
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.performance.segments import Condition, find_leaves
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from segment_worlds import DAY, ROWS, day, reference


def settings(**kwargs) -> MonitorSettings:
    """Daily windows."""
    return MonitorSettings(365.25, window_seconds=DAY, **kwargs)


def live(monitor, rng, days, first=28, **kwargs):
    """The assessments of so many days, and the monitor after them."""
    seen = []
    for number in range(first, first + days):
        columns, outcomes = day(rng, number, **kwargs)
        monitor, assessment = monitor.check_labels(outcomes, number * DAY, DAY, columns)
        seen.append(assessment.of(EvidenceKind.PERFORMANCE))
    return monitor, seen


def test_the_tree_finds_what_losses_depend_on() -> None:
    """It cuts the price where the error doubles, and not the region, which tells nothing."""
    rng = np.random.default_rng(1)
    found = reference(rng).segments
    assert {name for segment in found for name in segment.columns} == {"price"}
    assert all(segment.found for segment in found)
    above = [segment for segment in found if segment.conditions[0].low > 1]
    assert above
    assert all(segment.losses["mae"].mean == pytest.approx(2 * np.sqrt(2 / np.pi), rel=0.15) for segment in above)
    assert sum(segment.share for segment in found) == pytest.approx(1.0)


def test_the_tree_finds_nothing_where_there_is_nothing() -> None:
    """Losses that depend on nothing are left whole, in twenty worlds of twenty columns."""
    rng = np.random.default_rng(2)
    names = [f"x{number}" for number in range(20)]
    schema = Schema(Task.REGRESSION, "y", tuple(Feature(name, Kind.NUMBER) for name in names))
    worlds = 0
    for _ in range(20):
        columns = Columns(2000, {name: rng.normal(size=2000) for name in names}, {})
        worlds += bool(find_leaves(columns, rng.exponential(size=2000), np.arange(2000), schema))
    assert worlds <= 1


def test_a_promised_level_is_not_that_of_the_rows_that_chose_the_leaf() -> None:
    """Over many worlds the losses of leaves have no bias: the rows that grew the tree are not asked."""
    rng = np.random.default_rng(3)
    above = []
    for _ in range(12):
        for segment in reference(rng, days=4).segments:
            level = 2.0 if segment.conditions[0].low > 1 else 1.0
            if segment.conditions[0].low > 1 or segment.conditions[0].high < 0.9:
                above.append(segment.losses["mae"].mean / (level * np.sqrt(2 / np.pi)) - 1)
    assert abs(np.mean(above)) < 4 * np.std(above) / np.sqrt(len(above)) + 0.01


def test_declared_columns_give_their_values_and_bins() -> None:
    """The categories of one column and five bins of the other, each with at least two hundred labelled rows."""
    rng = np.random.default_rng(4)
    found = [segment for segment in reference(rng, segments=("region", "price")).segments if not segment.found]
    names = {segment.name for segment in found}
    assert {"region = south", "region = east"} <= names
    assert sum(name.startswith("price") for name in names) == 5
    assert sum(segment.share for segment in found if "price" in segment.columns) == pytest.approx(1.0)
    few = [segment for segment in reference(rng, days=2, segments=("region",)).segments if not segment.found]
    assert {segment.name for segment in few} == {"region = east", "region = north", "region = west"} & {
        segment.name for segment in few
    }


def test_a_segment_alarms_by_its_name_where_the_whole_does_not() -> None:
    """The error of the south, 15 % of the rows, rises by half: the whole stays within its tolerance."""
    rng = np.random.default_rng(5)
    known = reference(rng, segments=("region",))
    monitor, seen = live(Monitor.begin(known, settings(segments=("region",))), rng, 20, south=1.5)
    raised = [kind for kind in seen if kind.crossed]
    assert len(raised) == 1
    assert raised[0].verdict is Verdict.DRIFT
    assert raised[0].sentence.startswith("region = south: mean absolute error got worse from ")
    assert raised[0].figures.startswith("region = south: the average mae of the last ")
    assert "above the reference" in raised[0].figures
    assert raised[0].leaders[0][0] == "region = south"
    assert raised[0].standing is not None
    assert raised[0].evidence >= raised[0].threshold
    assert not monitor.performance.alarmed
    _, off = live(Monitor.begin(known, settings(segments=())), rng, 20, south=1.5)
    assert not any(kind.crossed for kind in off)


def test_an_alarm_of_a_segment_clears() -> None:
    """Once its losses are what they were, it ends by the same rule, and its name says so."""
    rng = np.random.default_rng(6)
    monitor = Monitor.begin(reference(rng, segments=("region",)), settings(segments=("region",)))
    monitor, seen = live(monitor, rng, 12, south=2.0)
    assert seen[-1].verdict is Verdict.DRIFT
    monitor, seen = live(monitor, rng, 25, first=40)
    cleared = [kind for kind in seen if kind.cleared]
    assert len(cleared) == 1
    assert cleared[0].sentence.startswith("region = south: the alarm has cleared")
    assert seen[-1].verdict is Verdict.OK
    assert seen[-1].standing is None


def test_whole_and_segments_are_one_alarm() -> None:
    """Everything worse: one crossing, the whole's sentence, and the segments named behind it."""
    rng = np.random.default_rng(7)
    known = reference(rng, segments=("region",))
    monitor = Monitor.begin(known, settings(segments=("region",)))
    seen = []
    for number in range(28, 40):
        columns, outcomes = day(rng, number)
        worse = replace(outcomes, label=outcomes.prediction + 2 * (outcomes.label - outcomes.prediction))
        monitor, assessment = monitor.check_labels(worse, number * DAY, DAY, columns)
        seen.append(assessment.of(EvidenceKind.PERFORMANCE))
    assert sum(kind.crossed for kind in seen) == 1
    assert seen[-1].sentence.startswith("Mean absolute error got worse")
    assert "Also beyond what is tolerated: region = " in seen[-1].sentence


def test_segments_pay_from_the_budget_of_performance() -> None:
    """The whole alarms at 1 / .8 of its threshold, each of four segments at 4 / .2; without them nothing changes."""
    rng = np.random.default_rng(8)
    known = reference(rng, segments=("region",))
    chosen = settings(segments=("region",))
    monitor, bare = Monitor.begin(known, chosen), Monitor.begin(known, settings(segments=()))
    threshold = chosen.budget.threshold(EvidenceKind.PERFORMANCE)
    assert bare.performance.threshold == pytest.approx(threshold)
    assert monitor.performance.threshold == pytest.approx(threshold / 0.8)
    parts = [part for _, part in monitor.segments.parts.values()]
    assert [part.threshold for part in parts] == pytest.approx([threshold * len(parts) / 0.2] * len(parts))


@pytest.mark.slow
def test_calm_worlds_raise_nothing() -> None:
    """Two hundred clean days by segments and as a whole."""
    rng = np.random.default_rng(9)
    monitor = Monitor.begin(reference(rng, segments=("region", "price")), settings(segments=("region", "price")))
    _, seen = live(monitor, rng, 200)
    assert sum(kind.crossed for kind in seen) == 0


def test_the_evidence_of_segments_is_stored() -> None:
    """A monitor that is written and read goes on alike; the reference keeps its segments."""
    rng = np.random.default_rng(10)
    known = Reference.from_bytes(reference(rng, segments=("region",)).to_bytes())
    chosen = settings(segments=("region",))
    monitor, _ = live(Monitor.begin(known, chosen), rng, 5, south=1.5)
    again = Monitor.from_bytes(known, chosen, monitor.to_bytes())
    assert not again.renewed
    columns, outcomes = day(rng, 33, south=1.5)
    item, other = (kept.check_labels(outcomes, 33 * DAY, DAY, columns)[1] for kept in (monitor, again))
    assert item == other


def test_a_column_that_is_gone_leaves_the_whole() -> None:
    """Rows of which a segment's column was not delivered say nothing of it."""
    rng = np.random.default_rng(11)
    monitor = Monitor.begin(reference(rng, segments=("region",)), settings(segments=("region",)))
    _, outcomes = day(rng, 28)
    after, assessment = monitor.check_labels(outcomes, 28 * DAY, DAY, Columns(ROWS, {}, {}))
    assert assessment.of(EvidenceKind.PERFORMANCE) is not None
    assert all(part.evidence.seen == 0 for _, part in after.segments.parts.values())


def test_conditions_are_told() -> None:
    """Each as people read it."""
    assert Condition("x", ("b", "a")).name == "x = b or a"
    assert Condition("x", high=3.0).name == "x below 3"
    assert Condition("x", low=3.0).name == "x from 3"
    assert Condition("x", low=3.0, high=4.0).name == "x from 3 to 4"
    assert Condition("x", with_missing=True).name == "x missing"
    assert Condition.from_stored(**Condition("x", low=3.0).to_dict()) == Condition("x", low=3.0)
