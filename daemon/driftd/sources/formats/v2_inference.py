"""`format: v2_inference`: requests and responses of the Open Inference Protocol (KServe, Triton, MLServer, Seldon).

After "Open Inference Protocol (V2)", the JSON over HTTP of its predict operation: tensors with `name`, `shape`,
`datatype` and `data` (flat, row by row), and an `id` that the response repeats. A line holds `inputs` and `outputs`
beside each other, or a `request` and a `response`, or one of the two: then a request and the response with its `id` are
joined. The protocol has no time: one is taken from `at`, `time` or `timestamp` of the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftd.sources.formats.payloads import Rows, body_of, join_rows, rows_of_request, rows_of_response

_TIMES = ("at", "time", "timestamp")


def read_line(line: Mapping[str, object], features: Sequence[str]) -> Rows:
    """The rows of one request, of one response, or of both. Raises ValueError for a line that is none."""
    request = _body(line.get("request", line if "inputs" in line else None))
    response = _body(line.get("response", line if "outputs" in line else None))
    requests = rows_of_request(request, features) if "inputs" in request else []
    responses = rows_of_response(response) if "outputs" in response and _has_data(response) else []
    if not requests and not responses:
        raise ValueError("neither inputs nor outputs")
    identity = line.get("id") or request.get("id") or response.get("id")
    at = next((line[key] for key in _TIMES if key in line), None)
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
