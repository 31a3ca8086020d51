"""The monitor: what it says of windows and cohorts, and what it survives."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from driftd_detectors.assessment import EvidenceKind, Measure, Verdict
from driftd_detectors.columns import Coded, Columns
from driftd_detectors.evidence.evidence import Evidence, StreamWeights
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.performance.label_delay import LabelDelay
from driftd_detectors.profile.profile import empty_profile, profile_of
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import METRICS, Task
from driftd_detectors.scores.scoring import score_window
from driftd_detectors.serialization import as_array, pack, unpack
from worlds import DAY, LABELS, SCHEMA, day_of, known_by, reference_of, together

SETTINGS = MonitorSettings(windows_per_year=365, window_seconds=DAY)


@pytest.fixture(scope="module")
def reference():
    """A calm month whose labels came two days late on average."""
    return reference_of(np.random.default_rng(21), delay=2.0)


@pytest.fixture(scope="module")
def monitor(reference):
    """Nothing seen yet."""
    return Monitor.begin(reference, SETTINGS)


def checked(monitor, rng, number, **change):
    """The monitor and what it says after one day more."""
    columns, outcomes = day_of(rng, number, **change)
    return monitor.check(profile_of(columns, outcomes, monitor.reference.layout), number * DAY)


def test_a_moved_feature_is_told_in_one_sentence(monitor) -> None:
    """The alarm says what the feature is now, was, and since when; the evidence stands apart; it is raised once."""
    rng = np.random.default_rng(22)
    crossed, seen = [], None
    for number in range(28, 40):
        monitor, seen = checked(monitor, rng, number, shift=0.4 if number >= 34 else 0.0)
        crossed.append(seen.of(EvidenceKind.DATA).crossed)
    data = seen.of(EvidenceKind.DATA)
    assert sum(crossed) == 1
    assert data.verdict is Verdict.DRIFT
    assert data.sentence == "a: mean 0.333, was -0.004 (since 4 February 1970)."
    assert data.figures.startswith("a moved up by 0.39 sd")
    assert "against a threshold of 912" in data.figures
    assert (data.changes[0].subject, data.changes[0].measure) == ("a", Measure.MEAN)
    assert data.leaders[0][0] == "a"
    assert data.change_start == 34 * DAY
    assert {score.subject for score in seen.scores} >= {"a", "b", "c", "prediction"}


def test_a_broken_column_is_a_fault_and_no_drift(monitor) -> None:
    """A column gone missing raises quality, leaves the evidence of data alone, and is whole again when mended."""
    rng = np.random.default_rng(23)
    columns, outcomes = day_of(rng, 28)
    gone = Columns(columns.rows, columns.values | {"a": np.full(columns.rows, np.nan)}, {})
    after, seen = monitor.check(profile_of(gone, outcomes, monitor.reference.layout), 28 * DAY)
    assert seen.of(EvidenceKind.QUALITY).crossed
    assert any(fault.alarm and fault.subject == "a" for fault in seen.faults)
    assert seen.of(EvidenceKind.DATA).verdict is Verdict.OK
    after, seen = checked(after, rng, 29)
    assert seen.verdict is Verdict.OK


def test_too_few_rows_are_inconclusive_and_change_nothing(monitor) -> None:
    """An empty window leaves the monitor as it was."""
    after, seen = monitor.check(empty_profile(monitor.reference.layout), 28 * DAY)
    assert seen.verdict is Verdict.INCONCLUSIVE
    assert after is monitor


def test_ignored_features_are_not_looked_at_and_silenced_ones_raise_nothing(reference) -> None:
    """A shift of an ignored or silenced feature raises no data alarm; only the silenced one still has scores."""
    for field, shown in (("ignore", False), ("silenced", True)):
        watched = Monitor.begin(
            reference, replace(SETTINGS, **{field: frozenset({"a"})}, shares={EvidenceKind.DATA: 0.4})
        )
        rng = np.random.default_rng(24)
        for number in range(28, 33):
            watched, seen = checked(watched, rng, number, shift=0.2)
        assert ("a" in {score.subject for score in seen.scores}) is shown
        assert "a" not in dict(seen.of(EvidenceKind.DATA).leaders)


@pytest.mark.parametrize("field", ["ignore", "silenced"])
def test_a_feature_that_is_off_raises_nothing_through_the_streams_of_many_features(reference, field) -> None:
    """A large shift of one feature that is ignored or silenced moves neither the global nor the joint evidence."""
    watched = Monitor.begin(reference, replace(SETTINGS, **{field: frozenset({"a"})}))
    rng = np.random.default_rng(27)
    for number in range(28, 40):
        watched, seen = checked(watched, rng, number, shift=1.0)
        assert seen.of(EvidenceKind.DATA).verdict is Verdict.OK


def test_silencing_ends_an_alarm_that_only_the_silenced_feature_bore_and_its_end_lets_it_come_again(reference) -> None:
    """The evidence of the others is kept; when the silence is over and the feature is still off, it alarms anew."""
    loud, quiet = SETTINGS, replace(SETTINGS, silenced=frozenset({"a"}))
    rng = np.random.default_rng(28)
    watched = Monitor.begin(reference, loud)
    for number in range(28, 36):
        watched, seen = checked(watched, rng, number, shift=1.0)
    assert seen.of(EvidenceKind.DATA).verdict is Verdict.DRIFT
    watched = Monitor.from_bytes(reference, quiet, watched.to_bytes())
    for number in range(36, 44):
        watched, seen = checked(watched, rng, number, shift=1.0)
        assert seen.of(EvidenceKind.DATA).verdict in (Verdict.OK, Verdict.SUSPECTED)
    watched = Monitor.from_bytes(reference, loud, watched.to_bytes())
    crossed = []
    for number in range(44, 52):
        watched, seen = checked(watched, rng, number, shift=1.0)
        crossed.append(seen.of(EvidenceKind.DATA).crossed)
    assert sum(crossed) == 1


def test_evidence_that_was_stored_goes_on(monitor, reference) -> None:
    """A monitor read back says what the one in memory says; under another metric only performance begins anew."""
    rng = np.random.default_rng(25)
    for number in range(28, 32):
        monitor, _ = checked(monitor, rng, number, shift=0.1)
    again = Monitor.from_bytes(Reference.from_bytes(reference.to_bytes()), SETTINGS, monitor.to_bytes())
    item, two = (checked(each, np.random.default_rng(5), 32)[1] for each in (monitor, again))
    assert item == two
    other = Monitor.from_bytes(reference, replace(SETTINGS, metric="roc_auc"), monitor.to_bytes())
    assert other.data.evidence.value == monitor.data.evidence.value
    assert other.loss.metric == "roc_auc"


def test_a_monitor_is_read_back_without_the_profiles_of_the_reference(monitor, reference) -> None:
    """What it needs of the reference's windows is stored beside them; it is found anew where an older driftd stored."""
    reads = []

    def read() -> bytes:
        reads.append(1)
        return stored

    stored = reference.to_bytes()
    again = Reference.from_bytes(stored, read)
    assert Monitor.from_bytes(again, SETTINGS, monitor.to_bytes()).to_bytes() == monitor.to_bytes()
    assert reads == []
    values, arrays = unpack(stored)
    older = Reference.from_bytes(pack({name: values[name] for name in values if name != "summary"}, arrays), read)
    assert older.summary.to_dict() == again.summary.to_dict() == reference.summary.to_dict()
    assert reads == [1]
    assert [start for start, _ in again.windows[:2]] == list(reference.summary.starts[:2])


