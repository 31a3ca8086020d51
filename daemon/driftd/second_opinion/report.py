"""The `report` job: Evidently's opinion of one alarm, and its page. Runs in a child process only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from driftd.config.model_schema import ModelConfig
from driftd.fsutil import write_durably
from driftd.paths import Places
from driftd.records import Window
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion
from driftd.second_opinion.opinions import opinions
from driftd.second_opinion.page import PREDICTION, SCORE, Case, page
from driftd.sources.open import open_source
from driftd_detectors.assessment import EvidenceKind

SAMPLE_ROWS = 5_000
HELD_OUT = 0.25  # of a snapshot, where the manifest does not say which rows the trainer never saw


class AlarmToReport(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as the page needs it; `leaders` are subjects, or pairs of a subject and its share of the evidence."""

    id: int
    sentence: str
    kind: str | None = None
    leaders: list[str | tuple[str, float]] = []


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm, its window, and the `version` whose reference it was judged by."""

    model: str
    model_config: dict[str, object]
    state_dir: str
    version: int
    window: Window
    alarm: AlarmToReport


def run(arguments: Arguments) -> dict[str, object]:
    """Ask the chosen stattests, render the page, and write it to `Places.report` by rename.

    Value: `path`, `stattests` (one `Opinion` each, as JSON), `notes` (what is
    missing from the page). What the data make impossible becomes a sentence; raises only when the version, its snapshot
    or the source cannot be read at all, or the page cannot be written.
    """
    model, version, alarm, window = arguments.model, arguments.version, arguments.alarm, arguments.window
    number = alarm.id
    places, config = Places(Path(arguments.state_dir)), ModelConfig.model_validate(arguments.model_config)
    loaded = Registry(places).load(model, version, allow_joblib=config.allow_joblib)
    reference = _reference(places, model, loaded)
    source = open_source(model, config, loaded.schema, places)
    current = source.sample(window, SAMPLE_ROWS, number).to_pandas()
    source.close()

    chosen = dict(config.detect.data.stattests)
    answers = opinions(reference, current, loaded.schema, chosen, seed=number)
    case = Case(
        title=f"Alarm {number} of {model}",
        sentence=alarm.sentence,
        reference=reference,
        current=current,
        schema=loaded.schema,
        methods=chosen,
        quality=alarm.kind == EvidenceKind.PERFORMANCE,
        leaders=_leaders(alarm.leaders),
        notes=[f"The reference is of version {version}: rows of its snapshot that its trainer never saw."],
    )
    html, notes = page(case, answers)
    path = _write(places.report(model, number), html)
    return {"path": str(path), "stattests": [opinion.to_dict() for opinion in answers], "notes": notes}


def _reference(places: Places, model: str, loaded: LoadedVersion) -> pd.DataFrame:
    """A sample of the hold-out of the version's snapshot, oldest first, with what this version says of each row."""
    path = places.snapshot(model, loaded.manifest.snapshot) / "data.parquet"
    rows = _newest(path, loaded.manifest.data.get("held_out_rows"))
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE_ROWS)).astype(int))]
    rows = rows.reset_index(drop=True)
    predictions = loaded.predict(feature_frame(rows, loaded.schema))
    return rows.assign(**{PREDICTION: predictions.values(), SCORE: predictions.score})


def _newest(path: Path, held_out: int | None) -> pd.DataFrame:
    """The hold-out: the newest rows of a snapshot, read from the file's end so that little more is in memory.

    Where the manifest does not say how many they are, a quarter.
    """
    file = pq.ParquetFile(path)
    wanted = max(1, int(held_out or HELD_OUT * file.metadata.num_rows))
    groups, rows = file.metadata.num_row_groups, 0
    while groups > 0 and rows < wanted:
        groups -= 1
        rows += file.metadata.row_group(groups).num_rows
    table = file.read_row_groups(list(range(groups, file.metadata.num_row_groups)))
    frame: pd.DataFrame = table.to_pandas().sort_values("driftd_at", kind="stable")
    return frame.iloc[-wanted:].reset_index(drop=True)


def _leaders(leaders: Sequence[str | tuple[str, float]]) -> list[str]:
    """The subjects of an alarm, largest share first, from names or (name, share) pairs."""
    return [leader if isinstance(leader, str) else leader[0] for leader in leaders]


def _write(path: Path, html: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, html.encode())
    return path
