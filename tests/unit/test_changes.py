"""What changed, from Profiles: the measure that its stream followed, in the reader's units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Measure, Verdict
from driftd_detectors.columns import Coded, Columns
from driftd_detectors.evidence.changes import compare_column, largest_change, with_changes
from driftd_detectors.profile.layout import Layout, learn_layout
from driftd_detectors.profile.profile import Profile, merge, profile_of
from driftd_detectors.schema import Feature, Kind, Schema, Task

JUNE_28 = 1_782_604_800.0
SCHEMA = Schema(
    Task.REGRESSION,
    "y",
    (Feature("repaid", Kind.CATEGORY), Feature("value", Kind.NUMBER), Feature("rooms", Kind.NUMBER)),
)


def rows_of(count: int, yes: float, mean: float = 100.0, missing: float = 0.0, new: float = 0.0) -> Columns:
    """So many rows: shares of `yes`, of missing and of new values, exact to a row."""
    place = np.arange(count)
    codes = np.where(place < round(yes * count), 1, 0)
    codes = np.where(place >= count - round(new * count), 2, codes).astype(np.int32)
    value = mean + 10.0 * np.sin(place * 2.4)
    value[: round(missing * count)] = np.nan
    rooms = (place % 4).astype(np.float64)
    return Columns(count, {"repaid": Coded(codes, ("no", "yes", "never")), "value": value, "rooms": rooms}, {})


REFERENCE = rows_of(1000, 0.56)


@pytest.fixture(scope="module")
def layout() -> Layout:
    return learn_layout(REFERENCE, None, SCHEMA)


def profiled(columns: Columns, layout: Layout) -> Profile:
    return profile_of(columns, None, layout)


def kind_of(*streams: tuple[str, str], verdict: Verdict = Verdict.DRIFT, note: str = "") -> KindAssessment:
    """Drift of data that these streams lead."""
    return KindAssessment(
        EvidenceKind.DATA,
        verdict,
        2000.0,
        913.0,
        "Features no longer depend on each other as they did.",
        change_start=JUNE_28,
        crossed=True,
        figures="evidence 2,000 against a threshold of 913",
        streams=streams,
        note=note,
    )


def said_of(kind: KindAssessment, recent: Columns, layout: Layout) -> KindAssessment:
    """That kind after its changes are known."""
    assessment = Assessment(Verdict.DRIFT, kind.sentence, recent.rows, (kind,))
    after = with_changes(assessment, profiled(REFERENCE, layout), profiled(recent, layout), layout, windows=3)
    assert after.sentence == after.kinds[0].sentence
    assert after.kinds[0].figures == kind.figures
    return after.kinds[0]


@pytest.mark.parametrize(
    ("stream", "recent", "said"),
    [
        (("repaid", "proportion"), rows_of(500, 0.78), "repaid: 78 % yes, was 56 % (since 28 June 2026)."),
        (("value", "location"), rows_of(500, 0.56, 123.0), "value: mean 123, was 100 (since 28 June 2026)."),
        (("value", "missing"), rows_of(500, 0.56, missing=0.12), "value: 12 % missing, was 0 % (since 28 June 2026)."),
        (
            ("repaid", "outside"),
            rows_of(500, 0.5, new=0.2),
            "repaid: 20 % with values outside the reference, was 0 % (since 28 June 2026).",
        ),
    ],
)
def test_a_change_is_told_in_the_units_of_its_stream(
    stream: tuple[str, str], recent: Columns, said: str, layout: Layout
) -> None:
    """A share of a category, a mean, missing and new values, each beside the reference and since when."""
    after = said_of(kind_of(stream), recent, layout)
    assert after.sentence == said
    assert after.changes[0].windows == 3
    assert after.changes[0].rows == 500


def test_a_change_of_shape_names_a_range(layout: Layout) -> None:
    """Of numbers whose shape changed the range is told whose share did most; of few whole numbers the number."""
    recent = rows_of(400, 0.56)
    values = dict(recent.values)
    values["rooms"] = np.where(np.arange(400) < 300, 3.0, 0.0)
    values["value"] = np.full(400, 109.0)
    recent = replace(recent, values=values)
    assert said_of(kind_of(("rooms", "rest")), recent, layout).sentence.startswith("rooms: 75 % equal to 3, was 25 %")
    shape = said_of(kind_of(("value", "rest")), recent, layout).changes[0]
    assert shape.measure is Measure.SHARE
    assert shape.value.startswith("between ")
    assert shape.now == 1.0


def test_evidence_of_several_columns_names_those_that_moved_most(layout: Layout) -> None:
    """Joint evidence has its own sentence first; columns follow, three at most, and a note stays last."""
    kind = kind_of(
        ("joint", "together"), ("repaid", "proportion"), ("value", "location"), note="The alarm stands beside it."
    )
    said = said_of(kind, rows_of(500, 0.78, 123.0), layout).sentence
    assert said == (
        "Features no longer depend on each other as they did. Most of all: repaid: 78 % yes, was 56 % (since 28 June "
        "2026). Also: value: mean 123, was 100. The alarm stands beside it."
    )
    alone = said_of(kind_of(("joint", "together")), rows_of(500, 0.78), layout)
    assert alone.sentence == "Features no longer depend on each other as they did."


def test_a_calm_window_does_not_contradict_its_chart(layout: Layout) -> None:
    """From five points on the largest difference is named, as the page marks it; below, none is."""
    calm = Assessment(Verdict.OK, "", 500, (kind_of(verdict=Verdict.OK),))
    reference = profiled(REFERENCE, layout)
    moved = with_changes(calm, reference, profiled(rows_of(500, 0.78), layout), layout)
    assert moved.sentence == (
        "No alarm: the evidence does not suffice for one. The largest difference in this window: repaid: 78 % yes, was "
        "56 %."
    )
    still = with_changes(calm, reference, profiled(rows_of(500, 0.58), layout), layout)
    assert (
        still.sentence == "No alarm: no share of any feature's values differs by more than 5 points from the reference."
    )


def test_windows_since_the_change_are_told_together(layout: Layout) -> None:
    """The Profile of all windows is that of their rows: the share is that of both."""
    both = merge(profiled(rows_of(100, 0.6), layout), profiled(rows_of(300, 0.8), layout))
    column = compare_column(profiled(REFERENCE, layout), both, layout, "repaid", is_given=False, windows=2)
    assert column is not None
    change = column.share()
    assert change is not None
    assert (change.now, change.rows, change.value) == (0.75, 400, "yes")


def test_what_is_no_column_has_no_change(layout: Layout) -> None:
    """A score over several columns, and a window without rows, have no change of their own."""
    reference, empty = profiled(REFERENCE, layout), profiled(rows_of(0, 0.0), layout)
    assert compare_column(reference, reference, layout, "all features", is_given=False) is None
    assert compare_column(reference, reference, layout, "repaid", is_given=True) is None
    column = compare_column(reference, empty, layout, "value", is_given=False)
    assert column is not None
    assert [column.by_component(name) for name in ("location", "spread", "missing", "outside", "rest")] == [None] * 5
    assert largest_change(reference, empty, layout) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_difference_is_that_of_any_column(seed: int, layout: Layout) -> None:
    """What is found over all bins at once is the largest of what each column says by itself."""
    rng = np.random.default_rng(seed)
    recent = rows_of(300, rng.random(), 100 + rng.normal(0, 4), rng.random() / 4, rng.random() / 4)
    reference, seen = profiled(REFERENCE, layout), profiled(recent, layout)
    columns = [compare_column(reference, seen, layout, name, is_given=False) for name in ("repaid", "value", "rooms")]
    each = [column.largest() for column in columns if column is not None]
    largest = max((change for change in each if change is not None), key=lambda change: abs(change.now - change.before))
    assert largest_change(reference, seen, layout) == largest
