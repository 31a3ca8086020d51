"""First versions for tests that do not test how one is made: trained once in a run of tests, then copied."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.training.bootstrap import FileColumns, make_first_version


@cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="driftd-first-versions.")


def _folder() -> Path:
    """The folder that the processes of one run of tests share (see conftest.py), or one of this process."""
    folder = Path(os.environ.get("DRIFTD_FIRST_VERSIONS") or _own_folder().name)
    folder.mkdir(exist_ok=True)
    return folder


def first_version_of(
    model: str, config: ModelConfig, rows: pd.DataFrame, columns: FileColumns, places: Places, *, now: float
) -> None:
    """Version 1 of a model, made by the real jobs; a second time, from the same rows, it is a copy.

    Rows without times are then those of the first call's `now`, some minutes earlier.
    """
    key = _key(model, config, rows, columns)
    made = Places(_folder() / key)
    whole = _folder() / f"{key}.whole"
    with (_folder() / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of this run may be making it
        if not whole.exists():
            make_first_version(model, config, rows, columns, made, now=now)
            whole.touch()
    shutil.copytree(made.root, places.root, symlinks=True, dirs_exist_ok=True)
    for order in (places.root / "jobs").glob("*/job.json"):  # they alone name the folder that they were made in
        order.write_text(order.read_text().replace(str(made.root), str(places.root)))


def _key(model: str, config: ModelConfig, rows: pd.DataFrame, columns: FileColumns) -> str:
    described = json.dumps([model, config.model_dump(mode="json"), repr(columns), list(rows.columns)], sort_keys=True)
    content = pd.util.hash_pandas_object(rows).to_numpy().tobytes()
    return hashlib.sha256(described.encode() + content).hexdigest()[:24]


def copy_model(places: Places, source: str, name: str) -> None:
    """Another model with the versions and events of `source`, which nobody has open; snapshots are the same files."""
    for part, copy in (("models", shutil.copy2), ("events", shutil.copy2), ("snapshots", os.link)):
        if (places.root / part / source).exists():
            shutil.copytree(places.root / part / source, places.root / part / name, symlinks=True, copy_function=copy)
    for manifest in (places.root / "models" / name / "versions").glob("*/manifest.json"):
        manifest.write_text(manifest.read_text().replace(f'"model": "{source}"', f'"model": "{name}"'))


def copy_version(places: Places, model: str, version: int) -> None:
    """Another version that is like version 1, and was never judged."""
    source, target = places.version(model, 1), places.version(model, version)
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((target / "manifest.json").read_text()) | {"version": version, "gate": None}
    (target / "manifest.json").write_text(json.dumps(manifest))
