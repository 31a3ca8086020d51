"""Logs of single events: `format: bentoml` and `format: cloudevents`.

`format: bentoml`: the data log of BentoML's monitoring (`bentoml.monitor`), one JSON object a line.

After "Monitoring" in BentoML's documentation (1.4) and its default monitor: the logged columns under their names, with
`timestamp` (ISO 8601 of the server's local clock, without a zone: read as UTC, so run the server in UTC), `request_id`
and `trace_id`. Which column is the prediction is the service's own choice: name it with `columns: {prediction: NAME}`.
The log stands in the folder `data`; the lines of `schema` beside it are no rows.

`format: cloudevents`: events in the JSON format of CloudEvents 1.0, one a line.

After "JSON Event Format for CloudEvents - Version 1.0.2": `specversion`, `id`, `type`, `time` (RFC 3339), and the
payload in `data` (an object, or text of JSON) or `data_base64`. Events of the types
`org.kubeflow.serving.inference.request` and `...response` (KServe 0.16, "Basic Inference Logger"; the two share their
`id`) are requests and responses, joined by it; any other event is one row: the keys of its data, with the event's `id`
and `time` where the data have no `prediction_id` and `at`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftd.sources.formats.payloads import Rows, body_of, join_rows, rows_of_request, rows_of_response

_KSERVE = "org.kubeflow.serving.inference."


def read_bentoml(line: Mapping[str, object], _features: Sequence[str]) -> Rows:
    """The one row of a record of BentoML. Raises ValueError for a line that is none."""
    if "request_id" not in line or "timestamp" not in line:
        raise ValueError("no request_id and timestamp: is this the log in `schema`, not in `data`?")
    return [{**line, "prediction_id": line["request_id"], "at": line["timestamp"]}]


def read_cloudevent(line: Mapping[str, object], features: Sequence[str]) -> Rows:
    """The rows of one event. Raises ValueError for a line that is no CloudEvent with data of JSON."""
    if "specversion" not in line or "id" not in line:
        raise ValueError("no CloudEvent: specversion and id are required")
    data = body_of(line["data_base64"], encoded=True) if "data_base64" in line else body_of(line.get("data"))
    kind = str(line.get("type", ""))
    if kind == f"{_KSERVE}request":
        return join_rows(rows_of_request(data, features), [], line["id"], line.get("time"))
    if kind == f"{_KSERVE}response":
        return join_rows([], rows_of_response(data), line["id"], None)
    if not isinstance(data, Mapping):
        raise ValueError("data is no object")  # noqa: TRY004 - a line that is no row
    return [{"prediction_id": line["id"], "at": line.get("time"), **data}]
