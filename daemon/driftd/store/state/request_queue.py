"""What is asked of the daemon from outside its loop: rows of `requests`, which it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from driftd.formatting import encodable
from driftd.store.descriptors import STATE_BUSY_SECONDS, open_database
from driftd.store.state.reader import StateReader


def post_request(
    path: Path,
    *,
    at: float,
    who: str,
    model: str,
    kind: str,
    arguments: Mapping[str, object],
    key: str | None = None,
) -> int:
    """Ask something of the daemon from outside its loop; returns the request's id.

    With a `key` that was used before nothing is asked: the id is that of the request that has it.
    Raises StateAbsentError when there is no database, sqlite3.OperationalError when it may not be written.
    """
    with StateReader.read_only(path):
        pass  # says clearly that there is none, instead of making an empty one
    connection = open_database(path, timeout=STATE_BUSY_SECONDS)
    try:
        with connection:
            if key is None:  # as before there were keys: a daemon that is not upgraded yet is asked too
                cursor = connection.execute(
                    "insert into requests(at, who, model, kind, arguments) values (?, ?, ?, ?, ?)",
                    (at, encodable(who), model, kind, json.dumps(arguments, default=str)),
                )
                return int(cursor.lastrowid or 0)
            connection.execute(
                """insert into requests(at, who, model, kind, arguments, key) values (?, ?, ?, ?, ?, ?)
                   on conflict(key) do nothing""",
                (at, encodable(who), model, kind, json.dumps(arguments, default=str), key),
            )
            return int(connection.execute("select id from requests where key = ?", (key,)).fetchone()[0])
    finally:
        connection.close()
