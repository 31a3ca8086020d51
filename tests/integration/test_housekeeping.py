"""The daemon keeps the event stores small."""

from __future__ import annotations

from pathlib import Path

from driftd.config.model import Config
from driftd.loop.housekeeping import keep_house
from driftd.places import Places
from event_samples import SCHEMA, START, keep, open_store, prediction, stored_rows

DAY = 86_400.0


def config_of(root: Path, *models: str) -> Config:
    one = {"task": "classification", "target": SCHEMA.target}
    return Config.model_validate(
        {"state_dir": str(root), "retention": {"events": "3d"}, "models": dict.fromkeys(models, one)}
    )


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
    keep_house(config_of(tmp_path, "bad", "absent", "good"), places, START + 5.5 * DAY)
    assert stored_rows(places.events_db("good").parent) == before[30:]
    assert len(list(places.segments("good").glob("*.parquet"))) == 1
    assert not places.events_db("absent").exists()
