"""`format: bentoml`: the data log of BentoML's monitoring (`bentoml.monitor`), one JSON object a line.

After "Monitoring" in BentoML's documentation (1.4) and its default monitor: the logged columns under their names, with
`timestamp` (ISO 8601 of the server's local clock, without a zone: read as UTC, so run the server in UTC), `request_id`
and `trace_id`. Which column is the prediction is the service's own choice: name it with `columns: {prediction: NAME}`.
The log stands in the folder `data`; the lines of `schema` beside it are no rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftd.sources.formats.payloads import Rows


def read_line(line: Mapping[str, object], _features: Sequence[str]) -> Rows:
    """The one row of a record. Raises ValueError for a line that is none."""
    if "request_id" not in line or "timestamp" not in line:
        raise ValueError("no request_id and timestamp: is this the log in `schema`, not in `data`?")
    return [{**line, "prediction_id": line["request_id"], "at": line["timestamp"]}]