@pytest.mark.slow
@pytest.mark.parametrize("days", [1, 2, 5])
def test_few_reference_windows_are_told_and_bear_no_false_alarm(days) -> None:
    """With a handful of reference days the monitor says that it learns, and stays calm for a hundred."""
    rng = np.random.default_rng(26)
    watched = Monitor.begin(reference_of(rng, days), SETTINGS)
    for number in range(days, days + 60):
        watched, seen = checked(watched, rng, number)
        assert seen.verdict is not Verdict.DRIFT
        if number == days:
            known = days + 1 if days > 1 else 1
            assert seen.learning == f"learning: {known} of 14 reference windows, no alarm before that"
            assert seen.verdict is Verdict.INCONCLUSIVE


def cohort(monitor, rng, number, age, **change):
    """What the monitor says of a day's labels at an age in days."""
    _, outcomes = day_of(rng, number, delay=2.0, **change)
    seen = known_by(outcomes, (number + 1) * DAY + age * DAY)
    return monitor.check_labels(seen, number * DAY, age * DAY)


def test_a_cohort_waits_for_its_labels_and_is_then_evaluated_early(monitor) -> None:
    """Before .3 of the labels of each class are due the check waits; then the loss of the whole cohort is told."""
    rng = np.random.default_rng(27)
    after, seen = cohort(monitor, rng, 28, 0.0)
    assert seen.waits
    assert after is not None
    _, seen = cohort(monitor, rng, 28, monitor.label_age() / DAY)
    assert not seen.waits
    assert seen.verdict is Verdict.OK
    figures = seen.figures
    assert 0.2 < figures["coverage"] < 0.6
    assert figures["low"] < figures["loss"] < figures["high"]
    assert figures["tolerated"] == pytest.approx(1.1 * figures["baseline"])


