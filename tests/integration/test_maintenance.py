"""The daemon keeps the event stores small."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from driftd.config.schema import Config
from driftd.loop.maintenance import DoneUpkeep, maintain_events
from driftd.paths import Places
from driftd.store.events import retention
from driftd.store.subprocesses import ChildError, run_apart
from event_samples import SCHEMA, START, keep, open_store, prediction, stored_rows

DAY = 86_400.0


def config_of(root: Path, *models: str, **retention: object) -> Config:
    item = {"task": "classification", "target": SCHEMA.target}
    return Config.model_validate(
        {
            "state_dir": str(root),
            "retention": {"events": "3d", "share": 1} | retention,
            "models": dict.fromkeys(models, item),
        }
    )


def held_bytes(places: Places, model: str) -> int:
    """What a model's events take: used pages of the database, and segments."""
    with closing(sqlite3.connect(places.events_db(model))) as connection:
        pages, free, size = (
            connection.execute(f"pragma {item}").fetchone()[0] for item in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size + sum(item.stat().st_size for item in places.segments(model).glob("*.parquet"))


def test_each_model_is_sealed_and_pruned(tmp_path: Path) -> None:
    """Cold features go to segments, old rows go; a model whose database is damaged or not there harms no other."""
    places = Places(tmp_path)
    store = open_store(places.events_db("good").parent)
    for day in range(6):
        rows = [prediction(number, at=START + day * DAY) for number in range(day * 10, day * 10 + 10)]
        keep(store, rows, START + day * DAY)
    store.close()
    before = stored_rows(places.events_db("good").parent)
    places.events_db("bad").parent.mkdir(parents=True)
    places.events_db("bad").write_bytes(b"no database " * 100)
    config, done = config_of(tmp_path, "bad", "absent", "good"), DoneUpkeep()
    assert maintain_events(config, places, START + 5.5 * DAY, done) == {"bad": False, "absent": True, "good": True}
    assert set(done.at) == {"good"}
    assert stored_rows(places.events_db("good").parent) == before[20:]
    assert len(list(places.segments("good").glob("*.parquet"))) == 1
    assert not places.events_db("absent").exists()


def test_events_stay_within_their_bytes(tmp_path: Path) -> None:
    """With `retention.event_bytes`, the oldest sealed events go before they are old; the newest stay."""
    places = Places(tmp_path)
    store = open_store(places.events_db("demand").parent)
    for day in range(3):
        rows = [prediction(number, at=START + day * DAY) for number in range(day * 4000, day * 4000 + 4000)]
        keep(store, rows, START + day * DAY)
        maintain_events(config_of(tmp_path, "demand", events="9d"), places, START + (day + 1.1) * DAY)
    store.close()
    before = stored_rows(places.events_db("demand").parent)
    assert len(before) == 12_000
    limited = config_of(tmp_path, "demand", events="9d", event_bytes=held_bytes(places, "demand") - 1)
    maintain_events(limited, places, START + 3.1 * DAY)
    assert stored_rows(places.events_db("demand").parent) == before[4000:]
    maintain_events(limited, places, START + 3.1 * DAY)
    assert len(stored_rows(places.events_db("demand").parent)) == 8000, "what fits is left alone"


def test_no_child_is_started_where_nothing_is_to_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores without cold rows rest until the config names another age, or a quarter of a day went by."""
    places, done, looked = Places(tmp_path), DoneUpkeep(), []
    for model in ("first", "second"):
        store = open_store(places.events_db(model).parent)
        keep(store, [prediction(number, at=START) for number in range(10)], START)
        store.close()

    def note(module: str, arguments: Sequence[str], seconds: float) -> str:
        looked.append(module)
        return run_apart(module, arguments, seconds)

    monkeypatch.setattr(retention, "run_apart", note)
    config, later = config_of(tmp_path, "first", "second"), START + 3600.0
    assert maintain_events(config, places, START, done) == {"first": True, "second": True}
    assert len(looked) == 1, "one child for both"
    maintain_events(config, places, later, done)
    assert len(looked) == 1
    maintain_events(config_of(tmp_path, "first", "second", events="2d"), places, later, done)
    assert len(looked) == 2
    maintain_events(config_of(tmp_path, "first", "second", events="2d"), places, later + DAY / 4, done)
    assert len(looked) == 3


def test_a_store_that_ends_the_child_harms_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the child for all fails, each store has one of its own, and the one at fault is told."""
    places = Places(tmp_path)
    for model in ("good", "deadly"):
        store = open_store(places.events_db(model).parent)
        keep(store, [prediction(number, at=START) for number in range(10)], START)
        store.close()

    def die(module: str, arguments: Sequence[str], seconds: float) -> str:
        if "deadly" in arguments[0]:
            raise ChildError("out of memory")
        return run_apart(module, arguments, seconds)

    monkeypatch.setattr(retention, "run_apart", die)
    assert maintain_events(config_of(tmp_path, "good", "deadly"), places, START + 5.5 * DAY) == {
        "good": True,
        "deadly": False,
    }
    assert len(list(places.segments("good").glob("*.parquet"))) == 1
