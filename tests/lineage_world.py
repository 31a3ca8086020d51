"""A model with two built and judged versions, their history in a state database, and rows that came after them."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.events import Event
from driftd.paths import Places
from driftd.records import DecisionFigures, ModelState, Phase, Transition
from driftd.registry import Registry
from driftd.registry.manifest import content_of
from driftd.sources import open_source
from driftd.store.state.writer import StateStore
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY = 86_400.0
START = 20_000 * DAY  # 2024-10-04
FIRST, SECOND, NOW = START + 20 * DAY, START + 40 * DAY, START + 60 * DAY
A_DAY = 150
MODEL = "demand"
SCHEMA = Schema(
    Task.REGRESSION, "y", (Feature("a", Kind.NUMBER), Feature("b", Kind.NUMBER), Feature("region", Kind.CATEGORY))
)
CONFIG = """\
state_dir: {state}
models:
  demand:
    task: regression
    target: y
    trainer: {trainer}:train
    allow_joblib: true
    parameters: {{alpha: {alpha}}}
    source: {{kind: files, path: {logs}, columns: {{id: id, label: y}}}}
    window: {{every: 1d}}
    detect: {{segments: [region]}}
    promote: {{min_labels: 200}}
"""
TRAINER = """\
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, context):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["region"]), ("passthrough", ["a", "b"]))
    model = make_pipeline(columns, Ridge(alpha=context.parameters["alpha"]))
    return model.fit(data[list(context.features)], data[context.target])
"""


def rows() -> pd.DataFrame:
    """Sixty days of labelled rows: from day 20 on the south has another slope, and `b` is higher."""
    rng = np.random.default_rng(11)
    count = 60 * A_DAY
    at = START + np.sort(rng.uniform(0, 60 * DAY, count))
    late = at >= FIRST
    region = rng.choice(["north", "south"], count, p=[0.7, 0.3])
    a, b = rng.normal(size=count), rng.normal(size=count) + late * 2.0
    truth = 3 * a + np.where(late & (region == "south"), 6.0, 0.0) + rng.normal(0, 0.5, count)
    frame = pd.DataFrame({"id": [f"r{n}" for n in range(count)], "at": at, "version": 1, "prediction": 3 * a})
    return frame.assign(a=a, b=b, region=region, y=truth, label_at=at + 600)


def write_config(folder: Path, trainer: str = "lineage_trainer", alpha: float = 1.0) -> Path:
    """The config, whose trainer lies in the folder."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(state=folder / "state", logs=folder / "logs", trainer=trainer, alpha=alpha))
    return path


def make(folder: Path) -> None:
    """Version 1 from the first twenty days, version 2 from forty with other code and parameters, both judged."""
    (folder / "logs").mkdir()
    rows().to_parquet(folder / "logs" / "one.parquet")
    places, trainer = Places(folder / "state"), folder / "lineage_trainer.py"
    trainer.write_text(TRAINER)
    write_config(folder)
    look(folder)
    _build(folder, 1, FIRST)
    trainer.write_text(TRAINER.replace("return model", "# the south is warmer now\n    return model"))
    importlib.invalidate_caches()
    write_config(folder, alpha=2.0)
    _build(folder, 2, SECOND)
    with StateStore.open(places.state_db, durable=False) as store:
        _decide(store, Event.ADOPTED, "it served already", FIRST, 1)
        _decide(store, Event.SWAP_STARTED, "ann says yes", SECOND - 60, 2, "ann")
        _decide(store, Event.PROMOTED, "version 2 serves", SECOND, 2)
        for version in (1, 2):
            store.chain_version(MODEL, version, content_of(Registry(places).manifest(MODEL, version)), NOW)
    Registry(places).point(MODEL, 2)


def look(folder: Path) -> None:
    """Have the source find the files, as each round of a daemon does."""
    config = load(folder / "config.yaml").models[MODEL]
    source = open_source(MODEL, config, SCHEMA, Places(folder / "state"))
    source.refresh(NOW + 3600)
    source.close()


def _build(folder: Path, version: int, until: float) -> None:
    champion = version - 1 or None
    taken = run_task(folder, "snapshot", schema=SCHEMA.to_dict(), since=0.0, until=until)
    run_task(
        folder,
        "train",
        version=version,
        snapshot=taken["digest"],
        seed=7,
        until=until,
        trigger="performance" if champion else "manual",
        reason="a test",
        parent=champion,
    )
    run_task(folder, "judge", challenger=version, champion=champion, trigger="performance", until=until)


def run_task(folder: Path, name: str, **arguments: object) -> Mapping[str, object]:
    """Run a task in this process, as a child would."""
    config = load(folder / "config.yaml").models[MODEL]
    told = {"model": MODEL, "model_config": config.model_dump(mode="json"), "state_dir": str(folder / "state")}
    module = importlib.import_module(f"driftd.training.tasks.{name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        value: Mapping[str, object] = module.run(msgspec.convert(told | arguments, module.Arguments))
    return value


def _decide(store: StateStore, event: Event, reason: str, at: float, version: int, actor: str = "driftd") -> None:
    state = ModelState(MODEL, Phase.STEADY, champion=version)
    made = Transition(state, reason, event, (), DecisionFigures(version=version))
    with store.transaction():
        store.save_transition(state, made, at=at, actor=actor, config_hash="c0ffee")


@cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="driftd-lineage-world."))
    make(folder)
    return folder


def copy_world(folder: Path) -> Places:
    """The world, made once in a process of tests, in a folder where it may be harmed."""
    made = _made()
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)
    write_config(folder, alpha=2.0)
    look(folder)
    for path in (folder / "state").iterdir():
        if path.name.endswith((".lock", "-wal", "-shm")):
            path.unlink()
    return Places(folder / "state")