def test_a_worse_model_is_found_by_early_labels(monitor) -> None:
    """Labels turned round in three of ten rows raise performance within a week, at the age of first evaluation."""
    rng = np.random.default_rng(28)
    for number in range(28, 35):
        monitor, seen = cohort(monitor, rng, number, monitor.label_age() / DAY, wrong=0.3)
    assert seen.of(EvidenceKind.PERFORMANCE).verdict is Verdict.DRIFT
    assert seen.of(EvidenceKind.PERFORMANCE).change_start == 28 * DAY


def test_labels_that_never_come_do_not_block_the_queue(monitor) -> None:
    """After the patience a cohort without labels is inconclusive for good, and evidence is unchanged."""
    _, outcomes = day_of(np.random.default_rng(29), 28)
    none = known_by(outcomes, -1.0)
    after, seen = monitor.check_labels(none, 28 * DAY, 365 * DAY)
    assert seen.verdict is Verdict.INCONCLUSIVE
    assert not seen.waits
    assert after.performance.value == monitor.performance.value


def test_without_known_delays_mature_cohorts_teach_how_labels_arrive(reference) -> None:
    """With no arrival curve a cohort waits for its labels; after enough of them the next is evaluated early."""
    watched = Monitor.begin(replace(reference, label_delay=LabelDelay.unknown()), SETTINGS)
    assert watched.label_age() is None
    rng = np.random.default_rng(30)
    _, seen = cohort(watched, rng, 28, 1.0)
    assert seen.waits
    watched, seen = cohort(watched, rng, 28, 30.0)
    assert not seen.waits
    assert 0.4 * DAY < watched.label_age() < 1.2 * DAY


def test_labels_that_become_slower_are_noticed(monitor) -> None:
    """When coverage at the first age falls, the monitor says so and waits for mature cohorts."""
    rng = np.random.default_rng(31)
    age = 1.5
    for number in range(28, 40):
        monitor, seen = cohort(monitor, rng, number, age)
    for number in range(40, 60):
        _, outcomes = day_of(rng, number, delay=6.0)
        known = known_by(outcomes, (number + 1 + age) * DAY)
        monitor, seen = monitor.check_labels(known, number * DAY, age * DAY)
        if seen.figures.get("label_delay_changed"):
            break
    assert monitor.maturity.changed
    assert "the delay of labels changed" in seen.sentence


@pytest.mark.parametrize("metric", METRICS[Task.CLASSIFICATION])
def test_every_metric_can_be_watched(reference, metric) -> None:
    """Each metric gives a finite loss and a value in its own direction."""
    watched = Monitor.begin(reference, replace(SETTINGS, metric=metric))
    _, seen = cohort(watched, np.random.default_rng(32), 28, 3.0)
    assert seen.verdict in {Verdict.OK, Verdict.SUSPECTED}
    assert np.isfinite(seen.figures["metric"])
    assert watched.loss.metric == metric


