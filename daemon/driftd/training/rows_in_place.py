"""Training rows that stay where the source has them: a program that trains there is told which ones they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from driftd.config.model_schema import ModelConfig
from driftd.config.redact import redact_section
from driftd.registry import Manifest
from driftd_detectors.schema import Schema

JUDGED_ROWS = 200_000  # are copied where `retrain.data.rows` says nothing: what the gate judges by, and a first look
ROWS_FILE = "rows.json"


class RowsInPlace(msgspec.Struct, frozen=True, kw_only=True):
    """The rows to train on: those of the source with `since <= at < until` and a label known by `known_by`.

    Times are epoch seconds; `since` None is the beginning. From `until` on lie the rows that the gate judges by: who
    trains on them is promoted by chance. `hash` is of all other fields, and stands in the lineage of the version.
    """

    source: dict[str, Any]  # the section of the config, without secrets
    features: tuple[str, ...]
    target: str
    since: float | None
    until: float
    known_by: float
    labelled_rows: int  # that the source had, those from `until` on too
    source_version: dict[str, str] = {}  # of each table, by its key in `source`, where the source keeps versions
    source_tag: str | None = None  # under which these versions are kept there; None: nothing keeps them
    hash: str = ""

    def to_json(self) -> str:
        """What a program reads: the fields, and the times as ISO 8601 too."""
        times = {"since": self.since, "until": self.until, "known_by": self.known_by}
        spelled = {f"{name}_iso": None if at is None else _iso(at) for name, at in times.items()}
        return json.dumps({**msgspec.to_builtins(self), **spelled}, indent=2)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def rows_in_place(
    config: ModelConfig,
    schema: Schema,
    *,
    since: float | None,
    until: float,
    known_by: float,
    labelled_rows: int,
    source_version: Mapping[str, str] | None = None,
    source_tag: str | None = None,
) -> RowsInPlace:
    """Describe the training rows of a build."""
    rows = RowsInPlace(
        source=redact_section(
            config.source.model_dump(mode="json", exclude_defaults=True) | {"kind": config.source.kind}
        ),
        features=schema.names,
        target=schema.target,
        since=since,
        until=until,
        known_by=known_by,
        labelled_rows=labelled_rows,
        source_version=dict(source_version or {}),
        source_tag=source_tag,
    )
    content = json.dumps(msgspec.to_builtins(rows), sort_keys=True)
    return msgspec.structs.replace(rows, hash=hashlib.sha256(content.encode()).hexdigest())


def stored_rows_in_place(manifest: Manifest) -> RowsInPlace | None:
    """What the lineage of a version says of them; None: it was trained on copied rows."""
    stored = manifest.data.get("in_place")
    return None if stored is None else msgspec.convert(stored, RowsInPlace)
