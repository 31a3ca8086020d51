"""Backups: whole or not there, checked, and no more of them than wanted."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from driftd.paths import Places
from driftd.records import ModelState
from driftd.store.backups import (
    BackupError,
    Plan,
    backup_apart,
    check_backup,
    events_in,
    is_due,
    list_backups,
    make_backup,
    of_the_past,
    read_backup,
)
from driftd.store.events.writer import EventStore
from driftd.store.integrity import damage_marked, mark_damaged
from driftd.store.restore import newest_good
from driftd.store.schema_versions import KINDS
from driftd.store.state.writer import StateStore
from event_samples import SCHEMA, keep, prediction

DAY = 86_400.0
NOW = 1_700_000_000.0


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A state directory with a model at version 3, two versions on disk and some events."""
    places = Places(tmp_path / "state")
    with StateStore.open(places.state_db) as store:
        store.save_state(ModelState("demand", champion=3), NOW)
    for version in (2, 3):
        folder = places.version("demand", version)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(f'{{"version": {version}}}')
    events = EventStore.open(places.events_db("demand"), SCHEMA, segments=places.segments("demand"))
    keep(events, [prediction(number) for number in range(5)])
    events.close()
    return places


def plan(places: Places, now: float = NOW, **changes: object) -> Plan:
    """An order for a backup."""
    order = {"config": {}, "models": ("demand",), "now": now, "program": "1.0", "most_events_bytes": 1 << 30}
    return Plan(state_dir=places.root, folder=places.backups, **{**order, **changes})  # type: ignore[arg-type]


def test_a_backup_holds_what_cannot_be_built_again(places: Places, tmp_path: Path) -> None:
    """The state, small event stores, the manifests and the config are in it, and it says where each model stood."""
    config = tmp_path / "config.yaml"
    config.write_text("models: {}\n")
    made = backup_apart(plan(places, config={"config.yaml": config}))
    folder = places.backups / made.name
    assert made.name == "20231114T221320Z-daily"
    assert made.schema == KINDS["state"].names[-1]
    assert (made.models["demand"].champion, made.models["demand"].versions) == (3, (2, 3))
    assert made.models["demand"].events == "included"
    assert check_backup(folder, made) is None
    assert read_backup(folder) == made
    assert (folder / "config.yaml").read_text() == "models: {}\n"
    assert (folder / "manifests" / "demand" / "2.json").exists()
    with sqlite3.connect(events_in(folder, "demand")) as connection:
        assert connection.execute("select count(*) from predictions").fetchone() == (5,)


def test_a_large_event_store_is_left_out_and_that_is_said(places: Places) -> None:
    """Beyond the size that the config allows the events stay where they are, and the backup says so."""
    made = make_backup(plan(places, most_events_bytes=100))
    assert "left out" in made.models["demand"].events
    assert not events_in(places.backups / made.name, "demand").exists()


def test_a_large_event_store_is_read_all_the_same(places: Places) -> None:
    """Damage in an event store that is too large to be copied is found by the daily reading."""
    path = places.events_db("demand")
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * 3] + b"\xff" * 4096 + content[4096 * 4 :])
    make_backup(plan(places, most_events_bytes=100))
    assert damage_marked(path) is not None


def test_the_newest_are_kept(places: Places) -> None:
    """So many of the daily backups stay as the config says; those made before a migration have a count of their own."""
    make_backup(plan(places, NOW - 100 * DAY, reason="before-m002_configs"))
    for day in range(5):
        make_backup(plan(places, NOW + day * DAY, keep=3))
    kept = [backup.made_at for _, backup in list_backups([places.backups])]
    assert kept == [NOW + 4 * DAY, NOW + 3 * DAY, NOW + 2 * DAY, NOW - 100 * DAY]


