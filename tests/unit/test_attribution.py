"""A rise of the loss is split into mix and concept, and the features and segments that it comes from are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftd_detectors.columns import Coded, Columns
from driftd_detectors.performance.attribution import Attribution, attribute
from driftd_detectors.performance.losses import losses
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Task
from segment_worlds import LABELS, ROWS, SCHEMA, day, reference


def attributed(known: Reference, columns: Columns, outcomes) -> Attribution | None:
    """What is said of some rows."""
    loss = losses("mae", Task.REGRESSION, outcomes)
    sums = {}
    for segment in known.segments:
        inside = segment.holds(columns)
        sums[segment.name] = float(inside.sum()), float(loss[inside].sum())
    return attribute(known, profile_of(columns, outcomes, known.layout, loss=loss), sums)


def rows_of(rng, days=10, **kwargs):
    """Some days as one."""
    parts = [day(rng, number, **kwargs) for number in range(40, 40 + days)]
    region = Coded(np.concatenate([columns.values["region"].codes for columns, _ in parts]), LABELS)
    price = np.concatenate([columns.values["price"] for columns, _ in parts])
    names = ("at", "prediction", "score", "label", "label_at", "version")
    outcomes = replace(
        parts[0][1], **{name: np.concatenate([getattr(rows, name) for _, rows in parts]) for name in names}
    )
    return Columns(days * ROWS, {"price": price, "region": region}, {}), outcomes


def test_a_concept_of_one_region_is_named() -> None:
    """The error of the south doubles: concept, at region = south, which has all of the rise."""
    rng = np.random.default_rng(1)
    known = reference(rng, segments=("region",))
    found = attributed(known, *rows_of(rng, south=2.0))
    assert found is not None
    assert abs(found.mix) < 0.15 * found.rise
    assert found.growths[0].feature == "region"
    assert found.growths[0].place == "region = south"
    assert found.growths[0].now / found.growths[0].before == pytest.approx(2.0, rel=0.1)
    assert found.segments[0].name == "region = south"
    assert found.segments[0].share_of_rise == pytest.approx(1.0, abs=0.2)
    assert "most where region = south:" in found.sentence
    assert "region = south has" in found.sentence
    assert found.leaders[0][0] in {"region = south", "region"}


def test_a_mix_is_told_from_a_concept() -> None:
    """More rows of the dear kind, whose error was always twice as large: mix, by price, and nothing that grew."""
    rng = np.random.default_rng(2)
    known = reference(rng)
    columns, outcomes = rows_of(rng, days=20)
    dear = columns.values["price"] > 1
    kept = np.flatnonzero(dear | (rng.random(columns.rows) < 0.15))
    price, region = columns.values["price"][kept], Coded(columns.values["region"].codes[kept], LABELS)
    names = ("at", "prediction", "score", "label", "label_at", "version")
    some = replace(outcomes, **{name: getattr(outcomes, name)[kept] for name in names})
    found = attributed(known, Columns(len(kept), {"price": price, "region": region}, {}), some)
    assert found is not None
    assert found.mix == pytest.approx(found.rise, rel=0.25)
    assert found.mixes[0][0] == "price"
    assert "other rows come (by price)" in found.sentence
    assert not found.growths


def test_a_loss_that_grew_everywhere_names_nothing() -> None:
    """All errors half as large again: concept, everywhere alike."""
    rng = np.random.default_rng(3)
    known = reference(rng)
    columns, outcomes = rows_of(rng)
    worse = replace(outcomes, label=outcomes.prediction + 1.5 * (outcomes.label - outcomes.prediction))
    found = attributed(known, columns, worse)
    assert found is not None
    assert found.concept == pytest.approx(found.rise, rel=0.15)
    assert {growth.feature for growth in found.growths} <= {"price"}  # where errors were larger they grew by more


def test_a_range_of_numbers_is_named() -> None:
    """Errors that grew at prices from 0 to 1 are told by these ends."""
    rng = np.random.default_rng(4)
    known = reference(rng)
    columns, outcomes = rows_of(rng)
    price = columns.values["price"]
    grown = np.where((price > 0) & (price < 1), 3.0, 1.0)
    worse = replace(outcomes, label=outcomes.prediction + grown * (outcomes.label - outcomes.prediction))
    found = attributed(known, columns, worse)
    assert found is not None
    words = found.growths[0].place.split()
    assert words[:2] == ["price", "from"]
    assert float(words[2]) == pytest.approx(0.0, abs=0.15)
    assert float(words[4]) == pytest.approx(1.0, abs=0.3)


def test_where_there_is_nothing_to_say_nothing_is_said() -> None:
    """Too few labels, a loss that did not rise, no rows."""
    rng = np.random.default_rng(5)
    known = reference(rng)
    columns, outcomes = rows_of(rng)
    better = replace(outcomes, label=outcomes.prediction + 0.5 * (outcomes.label - outcomes.prediction))
    assert attributed(known, columns, better) is None
    unlabelled = replace(outcomes, label_at=np.full(outcomes.rows, np.nan))
    assert attributed(known, columns, unlabelled) is None


def test_columns_that_are_gone_or_new_values_break_nothing() -> None:
    """A feature that is no longer delivered is left out; a value that the reference never had counts as its mean."""
    rng = np.random.default_rng(6)
    known = reference(rng)
    columns, outcomes = rows_of(rng, south=2.0)
    found = attributed(known, Columns(columns.rows, {"price": columns.values["price"]}, {}), outcomes)
    assert found is not None
    assert [name for name, _ in found.mixes] == ["price"]
    moon = Coded(np.zeros(columns.rows, dtype=np.int32), ("moon",))
    odd = attributed(known, Columns(columns.rows, {**columns.values, "region": moon}, {}), outcomes)
    assert odd is not None
    assert np.isfinite([amount for _, amount in odd.mixes]).all()
    assert SCHEMA.names == ("price", "region")
