"""The `rows` task: a few rows of a range of windows, as they came, for a person who looks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.sources.protocol import window_at
from driftd.training.tasks import TaskArguments

MOST_ROWS = 200
MOST_WINDOWS = 20  # from which they are drawn
LONGEST_TEXT = 200  # characters of a value
OWN = {
    "driftd_id": "prediction id",
    "driftd_at": "at",
    "driftd_version": "version",
    "driftd_prediction": "prediction",
    "driftd_score": "score",
    "driftd_label_at": "label at",
}


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The windows from `first` to `last`; the same `seed` draws the same rows."""

    first: int
    last: int
    version: int  # whose schema names the columns
    rows: int = MOST_ROWS
    seed: int = 0


def run(arguments: Arguments) -> dict[str, object]:
    """Columns and rows, drawn evenly from at most `MOST_WINDOWS` windows."""
    places, config = Places(Path(arguments.state_dir)), ModelConfig.model_validate(arguments.model_config)
    manifest = Registry(places).manifest(arguments.model, arguments.version)
    source = open_source(arguments.model, config, manifest.schema, places)
    count = min(MOST_WINDOWS, arguments.last - arguments.first + 1)
    indexes = np.unique(np.linspace(arguments.first, arguments.last, count).round()).astype(int)
    each = -(-min(arguments.rows, MOST_ROWS) // len(indexes))
    parts = [
        source.sample(window_at(config.window, int(index)), each, arguments.seed + place)
        for place, index in enumerate(indexes)
    ]
    source.close()
    drawn = pa.concat_tables([part for part in parts if part.num_rows] or parts[:1], promote_options="permissive")
    table = drawn.slice(0, min(arguments.rows, MOST_ROWS))
    names = [*(name for name in table.column_names if name in OWN), *(n for n in table.column_names if n not in OWN)]
    values = [table.column(name).to_pylist() for name in names]
    return {
        "columns": [OWN.get(name, name) for name in names],
        "rows": [[_plain(value) for value in row] for row in zip(*values, strict=True)],
        "windows": len(indexes),
        "asked": arguments.last - arguments.first + 1,
    }


def _plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)[:LONGEST_TEXT]
