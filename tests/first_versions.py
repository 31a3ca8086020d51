"""First versions for tests that need one and do not test how it is made: trained once in a process, then copied."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.training.bootstrap import FileColumns, make_first_version

_MADE: set[str] = set()  # the keys of those that are whole


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="driftd-first-versions.")


def first_version_of(
    model: str, config: ModelConfig, rows: pd.DataFrame, columns: FileColumns, places: Places, *, now: float
) -> None:
    """Version 1 of a model, made by the real jobs; a second time, from the same rows, it is a copy.

    Rows without times are then those of the first call's `now`, some minutes earlier.
    """
    key = _key(model, config, rows, columns)
    made = Places(Path(_kept().name) / key)
    if key not in _MADE:
        make_first_version(model, config, rows, columns, made, now=now)
        _MADE.add(key)
    shutil.copytree(made.root, places.root, symlinks=True, dirs_exist_ok=True)
    for order in (places.root / "jobs").glob("*/job.json"):  # they alone name the folder that they were made in
        order.write_text(order.read_text().replace(str(made.root), str(places.root)))


def _key(model: str, config: ModelConfig, rows: pd.DataFrame, columns: FileColumns) -> str:
    told = json.dumps([model, config.model_dump(mode="json"), repr(columns), list(rows.columns)], sort_keys=True)
    content = pd.util.hash_pandas_object(rows).to_numpy().tobytes()
    return hashlib.sha256(told.encode() + content).hexdigest()[:24]
