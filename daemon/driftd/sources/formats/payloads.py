"""Bodies of requests and responses, as the serving systems have them, as rows: shared by the formats."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rows = list[dict[str, object]]
Adapter = Callable[[Mapping[str, object], Sequence[str]], Rows]
"""The rows that one line holds, where values without names are the given features in their order.

Raises ValueError, with the reason, for a line that is not of its format.
"""
RESPONSE = "driftd_response"  # marks a row that holds only what was answered, to be joined to its request
_PREDICTIONS = ("prediction", "predicted_label", "predicted_class", "label", "class")
_SCORES = ("score", "probability", "proba")
_PROBABILITIES = ("predict_proba", "probabilities", "probability", "proba", "score", "scores")


def body_of(value: object, *, encoded: bool = False) -> Any:
    """A body that is an object, a text of JSON, or (`encoded`) base64 of it. Raises ValueError when it is none."""
    if encoded:
        value = text_of_base64(value)
    return json.loads(value) if isinstance(value, str) else value


def text_of_base64(value: object) -> str:
    """The text that base64 stands for. Raises ValueError when it is no base64 or no UTF-8 text."""
    if not isinstance(value, str):
        raise ValueError("expected base64 text")  # noqa: TRY004 - a line that is no row, as any other
    try:
        return base64.b64decode(value, validate=True).decode()
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None


def rows_of_csv(text: str, names: Sequence[str]) -> Rows:
    """Lines of CSV without a header: the values are `names` in their order. Raises ValueError for another number."""
    return [_with_names(row, names) for row in _lines_of_csv(text)]


def outputs_of_csv(text: str) -> Rows:
    """Lines of CSV that were answered: `output_0`, `output_1`, ..., the first of which is the prediction."""
    return [_answer(row) for row in _lines_of_csv(text)]


def _lines_of_csv(text: str) -> list[list[object]]:
    return [[_value(value) for value in row] for row in csv.reader(io.StringIO(text.strip())) if row]


def rows_of_request(body: object, names: Sequence[str]) -> Rows:
    """The inputs of a request in any of the usual forms; lists without names are the features in their order.

    Forms: `inputs` as V2 tensors, `dataframe_split`, `dataframe_records`, `instances`, `inputs`, a list, an object.
    Raises ValueError for anything else.
    """
    if isinstance(body, Mapping):
        if isinstance(body.get("inputs"), list) and _are_tensors(body["inputs"]):
            return rows_of_tensors(body["inputs"])
        for key in ("dataframe_split", "dataframe_records", "instances", "inputs"):
            if key in body:
                return _rows_of_input(body[key], names)
        return [dict(body)]
    return _rows_of_input(body, names)


def rows_of_response(body: object) -> Rows:
    """What was answered, a row for each prediction: `prediction`, `score`, and the outputs under their own names.

    Forms: `outputs` as V2 tensors, an object with `predictions` (and `probabilities`), a list, or one value.
    """
    if isinstance(body, Mapping):
        if isinstance(body.get("outputs"), list) and _are_tensors(body["outputs"]):
            return [_answer_of_outputs(row) for row in rows_of_tensors(body["outputs"])]
        if "predictions" not in body:
            return [_answer(body)]
        found = [_answer(item) for item in _to_list(body["predictions"])]
        for key in _PROBABILITIES:
            for row, value in zip(found, _to_list(body.get(key, [])), strict=False):
                row.setdefault("score", _last(value))
        return found
    return [_answer(item) for item in _to_list(body)]


def rows_of_tensors(tensors: Sequence[Mapping[str, object]]) -> Rows:
    """V2 tensors as rows: the first dimension counts rows, a wide tensor `x` gives the columns `x_0`, `x_1`, ..."""
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        shape, name = tensor.get("shape") or [], str(tensor["name"])
        if not isinstance(shape, list):
            raise ValueError(f"the tensor {name!r} has no list as its shape")  # noqa: TRY004 - a line that is no row
        data = _flat(tensor["data"])
        count = int(shape[0]) if shape else len(data)
        width = len(data) // count if count else 0
        if count * width != len(data):
            raise ValueError(f"the tensor {name!r} has {len(data)} values, which is not its shape {shape}")
        if width == 1:
            columns[name] = data
        else:
            columns |= {f"{name}_{place}": data[place::width] for place in range(width)}
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise ValueError(f"the tensors have {sorted(counts)} rows")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def join_rows(requests: Rows, responses: Rows, identity: object, at: object) -> Rows:
    """Inputs and answers side by side, with identity and time. Raises ValueError when their numbers differ."""
    if requests and responses and len(requests) != len(responses):
        raise ValueError(f"{len(requests)} inputs and {len(responses)} predictions")
    count = max(len(requests), len(responses))
    rows = []
    for place in range(count):
        row = {**(responses[place] if responses else {}), **(requests[place] if requests else {})}
        row["prediction_id"] = identity_of(identity, place, count)
        if at is not None:
            row["at"] = at
        if not requests:
            row[RESPONSE] = True
        rows.append(row)
    return rows


def identity_of(identity: object, place: int, count: int) -> object:
    """The identity of one row of a request: the request's own where it has one row, else with the row's place."""
    return identity if count == 1 or identity is None else f"{identity}-{place}"


def join_responses(rows: list[Mapping[str, object]]) -> tuple[list[Mapping[str, object]], int]:
    """Answers that came in lines of their own, put into the rows of their requests; and how many found none."""
    if not any(RESPONSE in row for row in rows):
        return rows, 0
    answers = [row for row in rows if RESPONSE in row]
    by_identity = {row["prediction_id"]: row for row in answers if row["prediction_id"] is not None}
    whole: list[Mapping[str, object]] = []
    found = 0
    for row in rows:
        if RESPONSE not in row:
            answer = by_identity.pop(row.get("prediction_id"), None)
            found += answer is not None
            whole.append({**{key: value for key, value in (answer or {}).items() if key != RESPONSE}, **row})
    return whole, len(answers) - found


def _rows_of_input(given: object, names: Sequence[str]) -> Rows:
    if isinstance(given, Mapping):
        if isinstance(given.get("columns"), list) and "data" in given:
            return [_with_names(row, [str(name) for name in given["columns"]]) for row in given["data"]]
        if given and all(isinstance(value, list) for value in given.values()):
            return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
        return [dict(given)]
    if not isinstance(given, list):
        raise ValueError(f"expected inputs, got {str(given)[:40]!r}")  # noqa: TRY004 - a line that is no row
    if given and not isinstance(given[0], list | Mapping):
        given = [given] if len(names) > 1 else [[value] for value in given]
    return [_instance(row, names) for row in given]


def _instance(row: Any, names: Sequence[str]) -> dict[str, object]:
    """One input: an object, a list, or an object that holds the list under `features` (Amazon's algorithms)."""
    if isinstance(row, Mapping):
        listed = row.get("features")
        return _with_names(listed, names) if isinstance(listed, list) else dict(row)
    return _with_names(row, names)


def _with_names(row: Sequence[Any], names: Sequence[str]) -> dict[str, object]:
    if len(row) != len(names):  # with fewer, nobody knows which are absent
        raise ValueError(f"{len(row)} values for {len(names)} names")
    return dict(zip(names, row, strict=True))


def _answer(value: object) -> dict[str, object]:
    """One prediction: a value, a list of values, or an object."""
    if isinstance(value, Mapping):
        row = dict(value)
        for name, usual in (("prediction", _PREDICTIONS), ("score", _SCORES)):
            found = next((row[key] for key in usual if key in row), None)
            if found is not None:
                row.setdefault(name, found)
        return row
    values = _to_list(value)
    row = {f"output_{place}": value for place, value in enumerate(values)}
    return {**row, "prediction": values[0]} if values else row


def _answer_of_outputs(row: dict[str, object]) -> dict[str, object]:
    """V2 outputs: probabilities by their usual names, and the first other one is the prediction."""
    scores = [name for name in row if name.rstrip("_0123456789") in _PROBABILITIES]
    others = [name for name in row if name not in scores]
    if others:
        row.setdefault("prediction", row[others[0]])
    if scores:
        row.setdefault("score", row[scores[-1]])
    return row


def _are_tensors(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(tensor, Mapping) and {"name", "data"} <= tensor.keys() for tensor in values)


def _flat(data: object) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [value for item in data for value in (_flat(item) if isinstance(item, list) else [item])]


def _to_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _last(value: object) -> Any:
    """Of the probabilities of all classes, that of the last one."""
    return value[-1] if isinstance(value, list) and value else value


def _value(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text or None
