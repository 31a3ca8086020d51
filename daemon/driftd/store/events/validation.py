"""The events as they cross walls, and reading those that strangers send: one bad event never takes its neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from driftd.errors import DriftdError
from driftd.store.events.feature_parsing import READERS, FeatureError
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.times import read_time, retention_obstacle, time_obstacle
from driftd_detectors.values import class_name, id_text


@dataclass(frozen=True, slots=True)
class PredictionEvent:
    """One prediction that the model made, with the row that it was made from. `at` is epoch seconds; None is now."""

    prediction_id: str
    features: Mapping[str, Any]
    prediction: Any
    version: int | None = None
    score: float | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """The true label of an earlier (or later) prediction. `at` is when it became known; None is now."""

    prediction_id: str
    label: Any
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one event of a batch was not taken."""

    index: int  # in the batch as it was handed in
    prediction_id: str | None
    field: str  # "at", "prediction", "features.age", ...; "" when it is the event itself
    reason: str


@dataclass(slots=True)
class Batch:
    """Valid events in the form in which they are stored: narrow rows, and the features column by column.

    `columns` has one list for each of `features`, each as long as `predictions`; None is missing.
    """

    received_at: float
    features: tuple[Feature, ...]
    predictions: list[tuple[str, float, int | None, str | float, float | None]]  # id, at, version, prediction, score
    columns: list[list[Any]]
    feedback: list[tuple[str, float, str | float]]  # id, at, label
    refused: list[tuple[Refusal, str]] = field(default_factory=list)  # with the event's own text, for the quarantine
    ignored: int = 0  # values under names that the schema does not have


Window = Literal["will_be_checked", "closed"]  # what becomes of the window of an event of the past


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one commit took of a batch, durably."""

    predictions: int = 0
    feedback: int = 0
    duplicates: int = 0  # of either kind; the first one stays
    refused: int = 0
    ignored: int = 0
    repeated: tuple[int, ...] = field(default=(), compare=False)  # places of the duplicates among the predictions
    windows: Mapping[Window, int] = field(default_factory=dict, compare=False)  # of the kept ones that brought a time


LONGEST_ID = 200
_KEPT_TEXT = 2_000  # characters of a refused event that the quarantine keeps
_INTEGER_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Between which times an event is kept, in epoch seconds."""

    now: float
    oldest: float


class _RefusedError(DriftdError):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def read_events(
    raw: Iterable[object],
    schema: Schema,
    now: float,
    *,
    only: Literal["prediction", "feedback"] | None = None,
    oldest: float = 0.0,
) -> tuple[Batch, list[Refusal]]:
    """Validate events (JSON objects, `PredictionEvent`s, `FeedbackEvent`s, in any mixture) one by one.

    An object with the key `label` is feedback, every other one is a prediction; where `only` one of the two is
    expected, the other is refused. `now` (epoch seconds) is the time of
    arrival, and the `at` of events that bring none; what is older than `oldest` (epoch seconds) is refused, because the
    retention would delete it at once. Features that the schema does not name are ignored and counted;
    features that an event does not bring are missing. Returns what can be stored, and why the rest cannot.
    """
    batch = Batch(received_at=now, features=schema.features, predictions=[], columns=[], feedback=[])
    refused: list[tuple[Refusal, object]] = []
    rows: list[Mapping[str, object]] = []
    origins: list[int] = []  # the index of each prediction in `raw`
    events = list(raw)
    for index, given in enumerate(events):
        try:
            event = _object(given)
            if "label" in event if only is None else only == "feedback":
                batch.feedback.append(_feedback(event, schema, _Bounds(now, oldest)))
            else:
                features = _features(event)
                batch.predictions.append(_prediction(event, schema, _Bounds(now, oldest)))
                rows.append(features)
                origins.append(index)
        except _RefusedError as error:
            refused.append((Refusal(index, _id_of(given), error.field, error.reason), given))
    batch.columns, faults = _columns(rows, schema)
    for row, fault in sorted(faults.items(), reverse=True):  # from the end, so that earlier positions stay
        prediction_id = batch.predictions.pop(row)[0]
        for column in batch.columns:
            del column[row]
        rows.pop(row)
        index = origins[row]
        refused.append((Refusal(index, prediction_id, f"features.{fault.feature}", fault.reason), events[index]))
    batch.ignored = _unknown(rows, schema)
    refused.sort(key=lambda pair: pair[0].index)
    batch.refused = [(refusal, event_text(event)) for refusal, event in refused]
    return batch, [refusal for refusal, _ in refused]


def _object(given: object) -> Mapping[str, object]:
    if type(given) is dict:  # nearly always; the other questions take longer than the rest of an event
        return given
    if isinstance(given, PredictionEvent | FeedbackEvent):
        return asdict(given)
    if not isinstance(given, Mapping):
        raise _RefusedError("", f"expected an object, got {_describe(given)}")
    return given


def _features(event: Mapping[str, object]) -> Mapping[str, object]:
    """The values of the features that a prediction brings."""
    if "label" in event:
        raise _RefusedError("label", "a label is feedback, which is handed in by itself")
    features = event.get("features")
    if type(features) is not dict and not isinstance(features, Mapping):
        what = _describe(features) if "features" in event else "nothing"
        raise _RefusedError("features", f"expected an object of values (feedback has a `label` instead), got {what}")
    return features


def _prediction(
    event: Mapping[str, object], schema: Schema, bounds: _Bounds
) -> tuple[str, float, int | None, str | float, float | None]:
    return (
        _identity(event),
        _time(event, bounds),
        _version(event.get("version")),
        _outcome(event, "prediction", schema),
        _score(event.get("score"), schema),
    )


