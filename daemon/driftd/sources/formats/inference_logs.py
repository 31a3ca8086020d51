"""Logs of requests with their responses: `format: v2_inference` and `format: mlflow_inference`.

`format: v2_inference`: requests and responses of the Open Inference Protocol (KServe, Triton, MLServer, Seldon).

After "Open Inference Protocol (V2)", the JSON over HTTP of its predict operation: tensors with `name`, `shape`,
`datatype` and `data` (flat, row by row), and an `id` that the response repeats. A line holds `inputs` and `outputs`
beside each other, or a `request` and a `response`, or one of the two: then a request and the response with its `id` are
joined. The protocol has no time: one is taken from `at`, `time` or `timestamp` of the line.

`format: mlflow_inference`: requests to MLflow's scoring server with their responses, as inference tables hold them.

After "Deploy MLflow Model as a Local Inference Server" (MLflow 3): `dataframe_split`, `dataframe_records`, `instances`
or `inputs`, answered by `predictions`; and after "Inference tables for monitoring and debugging models" (Databricks):
the columns `databricks_request_id`, `client_request_id`, `timestamp_ms` or `request_time`, `status_code`, `request` and
`response` (texts of JSON, or objects), exported as JSON lines. A request that failed is no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftd.sources.formats.payloads import Rows, body_of, join_rows, rows_of_request, rows_of_response

_V2_TIMES = ("at", "time", "timestamp")
_IDENTITIES = ("client_request_id", "databricks_request_id", "request_id", "id")
_MLFLOW_TIMES = ("request_time", "at", "timestamp", "time")
_GOOD = 200


def read_v2_inference(line: Mapping[str, object], features: Sequence[str]) -> Rows:
    """The rows of one request, of one response, or of both. Raises ValueError for a line that is none."""
    request = _body(line.get("request", line if "inputs" in line else None))
    response = _body(line.get("response", line if "outputs" in line else None))
    requests = rows_of_request(request, features) if "inputs" in request else []
    responses = rows_of_response(response) if "outputs" in response and _has_data(response) else []
    if not requests and not responses:
        raise ValueError("neither inputs nor outputs")
    identity = line.get("id") or request.get("id") or response.get("id")
    at = next((line[key] for key in _V2_TIMES if key in line), None)
    return join_rows(requests, responses, identity, at)


def _body(given: object) -> Mapping[str, object]:
    body = body_of(given) if given is not None else {}
    if not isinstance(body, Mapping):
        raise ValueError("expected an object")  # noqa: TRY004 - a line that is no row
    return body


def _has_data(response: Mapping[str, object]) -> bool:
    """A request may name the outputs that it asks for: those hold no data."""
    outputs = response["outputs"]
    return isinstance(outputs, list) and any(isinstance(output, Mapping) and "data" in output for output in outputs)


def read_mlflow_inference(line: Mapping[str, object], features: Sequence[str]) -> Rows:
    """The rows of one request. Raises ValueError for a line that is none, or whose request failed."""
    if "request" not in line or "response" not in line:
        raise ValueError("no request and response")
    status = line.get("status_code")
    if status is not None and (not isinstance(status, int | float | str) or int(status) != _GOOD):
        raise ValueError(f"the request failed with status {status}")
    requests = rows_of_request(body_of(line["request"]), features)
    responses = rows_of_response(body_of(line["response"]))
    identity = next((line[key] for key in _IDENTITIES if line.get(key)), None)
    return join_rows(requests, responses, identity, _time_of_mlflow(line))


def _time_of_mlflow(line: Mapping[str, object]) -> object:
    milliseconds = line.get("timestamp_ms")
    if isinstance(milliseconds, int | float):
        return milliseconds / 1000
    return next((line[key] for key in _MLFLOW_TIMES if line.get(key) is not None), None)
