"""How far sealing is behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def oldest_unsealed(path: Path) -> float | None:
    """When the oldest events arrived that are in no segment yet (epoch seconds); None when there are none."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        after = connection.execute("select coalesce(max(last_block), 0) from segments").fetchone()[0]
        query = "select received_at from blocks where id > ? order by id limit 1"
        row = connection.execute(query, (after,)).fetchone()
    return float(row[0]) if row else None