@pytest.mark.parametrize("broken", ["nan", "inf", "huge", "constant", "new", "absent", "one", "no_scores"])
def test_no_window_breaks_the_monitor(monitor, broken) -> None:
    """Whatever a window holds there is a verdict with finite evidence, never an exception."""
    columns, outcomes = day_of(np.random.default_rng(33), 28)
    values, rows = dict(columns.values), columns.rows
    changes = {
        "nan": {"a": np.full(rows, np.nan), "b": np.full(rows, np.nan)},
        "inf": {"a": np.full(rows, np.inf), "b": -np.full(rows, np.inf)},
        "huge": {"a": np.full(rows, 1e300)},
        "constant": {"a": np.zeros(rows), "c": Coded(np.zeros(rows, dtype=np.int32), LABELS)},
        "new": {"c": Coded(np.arange(rows, dtype=np.int32), tuple(f"new {item}" for item in range(rows)))},
    }
    values |= changes.get(broken, {})
    if broken == "absent":
        del values["a"]
    if broken == "no_scores":
        outcomes = replace(outcomes, score=np.full(rows, np.nan))
    with np.errstate(all="ignore"):
        after, seen = monitor.check(profile_of(Columns(rows, values, {}), outcomes, monitor.reference.layout), 28 * DAY)
        _, labels = monitor.check_labels(outcomes, 28 * DAY, 3 * DAY)
    assert all(np.isfinite(kind.evidence) for kind in (*seen.kinds, *labels.kinds))
    assert all(np.isfinite(score.value) for score in seen.scores)
    assert seen.sentence
    Monitor.from_bytes(monitor.reference, SETTINGS, after.to_bytes())


def test_what_windows_always_do_is_no_score() -> None:
    """Windows of a day hold one weekday each: that is far from the whole week, and no score once it is known."""
    rng = np.random.default_rng(31)
    weekdays = tuple(str(number) for number in range(7))

    def day(number):
        columns, outcomes = day_of(rng, number)
        weekday = Coded(np.full(columns.rows, number % 7, dtype=np.int32), weekdays)
        return Columns(columns.rows, columns.values | {"c": weekday}, {}), outcomes

    columns, outcomes = together([day(number) for number in range(28)])
    columns = replace(columns, values=columns.values | {"c": replace(columns.values["c"], labels=weekdays)})
    starts = np.floor(outcomes.at / DAY) * DAY
    learned = learn_reference(columns, outcomes, SCHEMA, starts=starts, importance={}, loss="brier")
    watched = Monitor.begin(learned, SETTINGS)
    for number in range(28, 35):
        columns, outcomes = day(number)
        profile = profile_of(columns, outcomes, learned.layout)
        watched, seen = watched.check(profile, number * DAY)
        raw = score_window(profile, learned.profile, learned.layout).values
        assert np.nanmax(raw) > 20
        assert max(item.value for item in seen.scores) < 6


def test_a_cohort_that_is_given_up_says_so(monitor) -> None:
    """Its figures tell it from one that waits, and from one that was evaluated."""
    _, seen = cohort(monitor, np.random.default_rng(31), 28, 0.0)
    assert "given_up" not in seen.figures
    _, outcomes = day_of(np.random.default_rng(31), 28)
    _, seen = monitor.check_labels(known_by(outcomes, -1.0), 28 * DAY, 365 * DAY)
    assert seen.figures["given_up"] == 1


def test_labels_later_than_the_patience_are_learned_from_the_cohorts_that_were_given_up(monitor) -> None:
    """Labels suddenly take forty days: once they have come and no more are due, the delay is forty days."""
    rng = np.random.default_rng(32)
    late = []
    for number in (28, 29):
        _, outcomes = day_of(rng, number)
        at = outcomes.at + rng.uniform(38, 42, outcomes.rows) * DAY
        late.append(replace(outcomes, label_at=at))
    before = monitor.label_age()
    known = [known_by(item, 45 * DAY) for item in late]
    assert monitor.learn_late_labels(known, 45 * DAY).label_age() == before  # nothing has come
    known = [known_by(item, 68.5 * DAY) for item in late]
    assert monitor.learn_late_labels(known, 68.5 * DAY).label_age() == before  # they are still coming
    learned = monitor.learn_late_labels([known_by(item, 120 * DAY) for item in late], 120 * DAY)
    assert 38 * DAY < learned.label_age() < 42 * DAY
    _, outcomes = day_of(rng, 30)
    _, seen = learned.check_labels(known_by(outcomes, -1.0), 30 * DAY, 41 * DAY)
    assert seen.waits  # the next cohort is not given up any more


