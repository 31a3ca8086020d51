"""Shares of missing and never-seen values as streams of their own; absorption; a second feature beside an alarm."""

from __future__ import annotations

import numpy as np
import pytest

from driftd_detectors.columns import Coded, Column
from driftd_detectors.monitor import Monitor
from driftd_detectors.scores.components import share_change, share_of
from driftd_detectors.scores.scoring import SHARES, streams_of
from driftd_detectors.serialization import as_array, pack, unpack
from stream_worlds import SETTINGS, Change, Life

BROKEN = 35  # the first day of a fault


def broken(subject: str, share: float) -> Change:
    """From one day on, a share of a column is missing (`vip`, `x`) or has a value that the reference never held."""

    def change(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        hit = (rng.random(len(values["x"])) < share) & (day >= BROKEN)
        column = values[subject]
        if isinstance(column, Coded):
            other = -1 if subject == "vip" else 2
            return {
                **values,
                subject: Coded(np.where(hit, other, column.codes).astype(np.int32), (*column.labels, "M ")),
            }
        return {**values, subject: np.where(hit, np.nan if subject == "x" else 19.9, column)}

    return change


def shifted(subject: str, sd: float, first: int, last: int = 10_000) -> Change:
    """A number moves by so many sds from one day to another."""

    def change(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        return {**values, subject: values[subject] + sd * (first <= day < last)}

    return change


@pytest.mark.parametrize("subject", ["x", "sex", "vip", "fee"])
def test_five_percent_of_a_new_state_is_found_within_three_days_and_named(subject: str) -> None:
    """Missing and new values in 5 % of rows of any column, a constant one too, alarm by their own stream."""
    life = Life(3, broken(subject, 0.05)).until(BROKEN + 3)
    ((day, sentence),) = life.of("data")
    assert BROKEN <= day <= BROKEN + 2
    state = "missing" if subject in {"x", "vip"} else "with values outside the reference"
    assert sentence.startswith(f"{subject}: ")
    assert f" % {state}, was 0 % (since " in sentence
    assert 2.0 < float(sentence.split(": ")[1].split(" %")[0]) < 9.0


@pytest.mark.slow
def test_400_clean_days_raise_nothing() -> None:
    """No stream of shares, and no other, raises an alarm in 400 clean days; nothing blocks builds."""
    life = Life(4).until(428)
    assert life.alarms == []
    assert life.blocked == []


def test_what_a_share_stands_for_is_read_back() -> None:
    """The share that a sentence names is the one that was seen, whatever was usual and however many rows there were."""
    rows, hits = np.array([100.0, 500.0, 2000.0]), np.array([12.0, 0.0, 1999.0])
    for usual in (0.0, 0.004, 0.5):
        every = np.full(3, usual)
        assert share_of(share_change(hits, rows, every), rows, every) == pytest.approx(hits / rows, abs=1e-9)


@pytest.mark.slow
def test_a_spike_of_three_days_raises_no_second_alarm() -> None:
    """After a spike was absorbed nothing is told a fortnight later, and a lasting shift is still found."""
    for seed in range(3):
        life = Life(seed, shifted("x", 1.5, 60, 63)).until(110)
        assert [day for day, _ in life.of("data")] == [61]
        assert [day for day, _ in life.of("prediction")] in ([60], [61])
        assert life.monitor.data is not None
        assert life.monitor.data.absorbed is None


def test_an_absorbed_shift_says_since_when_and_how_far_off_it_is() -> None:
    """A lasting shift becomes normal; the calm sentence goes on to say its day and how far off the reference it is."""
    life = Life(5, shifted("x", 0.6, 40)).until(75)
    assert len(life.of("data")) == 1
    assert life.last is not None
    (data,) = [kind.sentence for kind in life.last.kinds if kind.kind == "data"]
    assert data.startswith("No alarm.")
    assert "as since 10 February 2024; x still 0.5" in data or "as since 10 February 2024; x still 0.6" in data
    restored = Monitor.from_bytes(life.reference, SETTINGS, life.monitor.to_bytes())
    assert restored.data is not None
    assert life.monitor.data is not None
    assert restored.data.absorbed == life.monitor.data.absorbed


def test_a_second_feature_is_told_while_an_alarm_stands() -> None:
    """A feature that begins to move beside a standing alarm raises one of its own, once, and names the first."""

    def both(day: int, rng: np.random.Generator, values: dict[str, Column]) -> dict[str, Column]:
        return shifted("b", 0.6, 46)(day, rng, shifted("x", 0.6, 40)(day, rng, values))

    life = Life(6, both).until(56)
    first, second = life.of("data")
    assert first[0] in {41, 42, 43}
    assert first[1].startswith("x: mean ")
    assert second[0] in {47, 48, 49}
    assert second[1].startswith("b: mean ")
    assert second[1].endswith("The alarm on the change of 10 February 2024 stands beside it.")


def test_a_state_without_streams_of_shares_goes_on() -> None:
    """What an earlier edition stored is kept stream by stream; the streams of shares begin as the reference is."""
    life = Life(7).until(40)
    monitor = life.monitor
    assert monitor.data is not None
    old = np.array([stream.component not in SHARES for stream in monitor.data.streams])
    evidence = monitor.data.evidence
    lanes = old[evidence.lanes.stream]
    values, arrays = unpack(monitor.to_bytes())
    part, inner = unpack(arrays["data"].tobytes())
    thin = {
        name: array[lanes] if name == "logs" else array[:, old] if name in {"values", "sampling_sd"} else array
        for name, array in inner.items()
    }
    thin |= {name: inner[name][old] for name in ("beta", "ssr", "sampling", "lagged", "previous", "group")}
    kept = ("calendar", "season", "window_seconds", "windows", "alarmed", "since", "seen")
    before = {name: part[name] for name in kept}
    stored = {**arrays, "data": as_array(pack({**before, "streams": int(old.sum())}, thin))}
    again = Monitor.from_bytes(life.reference, SETTINGS, pack(values, stored))
    assert again.renewed == ()
    assert again.data is not None
    assert np.array_equal(again.data.evidence.of_streams[old], evidence.of_streams[old])
    assert (again.data.evidence.of_streams[~old] == 0).all()
    life.monitor = again
    life.change = broken("fee", 0.05)
    life.until(43, 40)
    assert any("% with values outside the reference" in sentence for _, sentence in life.of("data"))


def test_weights_of_a_constant_column_are_small() -> None:
    """A column that can only break costs the others little of the budget."""
    streams = [stream for stream in streams_of(Life(8).reference.layout) if stream.kind == "data"]
    of = {name: sum(stream.weight for stream in streams if stream.subject == name) for name in ("x", "fee")}
    assert of["fee"] == pytest.approx(0.15 * of["x"])
    assert sum(stream.weight for stream in streams) == pytest.approx(1)
