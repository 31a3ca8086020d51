"""Events of a small model, for the tests of the event store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from driftd.records import Window
from driftd.store.events.reader import EventReader
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd.store.migrations import migrate
from driftd_detectors.columns import Coded
from driftd_detectors.schema import Feature, Kind, Schema, Task

START = 1_700_000_000.0
ALL = Window(0, 0.0, 4e9)
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "bought",
    (
        Feature("age", Kind.NUMBER),
        Feature("city", Kind.CATEGORY),
        Feature("member", Kind.BOOLEAN),
        Feature("joined", Kind.TIMESTAMP),
    ),
    ("0", "1"),
)


def prediction(number: int, **changes: Any) -> dict[str, Any]:
    """A valid prediction event; `changes` replace its parts."""
    return {
        "prediction_id": f"p{number}",
        "at": START + number,
        "version": 1,
        "features": {
            "age": number + 0.5,
            "city": f"town {number % 5}",
            "member": number % 2 == 0,
            "joined": START - number,
        },
        "prediction": str(number % 2),
        "score": 0.25,
    } | changes


def label(number: int, value: object = "1", at: float = START + 100) -> dict[str, Any]:
    """A valid feedback event."""
    return {"prediction_id": f"p{number}", "label": value, "at": at}


def open_store(folder: Path, schema: Schema = SCHEMA) -> EventStore:
    """A store in `folder`, migrated in this process."""
    migrate(folder / "events.db", "events")
    return EventStore.open(folder / "events.db", schema, segments=folder / "segments")


def keep(store: EventStore, events: list[Any], now: float = START + 1000) -> Any:
    """Validate and append; returns the receipt."""
    batch, _ = read_events(events, store.schema, now)
    return store.append(batch)


def stored_rows(folder: Path, schema: Schema = SCHEMA) -> list[tuple[Any, ...]]:
    """Every stored row as (id, *features), in the order of arrival; missing is None or NaN."""
    reader = EventReader(folder / "events.db", schema, folder / "segments")
    with reader.snapshot():
        rows = reader.rows(reader.seqs_between(ALL.start, ALL.end), 4e9)
        columns = reader.features(rows)
    reader.close()
    lists: list[Any] = [list(rows.ids)]
    for name in schema.names:
        column = columns.values[name]
        if isinstance(column, Coded):
            lists.append([None if code < 0 else column.labels[code] for code in column.codes])
        else:
            lists.append(column.tolist())
    return list(zip(*lists, strict=True))
