"""`format: mlflow_inference`: requests to MLflow's scoring server with their responses, as inference tables hold them.

After "Deploy MLflow Model as a Local Inference Server" (MLflow 3): `dataframe_split`, `dataframe_records`, `instances`
or `inputs`, answered by `predictions`; and after "Inference tables for monitoring and debugging models" (Databricks):
the columns `databricks_request_id`, `client_request_id`, `timestamp_ms` or `request_time`, `status_code`, `request` and
`response` (texts of JSON, or objects), exported as JSON lines. A request that failed is no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftd.sources.formats.payloads import Rows, body_of, join_rows, rows_of_request, rows_of_response

_IDENTITIES = ("client_request_id", "databricks_request_id", "request_id", "id")
_TIMES = ("request_time", "at", "timestamp", "time")
_GOOD = 200


def read_line(line: Mapping[str, object], features: Sequence[str]) -> Rows:
    """The rows of one request. Raises ValueError for a line that is none, or whose request failed."""
    if "request" not in line or "response" not in line:
        raise ValueError("no request and response")
    status = line.get("status_code")
    if status is not None and (not isinstance(status, int | float | str) or int(status) != _GOOD):
        raise ValueError(f"the request failed with status {status}")
    requests = rows_of_request(body_of(line["request"]), features)
    responses = rows_of_response(body_of(line["response"]))
    identity = next((line[key] for key in _IDENTITIES if line.get(key)), None)
    return join_rows(requests, responses, identity, _time(line))


def _time(line: Mapping[str, object]) -> object:
    milliseconds = line.get("timestamp_ms")
    if isinstance(milliseconds, int | float):
        return milliseconds / 1000
    return next((line[key] for key in _TIMES if line.get(key) is not None), None)
