"""The `snapshot` task: the labelled rows of the source, stored under their content's name. No scikit-learn here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from driftd.config.model_schema import ModelConfig
from driftd.errors import raise_shortage
from driftd.paths import Places
from driftd.sources import open_source
from driftd.sources.open import versions_of
from driftd.training.rows_in_place import JUDGED_ROWS
from driftd.training.snapshots import (
    DATA,
    HELD_OUT,
    Snapshot,
    SnapshotError,
    read_snapshot,
    take_snapshot,
    without_spans,
)
from driftd.training.stored_rows import StoredRows
from driftd.training.tasks import TaskArguments
from driftd_detectors.schema import Schema


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The rows to take (epoch seconds); the snapshot `base` (its content hash) comes first."""

    schema: dict[str, object]  # of the version that serves
    since: float
    until: float
    change_at: float | None = None
    base: str | None = None
    for_refresh: bool = False  # which holds nothing out


def run(arguments: Arguments) -> dict[str, object]:
    """Take every row with `since <= at < until` whose label is known by `until`."""
    change_at = arguments.change_at
    snapshot = snapshot_of(
        arguments,
        Schema.from_dict(arguments.schema),
        arguments.since,
        arguments.until,
        arguments.base,
        held_out=0.0 if arguments.for_refresh else HELD_OUT,
    )
    at = snapshot.at
    after = 0 if change_at is None else len(at) - int(np.searchsorted(at, change_at, side="left"))
    print(f"snapshot {snapshot.digest}: {len(at)} rows, {after} of them since the change", flush=True)  # noqa: T201 - the log
    return {
        "digest": snapshot.digest,
        "left_out": sum(snapshot.left_out.values()),
        "rows": len(at),
        "rows_since_change": after,
        "first_at": float(at[0]),
        "last_at": float(at[-1]),
        "until": arguments.until,
    }


def base_rows(places: Places, model: str, base: str, since: float) -> Iterator[pa.Table]:
    """The rows of what the champion was built from; none where it is gone: the source has what came since."""
    try:
        stored = read_snapshot(places, model, base)
    except SnapshotError as error:
        print(f"the build goes on with the rows of the source alone: {error}", flush=True)  # noqa: T201 - the log
        return
    yield from stored.rows.pieces(slice(int(np.searchsorted(stored.at, since)), None))


def last_of(places: Places, model: str, base: str | None) -> float:
    """The time of the newest row of a snapshot; minus infinity where there is none that can be read."""
    if base is None:
        return -math.inf
    try:
        return float(StoredRows.open(places.snapshot(model, base) / DATA).read(["driftd_at"])["driftd_at"][-1].as_py())
    except (OSError, pa.ArrowInvalid) as error:
        raise_shortage(error)
        return -math.inf  # `base_rows` says so


def snapshot_of(
    order: TaskArguments, schema: Schema, since: float, until: float, base: str | None, *, held_out: float = 0.0
) -> Snapshot:
    """Store the labelled rows of a span of time, as they are known at its end.

    The rows of the snapshot `base` come first: what the champion was built from may be older than the source, as the
    file that `driftd init` began with is. Rows of windows with a fault of the pipeline stay out, and so do those that
    are older or more than the config wants; a share `held_out`, which is not trained on, comes on top of these.
    """
    places = Places(Path(order.state_dir))
    config = ModelConfig.model_validate(order.model_config)
    source = open_source(order.model, config, schema, places)
    versions = versions_of(source)  # from here on it reads these
    wanted = config.retrain.data
    rows = JUDGED_ROWS if wanted.rows is None and wanted.keep == "in_place" else wanted.rows
    most = None if rows is None else math.ceil(rows / (1 - held_out))
    if wanted.span is not None:
        newest = max(source.newest_labelled(1, -math.inf, until), last_of(places, order.model, base))
        since = max(since, newest - wanted.span / (1 - held_out))
    if most is not None:
        since = max(since, source.newest_labelled(most, since, until))

    def tables() -> Iterator[pa.Table]:
        if base is not None and wanted.keep == "copy":
            yield from base_rows(places, order.model, base, since)
        yield from source.read_labelled(since, until, until)

    sound = (without_spans(table, order.faulty) for table in tables())
    snapshot = take_snapshot(places, order.model, sound, schema, config.classes or (), most=most, versions=versions)
    if snapshot.left_out:
        counts = ", ".join(f"{label!r}: {rows}" for label, rows in snapshot.left_out.items())
        print(f"rows left out, because their label is no class: {counts}", flush=True)  # noqa: T201 - the log
    return snapshot
