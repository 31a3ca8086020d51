"""A change of scale is a fault at once; values that were never seen are drift once they last and labels arrive."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from driftd_detectors.columns import Coded, Column
from driftd_detectors.monitor import Monitor
from stream_worlds import DAY, FIRST, SETTINGS, Change, Life

BROKEN = 40


def prices(day: int, rng: np.random.Generator, values: Mapping[str, Column]) -> dict[str, Column]:
    """`no` is a price and `b` a temperature in Celsius."""
    rows = len(values["x"])
    return {**values, "no": rng.lognormal(3.0, 1.0, rows), "b": 12 + 6 * rng.standard_normal(rows)}


def rescaled(subject: str, factor: float, plus: float = 0.0) -> Change:
    """From one day on, a number comes in another unit."""

    def change(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        values = prices(day, rng, values)
        column = values[subject]
        assert isinstance(column, np.ndarray)
        return {**values, subject: column * factor + plus if day >= BROKEN else column}

    return change


@pytest.mark.parametrize(("subject", "factor", "plus"), [("no", 100, 0), ("no", 0.01, 0), ("b", 1.8, 32)])
def test_another_unit_blocks_in_its_first_window(subject: str, factor: float, plus: float) -> None:
    """Cents for euros, euros for cents, Fahrenheit for Celsius: certain in one window, named; before it, no fault."""
    life = Life(3, rescaled(subject, factor, plus)).until(BROKEN + 1)
    assert life.blocked == [BROKEN]
    assert life.last is not None
    (fault,) = [fault for fault in life.last.faults if fault.alarm]
    assert fault.subject == subject
    assert fault.fault in {"scale", "range"}
    assert "range" in fault.sentence or "its scale or unit changed" in fault.sentence


def test_another_unit_that_stays_is_drift_when_labels_arrive() -> None:
    """After seven windows with labels builds are free again, and the sentence says why; without labels they are not."""
    life = Life(3, rescaled("b", 1.8, 32)).until(BROKEN + 10)
    assert life.blocked == list(range(BROKEN, BROKEN + 6))
    assert life.last is not None
    (quality,) = [kind.sentence for kind in life.last.kinds if kind.kind == "quality"]
    assert quality == (
        "No fault in any column; b held values that the reference never did for 10 windows, with labels: drift."
    )
    silent = Life(3, rescaled("b", 1.8, 32), labels_until=FIRST * DAY).until(BROKEN + 10)
    assert silent.blocked == list(range(BROKEN, BROKEN + 10))


def counting(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
    """`no` is an order number."""
    rows = len(values["x"])
    return {**values, "no": np.arange(rows) + day * rows + 1.0}


def turnover(share: float) -> Change:
    """Each day a share of the 1,000 articles is replaced by new ones, which sell as the others do."""

    def change(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        rows, articles, new = len(values["x"]), 1000, share * 1000
        slots = rng.integers(0, articles, rows)
        turns = np.floor((day * new + articles - 1 - slots) / articles).astype(int)
        names = [f"article {slot} of turn {turn}" for slot, turn in zip(slots, turns, strict=True)]
        table = {name: place for place, name in enumerate(dict.fromkeys(names))}
        return {**values, "sex": Coded(np.array([table[name] for name in names], dtype=np.int32), tuple(table))}

    return change


def months(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
    """`no` is the number of the month, January in the reference."""
    month = np.datetime64(FIRST + day, "D").astype("datetime64[M]").astype(int) % 12 + 1
    return {**values, "no": np.full(len(values["x"]), float(month))}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [counting, turnover(0.003), turnover(0.01), turnover(0.02), months],
    ids=["counter", ".3%", "1%", "2%", "month"],
)
def test_what_grows_never_blocks(change: Change) -> None:
    """An order number, the turnover of articles and the month of the year block no build in a year."""
    life = Life(5, change, rows=200).until(300)
    assert life.blocked == []


def test_a_new_country_blocks_for_six_windows_and_is_then_drift() -> None:
    """A country that half of the rows have from the second window on is no broken pipeline for ever."""

    def country(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        sex = values["sex"]
        assert isinstance(sex, Coded)
        new = (rng.random(len(sex.codes)) < 0.5) & (day >= 29)
        return {**values, "sex": Coded(np.where(new, 2, sex.codes).astype(np.int32), ("f", "m", "x"))}

    life = Life(6, country).until(45)
    assert life.blocked
    assert set(life.blocked) <= set(range(29, 35))


def test_a_break_of_a_column_that_turns_over_is_still_a_fault() -> None:
    """Novelty that lasts excuses its own level only: a jump beyond it blocks in its first window."""

    def change(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        values = turnover(0.01)(day, rng, values)
        sex = values["sex"]
        assert isinstance(sex, Coded)
        labels = tuple(name.upper() for name in sex.labels) if day >= 60 else sex.labels
        return {**values, "sex": Coded(sex.codes, labels)}

    life = Life(7, change).until(62)
    assert life.blocked == [60, 61]


def test_novelty_is_stored() -> None:
    """A monitor that is read again knows how long novelty has lasted."""
    life = Life(3, rescaled("b", 1.8, 32)).until(BROKEN + 3)
    again = Monitor.from_bytes(life.reference, SETTINGS, life.monitor.to_bytes())
    assert again.quality.novelty == life.monitor.quality.novelty
    assert again.quality.novelty["b"].windows == 3
