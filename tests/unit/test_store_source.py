"""What only the embedded store can tell: late rows, refused rows, and rows that retention takes meanwhile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from driftd.config.model_schema import WindowConfig
from driftd.loop.label_counts import count_sound_labels, merge_spans
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.protocol import closed_until
from driftd.sources.store import StoreSource
from driftd.store.events.reader import EventReader
from driftd.store.events.retention import RetentionLimits, prune
from driftd.store.events.sealing import seal
from driftd.store.events.validation import read_events
from driftd_detectors.schema import Feature, Kind
from event_samples import ALL, SCHEMA, START, keep, label, open_store, prediction

MINUTE = (START // 60 + 1) * 60


def source_of(root: Path) -> tuple[StoreSource, Places]:
    places = Places(root)
    closed = partial(closed_until, WindowConfig(every=60.0), lateness=10.0)
    return StoreSource("m", SCHEMA, places, closed), places


def test_rows_after_their_window_was_closed(tmp_path: Path) -> None:
    """A row is late when its window, with its lateness, was closed at the look before; it is kept all the same."""
    source, places = source_of(tmp_path)
    store = open_store(places.events_db("m").parent)
    keep(store, [prediction(1, at=MINUTE + 1)], MINUTE + 2)
    assert source.refresh(MINUTE + 69.9).late == 0
    keep(store, [prediction(2, at=MINUTE + 3)], MINUTE + 69)
    assert source.refresh(MINUTE + 70).late == 0
    keep(store, [prediction(3, at=MINUTE + 4), prediction(4, at=MINUTE + 61)], MINUTE + 71)
    extent = source.refresh(MINUTE + 72)
    assert (extent.late, extent.rows) == (1, 4)
    assert source.refresh(MINUTE + 73).late == 1
    assert source.outcomes(Window(0, MINUTE, MINUTE + 60), MINUTE + 80).rows == 3
    store.close()


def test_a_feature_that_keeps_its_events_out_is_unreadable(tmp_path: Path) -> None:
    """When three of four events are refused for one feature, three quarters of its values count as unreadable."""
    source, places = source_of(tmp_path)
    store = open_store(places.events_db("m").parent)
    good = [prediction(number, at=MINUTE + number) for number in range(8)]
    bad = [prediction(100 + number, at=MINUTE, features={"age": "old"}) for number in range(24)]
    keep(store, [*good, *bad, {"no": "event"}], MINUTE + 30)
    ((columns, outcomes),) = source.chunks(Window(0, MINUTE, MINUTE + 60))
    assert outcomes.rows == 8
    assert dict(columns.unreadable) == {"age": 6}
    assert all(not columns.unreadable for columns, _ in source.chunks(Window(0, MINUTE, MINUTE + 8, by="rows")))
    store.close()


def test_labels_of_faulty_windows_do_not_count(tmp_path: Path) -> None:
    """Labelled rows are counted without those of windows with a fault, also where a count begins within one."""
    source, places = source_of(tmp_path)
    store = open_store(places.events_db("m").parent)
    events = [prediction(number, at=MINUTE + number) for number in range(60)]
    labels = [label(number, at=MINUTE + 100) for number in range(60)]
    keep(store, [*events, *labels], MINUTE + 100)
    source.refresh(MINUTE + 100)
    windows = [(MINUTE + 10.0, MINUTE + 20.0), (MINUTE + 20.0, MINUTE + 30.0), (MINUTE + 40.0, MINUTE + 50.0)]
    spans = merge_spans(windows)
    assert spans == [(MINUTE + 10.0, MINUTE + 30.0), (MINUTE + 40.0, MINUTE + 50.0)]
    assert count_sound_labels(source, MINUTE, MINUTE + 100, []) == 60
    assert count_sound_labels(source, MINUTE, MINUTE + 100, spans) == 30
    assert count_sound_labels(source, MINUTE + 25, MINUTE + 100, spans) == 20
    store.close()


def test_rows_that_went_between_two_looks(tmp_path: Path) -> None:
    """Rows that retention takes while a window is read are not there, and nothing breaks."""
    places = Places(tmp_path)
    path, segments = places.events_db("m"), places.segments("m")
    store = open_store(path.parent)
    keep(store, [prediction(number) for number in range(20)], START)
    keep(store, [prediction(number) for number in range(20, 40)], START + 1)
    seal(path, segments, START + 1e6, hot_seconds=0.0, segment_rows=20)
    reader = EventReader(path, SCHEMA, segments)
    seqs = reader.seqs_between(ALL.start, ALL.end)
    prune(path, segments, START + 1025, RetentionLimits(keep_seconds=14.0))
    rows = reader.rows(seqs, 4e9)
    assert len(seqs) == 40
    assert rows.outcomes.at.tolist() == [START + number for number in range(25, 40)]
    assert reader.features(rows).rows == 15
    store.close()


def test_a_new_version_is_read_by_its_own_schema(tmp_path: Path) -> None:
    """After a swap the open source gives the features and classes of the new version; rows and lateness stay."""
    source, places = source_of(tmp_path)
    store = open_store(places.events_db("m").parent)
    keep(store, [prediction(1, at=MINUTE + 1)], MINUTE + 2)
    assert source.refresh(MINUTE + 70).rows == 1
    keep(store, [prediction(2, at=MINUTE + 3)], MINUTE + 71)
    wider = replace(SCHEMA, features=(*SCHEMA.features[1:], Feature("extra", Kind.NUMBER)), classes=("0", "1", "2"))
    source.use_schema(wider)
    event = prediction(3, at=MINUTE + 61, features={"extra": 7.0}, prediction="2")
    store.append(read_events([event], wider, MINUTE + 72)[0])
    extent = source.refresh(MINUTE + 72)
    assert (extent.rows, extent.late) == (3, 1)
    parts = list(source.chunks(Window(0, MINUTE, MINUTE + 120)))
    assert [name for name in parts[0][0].values if name in {"age", "extra"}] == ["extra"]
    assert [value for columns, _ in parts for value in columns.values["extra"]][-1] == 7.0
    assert parts[-1][1].prediction[-1] == 2.0
    assert parts[-1][1].unseen == ()
    store.close()
    source.close()
