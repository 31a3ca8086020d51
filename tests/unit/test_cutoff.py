"""What may be deleted by its age, on a clock that may be wrong by years."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from driftd.store.cutoff import DAY, SortedTimes, choose_cutoff, newest_plausible
from driftd.store.events.retention import PredictionTimes, RetentionLimits, count_old, prune
from event_samples import START, keep, label, open_store, prediction, stored_rows

YEAR = 365.25 * DAY
DAYS = [START + day * DAY for day in range(500) for _ in range(4)]  # of a feed: four rows a day
END = DAYS[-1]


@pytest.mark.parametrize("years", [-10, 1, 5])
def test_nothing_goes_on_a_clock_that_lies_years_beside_the_rows(years: int) -> None:
    """Ten years behind, one or five ahead: the reason names both dates, and the clock's return ends it."""
    held = choose_cutoff(SortedTimes(DAYS), END + years * YEAR, 400 * DAY, 1.0)
    assert held.at is None
    assert f"{abs(years) * 365.25:,.0f} days {'after' if years > 0 else 'before'} the newest" in held.reason
    assert choose_cutoff(SortedTimes(DAYS), END + 60, 400 * DAY, 1.0).at == END - 400 * DAY


def test_nothing_is_held_where_nothing_is_too_old() -> None:
    """Rows of half a year that end half a year ago are not said to be kept: none is over its age by any clock."""
    assert choose_cutoff(SortedTimes(DAYS), END + 200 * DAY, 701 * DAY, 0.2).at == END - 701 * DAY
    assert choose_cutoff(SortedTimes(DAYS), END + 200 * DAY, 690 * DAY, 0.2).at is None


def test_age_counts_from_the_newest_row_and_not_from_the_clock() -> None:
    """A feed that is silent for two months loses nothing for that."""
    assert choose_cutoff(SortedTimes(DAYS), END + 60 * DAY, 400 * DAY, 1.0).at == END - 400 * DAY
    assert choose_cutoff(SortedTimes(DAYS), END - 2 * DAY, 400 * DAY, 1.0).at == END - 402 * DAY


def test_few_rows_of_a_wrong_clock_make_no_time_plausible() -> None:
    """Rows that a clock a year ahead stamped count for nothing while they are few; once they are many, the feed is."""
    ahead = [END + YEAR + row for row in range(40)]
    assert newest_plausible(SortedTimes([*DAYS, *ahead[:15]])) == END
    assert newest_plausible(SortedTimes([*DAYS, *ahead])) == ahead[-1]
    assert newest_plausible(SortedTimes([*DAYS, END + YEAR, END + 3 * YEAR])) == END


def test_more_than_a_share_does_not_go_at_once() -> None:
    """What would take more than the share is kept and counted; at the share, or where all may go, it goes."""
    times = SortedTimes(DAYS)
    held = choose_cutoff(times, END, 300 * DAY, 0.2)
    assert held.at is None
    assert "796 of 2,000 rows" in held.reason
    assert "retention.share" in held.reason
    assert choose_cutoff(times, END, 300 * DAY, 0.4).at == END - 300 * DAY
    assert choose_cutoff(times, END, 300 * DAY, 1.0).at == END - 300 * DAY
    assert choose_cutoff(times, END, 400 * DAY, 0.2).at == END - 400 * DAY


def test_the_index_of_a_store_tells_the_same_as_a_list(tmp_path: Path) -> None:
    """The times of an events database are asked by its index and are those of its rows."""
    at = [START + 100 * DAY * number for number in range(5)]
    store = open_store(tmp_path)
    keep(store, [prediction(number, at=moment) for number, moment in enumerate(at)], at[-1])
    store.close()
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        found, listed = PredictionTimes(connection), SortedTimes(at)
        for times in (found, listed):
            assert (times.count(), times.newest()) == (5, at[-1])
        for moment in (at[0] - 1, at[0], at[2] + 1, at[-1]):
            assert found.last_until(moment) == listed.last_until(moment)
            assert found.count_from(moment, 3) == listed.count_from(moment, 3)
            assert found.count_before(moment, 3) == listed.count_before(moment, 3)
        assert found.first_after(at[1]) == listed.first_after(at[1]) == at[2]


def test_a_store_outlives_a_clock_that_jumps_and_a_person_overrules_it(tmp_path: Path) -> None:
    """On no clock is a row deleted that the true one keeps; `driftd prune` deletes by the clock of now."""
    store = open_store(tmp_path)
    keep(store, [prediction(number, at=START + number * DAY) for number in range(100)], START + 99 * DAY)
    store.close()
    path, segments = tmp_path / "events.db", tmp_path / "segments"
    before, now, limits = stored_rows(tmp_path), START + 99 * DAY, RetentionLimits(90 * DAY, share=0.2)
    for years in (-10, 1, 5):
        done = prune(path, segments, now + years * YEAR, limits)
        assert (done.rows, done.quarantined) == (0, 0)
        assert "is it right, or has the feed ended?" in done.held
        assert stored_rows(tmp_path) == before
    assert prune(path, segments, now, limits).rows == 9
    assert count_old(path, now + YEAR, limits)[0] == 91
    assert prune(path, segments, now + YEAR, RetentionLimits(90 * DAY, is_ordered=True)).rows == 91


def test_labels_of_unknown_ids_go_before_predictions(tmp_path: Path) -> None:
    """Over the bytes, labels without a prediction go first; every prediction stays while that is enough."""
    store = open_store(tmp_path)
    keep(store, [prediction(number, at=START + number) for number in range(500)], START + 500)
    path, segments = tmp_path / "events.db", tmp_path / "segments"
    with closing(sqlite3.connect(path)) as connection:
        used = connection.execute("pragma page_count").fetchone()[0] * 4096
    keep(store, [label(number, at=START + number) for number in range(1000, 9000)], START + 9000)
    done = prune(path, segments, START + 9000, RetentionLimits(1e9, most_bytes=used + 65_536))
    store.close()
    assert len(stored_rows(tmp_path)) == 500
    assert done.rows == 0
    assert done.orphans >= 4000
