"""Cohorts of very many rows: an even sample is judged, the counts stay exact, memory and false alarms stay bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from driftd.loop.checks import check_labels
from driftd.records import Verdict, Window
from driftd_detectors.assessment import EvidenceKind, KindAssessment
from driftd_detectors.cohort import Cohort, cohort_of, fold_cohorts, hash_numbers
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.reference import learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy

SCHEMA = Schema(Task.CLASSIFICATION, "y", (Feature("x", Kind.NUMBER),), ("0", "1"))
HOUR = 3600.0
START = 1_700_000_000.0 // HOUR * HOUR
DRAWN = 2000
ERROR = 0.2


def outcomes_of(rows: int, seed: int, error: float = ERROR, *, start: float = START, strays: int = 0) -> Outcomes:
    """Predictions of an hour that are wrong in a share; some labels are of no class."""
    rng = np.random.default_rng(seed)
    at = start + np.sort(rng.random(rows)) * HOUR
    label = (rng.random(rows) < 0.5).astype(np.float64)
    prediction = np.where(rng.random(rows) < error, 1 - label, label)
    label[rng.choice(rows, strays, replace=False)] = -2.0
    unseen = ("other",) if strays else ()
    nothing = np.full(rows, np.nan)
    version = np.ones(rows, dtype=np.int64)
    return Outcomes(at, prediction, nothing, label, at + 60.0, version, ("0", "1"), unseen)


def sampled(outcomes: Outcomes, most: int = DRAWN, *, part: int = 5000, first: int = 0) -> Cohort:
    """The cohort of outcomes that come in parts."""

    def parts() -> Iterator[Cohort]:
        for begin in range(0, outcomes.rows, part):
            rows = slice(begin, min(outcomes.rows, begin + part))
            names = ("at", "prediction", "score", "label", "label_at", "version")
            arrays = [getattr(outcomes, name)[rows] for name in names]
            cut = Outcomes(*arrays, outcomes.classes, outcomes.unseen)
            hashes = hash_numbers(np.arange(first + begin, first + begin + cut.rows))
            yield cohort_of(Columns(cut.rows, {}, {}), cut, hashes, ServedBy(1), most)

    return fold_cohorts(parts(), SCHEMA, most)


@dataclass
class Sampled:
    """A source whose cohorts are samples; nothing else of it is asked."""

    cohorts: dict[int, Cohort]

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        del known_by, features, served
        return self.cohorts[window.index]


def monitor_of() -> Monitor:
    """The monitor of a model that is wrong in a fifth of 28 hours of 2,000 rows."""
    hours = [outcomes_of(DRAWN, 1000 + hour, start=START - (28 - hour) * HOUR) for hour in range(28)]
    names = ("at", "prediction", "score", "label", "label_at", "version")
    whole = Outcomes(*(np.concatenate([getattr(rows, name) for rows in hours]) for name in names), ("0", "1"))
    columns = Columns(whole.rows, {"x": np.random.default_rng(0).normal(size=whole.rows)}, {})
    starts = np.floor(whole.at / HOUR) * HOUR
    reference = learn_reference(columns, whole, SCHEMA, starts=starts, importance={"x": 1.0}, loss="error")
    return Monitor.begin(reference, MonitorSettings(windows_per_year=8766, window_seconds=HOUR))


def test_the_loss_of_a_sample_is_within_its_band() -> None:
    """The error of 20,000 of 400,000 rows differs from that of all by what an even sample may: 200 samples agree."""
    outcomes = outcomes_of(400_000, 1)
    wrong = outcomes.prediction != outcomes.label
    cohort = sampled(outcomes, 20_000, part=50_000)
    drawn = (cohort.outcomes.prediction != cohort.outcomes.label).mean()
    assert (cohort.total, cohort.labelled, cohort.outcomes.rows) == (400_000, 400_000, 20_000)
    assert drawn == pytest.approx(wrong.mean(), abs=3 * np.sqrt(ERROR * (1 - ERROR) / 20_000))
    small = outcomes_of(20_000, 2)
    share = (small.prediction != small.label).mean()
    spread = np.sqrt(share * (1 - share) / 1000 * (1 - 1000 / 20_000))
    found = [sampled(small, 1000, part=20_000, first=seed * 10**6).outcomes for seed in range(200)]
    away = np.array([((rows.prediction != rows.label).mean() - share) / spread for rows in found])
    assert abs(away.mean()) < 3 / np.sqrt(200)
    assert 0.85 < away.std() < 1.15
    assert (np.abs(away) > 1.96).mean() < 0.11
    times = np.array([(rows.at.mean() - small.at.mean()) for rows in found]) / (HOUR / np.sqrt(12 * 1000))
    assert abs(times.mean()) < 3 / np.sqrt(200)  # no part of the window is drawn rather than another


def test_samples_raise_no_alarm_of_their_own_and_find_a_loss() -> None:
    """Over 300 hours of 10,000 rows, 2,000 drawn, nothing alarms; a loss of a fourth more is found within hours."""
    monitor, alarms = monitor_of(), 0
    for hour in range(300):
        after, crossed, sentence = look(monitor, hour, ERROR)
        assert "judged by 2,000 of 10,000 rows" in sentence
        alarms, monitor = alarms + crossed, after
    assert alarms == 0
    found = None
    for hour in range(300, 330):
        monitor, crossed, _ = look(monitor, hour, 1.25 * ERROR)
        if crossed:
            found = hour
            break
    assert found is not None
    assert found < 312


def look(monitor: Monitor, hour: int, error: float) -> tuple[Monitor, bool, str]:
    start = START + hour * HOUR
    cohort = sampled(outcomes_of(10_000, hour, error, start=start), first=hour * 10_000)
    window = Window(hour, start, start + HOUR)
    result = check_labels(Sampled({hour: cohort}), window, monitor, ServedBy(1), start + 2 * HOUR)  # type: ignore[arg-type]
    kind = result.assessment.of(EvidenceKind.PERFORMANCE)
    return result.monitor, kind is not None and kind.crossed, result.assessment.sentence


def test_what_is_told_are_the_counts_of_all_rows() -> None:
    """Rows, labels, coverage, stray labels and the newest label are of the cohort, not of its sample."""
    outcomes = outcomes_of(10_000, 5, strays=300)
    outcomes.label_at[:4000] = np.nan
    outcomes.label[:4000] = -1.0
    strays = int(outcomes.strays.sum())
    cohort = sampled(outcomes)
    window = Window(0, START, START + HOUR)
    result = check_labels(Sampled({0: cohort}), window, monitor_of(), ServedBy(1), START + 2 * HOUR)  # type: ignore[arg-type]
    found = result.assessment
    assert (found.rows, found.figures["labels"], found.figures["coverage"]) == (10_000, 6000.0, 0.6)
    assert found.figures["drawn"] == 2000.0
    assert found.figures["newest_label_at"] == outcomes.label_at[4000:].max()
    assert found.figures["unseen_labels"] == pytest.approx(strays, rel=0.4)
    assert found.figures["label_delay"] == pytest.approx(60.0)
    foreign = Cohort.from_bytes(cohort.to_bytes())
    assert (foreign.total, foreign.labelled) == (10_000, 6000)


def test_predictions_of_another_version_are_counted_among_all() -> None:
    """A cohort of which more than a tenth is another version's decides nothing, and the sentence counts all rows."""
    outcomes = outcomes_of(10_000, 6)
    outcomes.version[:5000] = 2
    window = Window(0, START, START + HOUR)
    cohort = sampled(outcomes)
    result = check_labels(Sampled({0: cohort}), window, monitor_of(), ServedBy(1), START + 2 * HOUR)  # type: ignore[arg-type]
    assert result.assessment.verdict is Verdict.INCONCLUSIVE
    assert result.assessment.sentence.startswith("5000 of 10000 predictions")