def test_a_cohort_that_waits_in_vain_says_so_only_where_the_delay_is_unknown(reference, monitor) -> None:
    """Half of the labels came within an hour and no more for days: with an unknown delay that is told, and waits."""
    _, outcomes = day_of(np.random.default_rng(33), 28)
    known = np.random.default_rng(33).random(outcomes.rows) < 0.5
    half = replace(
        outcomes,
        label=np.where(known, outcomes.label, -1.0),
        label_at=np.where(known, outcomes.at + 3600, np.nan),
    )
    unknown = Monitor.begin(replace(reference, label_delay=LabelDelay.unknown()), SETTINGS)
    _, seen = unknown.check_labels(half, 28 * DAY, 60.0)
    assert seen.waits
    assert "settled" not in seen.figures
    _, seen = unknown.check_labels(half, 28 * DAY, 4 * 3600.0)
    assert seen.waits
    assert seen.figures["settled"] == 1
    _, seen = unknown.check_labels(half, 28 * DAY, 31 * DAY)
    assert "loss" in seen.figures
    _, seen = monitor.check_labels(half, 28 * DAY, 4 * 3600.0)
    assert "settled" not in seen.figures


def test_performance_of_an_earlier_edition_begins_anew_and_is_named(monitor, reference) -> None:
    """Stored evidence whose level was learned is not taken up: it starts from the reference, and is named."""
    rng = np.random.default_rng(34)
    for number in range(28, 35):
        monitor, _ = checked(monitor, rng, number)
        monitor, _ = cohort(monitor, rng, number, 3.0, wrong=0.3)
    assert monitor.performance.alarmed
    values, arrays = unpack(monitor.to_bytes())
    learned = Evidence.begin(StreamWeights.of(np.ones(1), np.zeros(1, dtype=bool)), 913.0, *[np.empty((0, 1))] * 3, DAY)
    kept, logs = learned.pack()
    arrays = dict(arrays) | {
        "performance": as_array(pack(kept, logs)),
        "harm": as_array(pack(kept | {"waiting": [], "compared": []}, logs)),
    }
    again = Monitor.from_bytes(reference, SETTINGS, pack(values, arrays))
    assert set(again.renewed) == {"performance", "harm"}
    assert again.performance.value == 0
    assert not again.performance.alarmed
    assert again.data.evidence.value == monitor.data.evidence.value
    assert Monitor.from_bytes(reference, SETTINGS, again.to_bytes()).renewed == ()


def test_an_alarm_of_performance_is_a_level_in_the_assessment(monitor) -> None:
    """While it stands every cohort says since when; once the labels are right again it clears, and says so."""
    rng, standing, cleared = np.random.default_rng(35), [], []
    for number in range(28, 80):
        monitor, seen = cohort(monitor, rng, number, 3.0, wrong=0.4 if 34 <= number < 44 else 0.0)
        kind = seen.of(EvidenceKind.PERFORMANCE)
        standing.append(kind.standing)
        cleared += [(number, kind)] if kind.cleared else []
        if kind.crossed:
            raised = kind
            assert kind.standing.raised_at == number * DAY
    assert re.fullmatch(
        r"Brier score got worse from 0\.\d+ to 0\.\d+ since 4 February 1970 \(higher is worse\)\.", raised.sentence
    )
    assert "% above the reference" in raised.figures
    assert "That is beyond your 10 % and beyond what " in raised.figures
    assert raised.figures.startswith("The average brier of the last ")
    assert raised.change_start == 34 * DAY
    number, end = cleared[0]
    assert len(cleared) == 1
    assert 44 < number < 70
    assert end.verdict is Verdict.OK
    assert end.cleared == raised.standing
    assert "has cleared: the brier of the last 14 days averages" in end.sentence
    assert all(item == raised.standing for item in standing if item is not None)
    assert standing[-1] is None


def test_a_new_version_knows_how_its_predecessor_varied(monitor, reference) -> None:
    """The spread of the losses is carried to the next monitor under the same metric, the level and alarms are not."""
    rng = np.random.default_rng(36)
    for number in range(28, 40):
        monitor, _ = cohort(monitor, rng, number, 3.0, wrong=0.3)
    after = Monitor.begin(reference, SETTINGS, monitor)
    assert after.performance.evidence.prior == monitor.performance.successor_prior()
    assert not after.performance.alarmed
    assert after.performance.evidence.promise.mean == pytest.approx(reference.losses["brier"].mean, rel=0.02)
    other = Monitor.begin(reference, replace(SETTINGS, metric="error"), monitor)
    assert other.performance.evidence.prior != monitor.performance.successor_prior()
