"""The demonstration's stream: real rows, replayed once each, with labels that come late."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from driftd.demonstration import stream
from driftd.demonstration.stream import FEATURES, TARGET
from driftd.rehearsal.stream import DAY, batches


@lru_cache
def flights() -> pd.DataFrame:
    """The bundled stream, read once."""
    return stream.load()


def test_the_bundled_stream_is_the_catalogued_one() -> None:
    """The year has 81,837 flights in order of departure, each with a time in the air and an identity of its own."""
    frame = flights()
    assert len(frame) == 81_837
    assert frame["at"].is_monotonic_increasing
    assert frame["prediction_id"].is_unique
    assert frame[TARGET].between(20, 700).all()
    assert pd.Timestamp(frame["at"].iloc[0], unit="s") == pd.Timestamp("2013-01-01 05:15")


def test_loading_twice_gives_the_same_stream() -> None:
    """The delays of the labels are seeded, so every demonstration is the same."""
    pd.testing.assert_frame_equal(flights(), stream.load())


def test_a_label_is_known_only_some_time_after_landing() -> None:
    """Labels come half an hour to two days after the landing, half of them within six hours."""
    frame = flights()
    delay = frame["label_at"] - frame["at"] - 60.0 * frame[TARGET]
    assert delay.min() >= 1800 - 1e-3
    assert delay.max() <= 2 * DAY + 1e-3
    assert delay.median() == pytest.approx(6 * 3600, rel=0.03)


def test_the_first_part_is_january_and_february() -> None:
    """Version 1 gets the first 59 days, the replay gets the rest, and no row is lost or doubled."""
    first, rest = stream.split(flights())
    assert pd.Timestamp(first["at"].iloc[-1], unit="s").month == 2
    assert pd.Timestamp(rest["at"].iloc[0], unit="s").strftime("%m-%d") == "03-01"
    assert len(first) + len(rest) == len(flights())


@pytest.mark.parametrize("every", [DAY, 6 * 3600.0, 1000.0 * 3600])
def test_batches_give_every_row_and_label_once_and_on_time(every: float) -> None:
    """Every prediction and every label is in exactly the batch of its time, so nothing is known too early."""
    rows = flights().iloc[20_000:24_000]
    seen, known = [], []
    for batch in batches(rows, every, target=TARGET, features=FEATURES):
        assert batch.predictions["at"].between(batch.now - every, batch.now, inclusive="left").all()
        assert batch.feedback["at"].between(batch.now - every, batch.now, inclusive="left").all()
        assert set(FEATURES) | {"prediction_id", "at"} == set(batch.predictions.columns)
        seen += list(batch.predictions["prediction_id"])
        known += list(batch.feedback["prediction_id"])
        assert set(known) <= set(seen)
    assert seen == list(rows["prediction_id"])
    assert sorted(known) == sorted(seen)


def test_the_target_is_never_among_what_is_predicted_from() -> None:
    """A batch of predictions does not hold the answer."""
    batch = next(batches(flights().iloc[:500], DAY, target=TARGET, features=FEATURES))
    assert TARGET not in batch.predictions
    assert "label_at" not in batch.predictions


def test_an_impossible_stretch_is_refused() -> None:
    """A stretch of no time is an error, not an endless replay."""
    with pytest.raises(ValueError, match="positive number of seconds"):
        next(batches(flights(), 0.0, target=TARGET, features=FEATURES))


def test_an_empty_stream_has_no_batches() -> None:
    """Nothing to replay is nothing replayed."""
    assert list(batches(flights().iloc[:0], DAY, target=TARGET, features=FEATURES)) == []


def test_the_features_do_not_show_the_drift_that_the_labels_show() -> None:
    """Flights to the west take longer in winter than in summer over the same distance: the drift is in the concept."""
    frame = flights()
    month = pd.to_datetime(frame["at"], unit="s").dt.month
    west = frame["dest"].isin(["LAX", "SFO", "SEA"])
    winter, summer = frame[west & month.isin([1, 2])], frame[west & month.isin([6, 7])]
    assert winter[TARGET].mean() - summer[TARGET].mean() > 15
    assert np.isclose(winter["distance"].mean(), summer["distance"].mean(), rtol=0.02)