def test_a_damaged_state_takes_no_good_backup_s_place(places: Places) -> None:
    """Nothing is backed up from a broken database, and no older backup goes for it."""
    good = make_backup(plan(places, keep=1))
    path = places.state_db
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * 2] + b"\xff" * 4096 * 4 + content[4096 * 6 :])
    with pytest.raises(BackupError, match="damaged"):
        backup_apart(plan(places, NOW + DAY, keep=1))
    path.write_bytes(content)
    mark_damaged(path, "found broken")
    with pytest.raises(BackupError, match="found broken"):
        backup_apart(plan(places, NOW + DAY, keep=1))
    assert [backup.name for _, backup in list_backups([places.backups])] == [good.name]
    assert [entry.name for entry in places.backups.iterdir()] == [good.name]


def test_a_changed_backup_is_not_good(places: Places) -> None:
    """A backup that was changed on disk is not offered as good."""
    made = make_backup(plan(places))
    folder = places.backups / made.name
    with (folder / "state.db").open("ab") as file:
        file.write(b"x")
    assert check_backup(folder, made) == "state.db is not what was backed up (its SHA-256 differs)"


def test_what_a_killed_backup_left_is_no_backup(places: Places) -> None:
    """An unfinished folder is not listed, and the next backup removes it."""
    left = places.backups / ".unfinished-20200101T000000Z-daily"
    left.mkdir(parents=True)
    (left / "state.db").write_bytes(b"half")
    assert list_backups([places.backups]) == []
    make_backup(plan(places))
    assert not left.exists()


def test_due_by_the_clock_and_through_its_jumps(places: Places) -> None:
    """One is due when none is young enough; one from a future that the clock has left counts for nothing."""
    folders = [places.backups]
    assert is_due(folders, DAY, NOW)
    make_backup(plan(places, NOW))
    assert not is_due(folders, DAY, NOW + DAY / 2)
    assert is_due(folders, DAY, NOW + DAY)
    assert is_due(folders, DAY, NOW - DAY)
    make_backup(plan(places, NOW - DAY))
    assert not is_due(folders, DAY, NOW - DAY + 60)


def test_backups_of_a_clock_that_was_ahead_are_set_aside(places: Places) -> None:
    """They neither push others out nor are pushed out, and `restore` takes one only where there is no other."""
    folder, year = places.backups, 365 * DAY
    ahead = [make_backup(plan(places, NOW + year + day * DAY, keep=2)) for day in range(2)]
    past = [make_backup(plan(places, NOW + day * DAY, keep=2)) for day in range(3)]
    now = NOW + 3 * DAY
    listed = list_backups([folder])
    assert [backup.made_at for _, backup in of_the_past(listed, now)] == [past[2].made_at, past[1].made_at]
    assert len(listed) == 4
    _, chosen, refused = newest_good(listed, now)
    assert chosen.made_at == past[2].made_at
    assert len(refused) == 2
    assert newest_good([item for item in listed if item[1].is_ahead(now)], now)[1].made_at == ahead[1].made_at
    make_backup(plan(places, NOW - 10 * year, keep=2))  # the clock is ten years behind: all of them lie ahead of it
    assert len(list_backups([folder])) == 5
    assert not is_due([folder], DAY, NOW - 10 * year + 60)


def test_beside_a_writer(places: Places) -> None:
    """A backup made while the daemon writes is whole, and holds one moment of it."""
    done = threading.Event()

    def write() -> None:
        with StateStore.open(places.state_db) as store:
            number = 0
            while not done.is_set():
                number += 1
                with store.transaction():
                    store.save_cursor("demand", "window", number)
                    store.save_cursor("demand", "labels", number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for day in range(5):
            made = make_backup(plan(places, NOW + day * DAY))
            with sqlite3.connect(places.backups / made.name / "state.db") as connection:
                found = dict(connection.execute("select kind, next_index from cursors").fetchall())
            assert len(set(found.values())) <= 1
            assert check_backup(places.backups / made.name, made) is None
    finally:
        done.set()
        writer.join()
