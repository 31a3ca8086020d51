"""`format: sagemaker_capture`: what an endpoint of Amazon SageMaker captures, one JSON object a line.

After "Data capture" and "View captured data" in the Amazon SageMaker Developer Guide (Model Monitor), event version 0:
`captureData.endpointInput` and `.endpointOutput` with `data` in the `encoding` CSV, JSON or BASE64, and
`eventMetadata` with `eventId`, `inferenceTime` and, where the caller gave one, `inferenceId`. CSV has no header: its
values are the features of the model in their order. A captured request has one row or several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftd.sources.formats.payloads import (
    Rows,
    body_of,
    join_rows,
    outputs_of_csv,
    rows_of_csv,
    rows_of_request,
    rows_of_response,
    text_of_base64,
)


def read_line(line: Mapping[str, object], features: Sequence[str]) -> Rows:
    """The rows of one captured request. Raises ValueError for a line that is none."""
    capture, about = line.get("captureData"), line.get("eventMetadata")
    if not isinstance(capture, Mapping) or not isinstance(about, Mapping):
        raise ValueError("no captureData and eventMetadata")  # noqa: TRY004 - a line that is no row
    identity = about.get("inferenceId") or about.get("eventId")
    requests = _inputs(capture.get("endpointInput"), features)
    responses = _outputs(capture.get("endpointOutput"))
    return join_rows(requests, responses, identity, about.get("inferenceTime"))


def _inputs(part: object, features: Sequence[str]) -> Rows:
    if not isinstance(part, Mapping):
        return []
    text, is_csv = _text(part)
    return rows_of_csv(text, features) if is_csv else rows_of_request(body_of(text), features)


def _outputs(part: object) -> Rows:
    if not isinstance(part, Mapping):
        return []
    text, is_csv = _text(part)
    if not is_csv:
        return rows_of_response(body_of(text))
    lines = text.strip().splitlines()
    if len(lines) == 1 and lines[0].startswith("["):
        return rows_of_response(body_of(lines[0]))
    return outputs_of_csv(text)


def _text(part: Mapping[str, object]) -> tuple[str, bool]:
    encoding, kind = str(part.get("encoding", "")).upper(), str(part.get("observedContentType", ""))
    data = part.get("data")
    text = text_of_base64(data) if encoding == "BASE64" else data
    if not isinstance(text, str):
        raise ValueError("data is no text")  # noqa: TRY004 - a line that is no row
    return text, encoding == "CSV" or (encoding != "JSON" and "csv" in kind)