def test_memory_is_that_of_the_sample() -> None:
    """Eight times as many rows need no more memory at their peak, and no more afterwards."""
    peaks, held = [], []
    for rows in (40_000, 320_000):
        outcomes = outcomes_of(rows, 7)
        tracemalloc.start()
        cohort = sampled(outcomes, 10_000)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert cohort.total == rows
        peaks.append(peak)
        held.append(now)
    assert peaks[1] < 1.3 * peaks[0]
    assert held[1] < 1.3 * held[0]


def test_no_decision_reads_what_depends_on_the_cut() -> None:
    """With any mean and squares in its Profile a window gives the same verdicts and evidence; sentences say means."""
    monitor = monitor_of()
    layout = monitor.reference.layout
    outcomes = outcomes_of(DRAWN, 9)
    columns = Columns(DRAWN, {"x": np.random.default_rng(9).normal(0.8, 2.0, DRAWN)}, {})
    found = profile_of(columns, outcomes, layout)
    moments = replace(found.moments, mean=found.moments.mean + 1e6, squares=np.full(len(layout.columns), np.inf))
    results = [monitor.check(profile, START, START) for profile in (found, replace(found, moments=moments))]
    first, second = (replace(seen, sentence="", kinds=tuple(map(without_words, seen.kinds))) for _, seen in results)
    assert first == second
    assert results[0][0].to_bytes() == results[1][0].to_bytes()


def without_words(kind: KindAssessment) -> KindAssessment:
    """The assessment of a kind without what is only said."""
    return replace(kind, sentence="", changes=())


def test_the_order_of_the_parts_is_nothing() -> None:
    """A cohort of parts in any order is the same, also where nothing is left out."""
    outcomes = outcomes_of(9000, 8)
    for most in (500, 9000):
        assert sampled(outcomes, most, part=1000).to_bytes() == sampled(outcomes, most, part=9000).to_bytes()
