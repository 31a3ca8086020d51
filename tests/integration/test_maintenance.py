"""The daemon keeps the event stores small."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from driftd.config.schema import Config
from driftd.loop.maintenance import maintain_events
from driftd.paths import Places
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
    maintain_events(config_of(tmp_path, "bad", "absent", "good"), places, START + 5.5 * DAY)
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