def _feedback(event: Mapping[str, object], schema: Schema, bounds: _Bounds) -> tuple[str, float, str | float]:
    return _identity(event), _time(event, bounds), _outcome(event, "label", schema)


def _identity(event: Mapping[str, object]) -> str:
    value = event.get("prediction_id")
    if type(value) is not str:
        value = _id_name(value)
    value = id_text(value)
    if not 0 < len(value) <= LONGEST_ID:
        raise _RefusedError("prediction_id", f"expected 1 to {LONGEST_ID} characters, got {len(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _RefusedError("prediction_id", "is not valid Unicode text") from None
    return value


def _id_name(value: object) -> str:
    """An id that is no text: a whole number of any type, or a UUID."""
    value = _plain(value)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        name = class_name(value)
        if name.lstrip("-").isdecimal():
            return name
    if isinstance(value, UUID):
        return str(value)
    raise _RefusedError("prediction_id", f"expected a text, got {_describe(value)}")


def _time(event: Mapping[str, object], bounds: _Bounds) -> float:
    value = event.get("at")
    if value is None:
        return bounds.now
    value = value if type(value) is float else _plain(value)
    try:  # a number goes to its bounds, which name the unit that it seems to be in
        at = value if isinstance(value, float) else read_time(value)
    except ValueError as error:
        raise _RefusedError("at", str(error)) from None
    obstacle = time_obstacle(at, bounds.now) or retention_obstacle(at, bounds.oldest)
    if obstacle is not None:
        raise _RefusedError("at", obstacle)
    return at


def _version(value: object) -> int | None:
    if value is None:
        return None
    value = _plain(value)
    if isinstance(value, float | Decimal):  # as pandas writes a column with gaps
        if math.isnan(value):
            return None
        value = int(value) if math.isfinite(value) and value == int(value) else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _INTEGER_LIMIT:
        raise _RefusedError("version", f"expected a whole number from 0 on, or null, got {_describe(value)}")
    return value


def _outcome(event: Mapping[str, object], field: str, schema: Schema) -> str | float:
    """A prediction or a label: class text, or a finite number."""
    value = event.get(field)
    if schema.task is Task.CLASSIFICATION:
        if type(value) is str and value:
            return _class_text(value, field, schema)
        value = _plain(value)
        if isinstance(value, str | bool | int | UUID) and value != "":
            return _class_text(class_name(value), field, schema)
        if isinstance(value, float | Decimal) and math.isfinite(value):
            return _class_text(class_name(value), field, schema)
        raise _RefusedError(field, f"expected a class (text, number or boolean), got {_describe(value)}")
    value = _plain(value)
    if isinstance(value, Decimal) and value.is_finite():
        value = float(value)
    if isinstance(value, int | float) and abs(value) <= 1e308 and value == value:  # noqa: PLR0124, PLR2004 - NaN; floats end there
        return float(value)
    raise _RefusedError(field, f"expected a finite number, got {_describe(value)}")


def _class_text(value: str, field: str, schema: Schema) -> str:
    """The class that a text stands for; a text that stands for none of the schema's is kept as it is."""
    if len(value) > LONGEST_ID:
        raise _RefusedError(field, f"expected a class of at most {LONGEST_ID} characters, got {len(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _RefusedError(field, "is not valid Unicode text") from None
    return schema.class_vocabulary.resolve(value)


def _score(value: object, schema: Schema) -> float | None:
    if value is None:
        return None
    if schema.task is Task.REGRESSION:
        raise _RefusedError("score", "a regression model has no score; leave it out")
    value = _plain(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        score = float(value)
        if math.isnan(score):
            return None
        if 0.0 <= score <= 1.0:
            return score
    raise _RefusedError("score", f"expected a probability from 0 to 1, or null, got {_describe(value)}")


def _columns(rows: list[Mapping[str, object]], schema: Schema) -> tuple[list[list[Any]], dict[int, FeatureError]]:
    """The features column by column, and the first fault of each row that has one."""
    columns = []
    faults: dict[int, FeatureError] = {}
    for feature in schema.features:
        name = feature.name
        column, bad = READERS[feature.kind]([row.get(name) for row in rows])
        if feature.kind is Kind.CATEGORY:
            column = feature.vocabulary.resolve_all(column)
        columns.append(column)
        for row, reason in bad.items():
            faults.setdefault(row, FeatureError(name, reason))
    return columns, faults


def _unknown(rows: list[Mapping[str, object]], schema: Schema) -> int:
    known = frozenset(schema.names)
    return sum(len(row.keys() - known) for row in rows)


def _plain(value: object) -> object:
    """NumPy's scalars as Python's own."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _id_of(given: object) -> str | None:
    value = given.get("prediction_id") if isinstance(given, Mapping) else getattr(given, "prediction_id", None)
    return str(value)[:LONGEST_ID].encode(errors="replace").decode() if isinstance(value, str | int) else None


def _describe(value: object) -> str:
    if value is None:
        return "null"
    names = {str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    kind = names.get(type(value), type(value).__name__)
    return f"the {kind} {str(value)[:40]!r}" if kind in {"text", "number", "boolean"} else f"a {kind}"


def event_text(event: object) -> str:
    """The event as text for the quarantine, whatever it is."""
    try:
        kept = msgspec.json.encode(event, enc_hook=str).decode()
    except (TypeError, ValueError, UnicodeError, RecursionError):
        kept = repr(event)
    return kept[:_KEPT_TEXT].encode(errors="replace").decode()
