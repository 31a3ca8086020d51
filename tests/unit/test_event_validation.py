"""Reading events that strangers send."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftd.store.events.validation import Batch, FeedbackEvent, PredictionEvent, Refusal, read_events
from driftd_detectors.schema import Feature, Kind, Schema, Task
from event_samples import SCHEMA, START, label, prediction

NOW = START + 500
NAME = UUID("0190a1b2-0000-7000-8000-0123456789ab")
REGRESSION = Schema(Task.REGRESSION, "price", (Feature("size", Kind.NUMBER),))


def read(*events: object, schema: Schema = SCHEMA) -> tuple[Batch, list[Refusal]]:
    return read_events(events, schema, NOW)


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (7, ""),
        (None, ""),
        ("text", ""),
        ([prediction(1)], ""),
        ({}, "features"),
        (prediction(1, features=None), "features"),
        (prediction(1, features=[1, 2]), "features"),
        (prediction(1, prediction_id=None), "prediction_id"),
        (prediction(1, prediction_id=""), "prediction_id"),
        (prediction(1, prediction_id="x" * 201), "prediction_id"),
        (prediction(1, prediction_id=True), "prediction_id"),
        (prediction(1, prediction_id="\ud800"), "prediction_id"),
        (prediction(1, at="yesterday"), "at"),
        (prediction(1, at=-1.0), "at"),
        (prediction(1, at=math.nan), "at"),
        (prediction(1, at=pd.NaT), "at"),
        (prediction(1, at=20260131), "at"),
        (prediction(1, at=True), "at"),
        (prediction(1, at=NOW + 86_401), "at"),
        (prediction(1, at=START * 1000), "at"),
        (prediction(1, version="3"), "version"),
        (prediction(1, version=-1), "version"),
        (prediction(1, version=True), "version"),
        (prediction(1, version=2**70), "version"),
        (prediction(1, prediction=None), "prediction"),
        (prediction(1, prediction=""), "prediction"),
        (prediction(1, prediction=[1]), "prediction"),
        (prediction(1, prediction=math.nan), "prediction"),
        (prediction(1, score=1.01), "score"),
        (prediction(1, score="0.5"), "score"),
        (prediction(1, score=True), "score"),
        (prediction(1, features={"age": "41"}), "features.age"),
        (prediction(1, features={"age": []}), "features.age"),
        (prediction(1, features={"age": 10**400}), "features.age"),
        (prediction(1, features={"city": {}}), "features.city"),
        (prediction(1, features={"city": "x" * 1001}), "features.city"),
        (prediction(1, features={"city": "\ud800"}), "features.city"),
        (prediction(1, features={"member": 2}), "features.member"),
        (prediction(1, features={"member": "perhaps"}), "features.member"),
        (prediction(1, features={"joined": "soon"}), "features.joined"),
        (prediction(1, features={"joined": math.inf}), "features.joined"),
        (label(1, None), "label"),
        (label(1, {}), "label"),
        (label(1) | {"at": "later"}, "at"),
    ],
)
def test_a_malformed_event_is_refused_with_its_field(event: object, field: str) -> None:
    """The field is named, the reason says what is wrong, and the neighbours are kept."""
    batch, refused = read(prediction(10), event, prediction(11), label(12))
    assert [(item.index, item.field) for item in refused] == [(1, field)]
    assert len(refused[0].reason) > 5
    assert [row[0] for row in batch.predictions] == ["p10", "p11"]
    assert [len(column) for column in batch.columns] == [2] * 4
    assert [row[0] for row in batch.feedback] == ["p12"]
    assert len(batch.refused) == 1


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({}, [None, None, None, None]),
        ({"age": None, "city": None, "member": None, "joined": None}, [None] * 4),
        ({"age": 3, "city": 7, "member": 1, "joined": 5}, [3, "7", True, 5.0]),
        ({"age": True, "city": True, "member": 0.0, "joined": "1970-01-01T00:01:00Z"}, [1.0, "1", False, 60.0]),
        ({"age": "Infinity", "city": 1.0}, [math.inf, "1", None, None]),
        ({"age": "NaN", "city": math.nan, "joined": math.nan}, [None] * 4),
        ({"age": np.float32(2), "city": np.int64(2), "member": np.bool_(1)}, [2.0, "2", True, None]),
        ({"joined": dt.datetime(1970, 1, 2), "city": np.str_("x")}, [None, "x", None, 86_400.0]),  # noqa: DTZ001
        ({"joined": pd.NaT, "age": pd.NA, "city": pd.NA, "member": pd.NA}, [None] * 4),
        ({"joined": "1970-01-01T02:00:00+02:00"}, [None, None, None, 0.0]),
        ({"joined": dt.date(1970, 1, 2)}, [None, None, None, 86_400.0]),
        ({"age": Decimal("3.0"), "city": Decimal("3.0"), "member": Decimal(1)}, [3.0, "3", True, None]),
        ({"age": np.float32(0.5), "city": NAME, "member": "TRUE"}, [0.5, str(NAME), True, None]),
        ({"city": dt.date(1970, 1, 2), "member": "1.0"}, [None, "1970-01-02", True, None]),
    ],
)
def test_values_that_are_taken(features: dict[str, object], expected: list[object]) -> None:
    """Each kind takes the forms that JSON, NumPy and pandas have for it; missing is missing."""
    batch, refused = read(prediction(1, features=features))
    assert refused == []
    assert [column[0] for column in batch.columns] == expected


def test_unknown_features_are_counted() -> None:
    """Values under names that the schema does not have are ignored, but counted."""
    batch, refused = read(prediction(1, features={"age": 1, "agee": 2, "x": 3}), prediction(2))
    assert refused == []
    assert batch.ignored == 2


def test_the_time_of_arrival_stands_in() -> None:
    """Without `at`, an event happened when it arrived; ISO text is read, without a zone as UTC."""
    batch, _ = read(prediction(1, at=None), prediction(2, at="2023-11-14T22:13:20"), label(3, at=None))
    assert [row[1] for row in batch.predictions] == [NOW, START]
    assert batch.feedback[0][1] == NOW


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        *((item, "1") for item in (1, True, 1.0, "1", "1.0", " 1", "01", "True", np.float32(1), Decimal("1.00"))),
        ("x", "x"),
        (2.5, "2.5"),
    ],
)
def test_classes_have_one_text_form(sent: object, stored: str) -> None:
    """Writers that send 1, 1.0, true and "1" mean the same class."""
    batch, _ = read(prediction(1, prediction=sent), label(1, sent))
    assert batch.predictions[0][3] == stored
    assert batch.feedback[0][2] == stored


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(5, "5"), (5.0, "5"), ("5.0", "5"), (np.int64(5), "5"), (Decimal("5.0"), "5"), ("05", "05"), (NAME, str(NAME))],
)
def test_ids_have_one_text_form(sent: object, stored: str) -> None:
    """An id that pandas made a float of joins the whole number that it was; leading zeros are part of an id."""
    batch, refused = read(prediction(1, prediction_id=sent), label(1) | {"prediction_id": sent})
    assert refused == []
    assert (batch.predictions[0][0], batch.feedback[0][0]) == (stored, stored)


def test_classes_that_the_schema_tells_apart_stay_apart() -> None:
    """Where the schema has both 01 and 1, each means itself, and 1.0, which could be either, is neither."""
    codes = Schema(Task.CLASSIFICATION, "code", (Feature("age", Kind.NUMBER),), ("01", "1"))
    batch, _ = read(*(label(1, sent) for sent in ("01", "1", 1, "1.0")), schema=codes)
    assert [row[2] for row in batch.feedback] == ["01", "1", "1", "1.0"]


def test_categories_are_read_in_the_names_of_the_schema() -> None:
    """A spelling of a known category becomes that category; a new one stays as it is."""
    city = Feature("city", Kind.CATEGORY, ("0", "1", "north"))
    schema = Schema(Task.CLASSIFICATION, "bought", (city,), ("0", "1"))
    sent = ["1.0", 1.0, True, " 1", " north", "south", None]
    batch, _ = read(*(prediction(place, features={"city": value}) for place, value in enumerate(sent)), schema=schema)
    assert batch.columns[0] == ["1", "1", "1", "1", "north", "south", None]


def test_regression() -> None:
    """A regression takes finite numbers, and no score."""
    event = {"prediction_id": "a", "features": {"size": 1}, "prediction": 3}
    batch, refused = read(event, event | {"score": 0.5}, event | {"prediction": "3"}, schema=REGRESSION)
    assert [row[3] for row in batch.predictions] == [3.0]
    assert [(item.index, item.field) for item in refused] == [(1, "score"), (2, "prediction")]
    huge, bad = (read(event | {"prediction": value}, schema=REGRESSION)[1] for value in (10**400, math.inf))
    assert [item.field for item in (*huge, *bad)] == ["prediction", "prediction"]


def test_records_are_events_too() -> None:
    """`PredictionEvent` and `FeedbackEvent` are read like the JSON objects that they stand for."""
    batch, refused = read(PredictionEvent("a", {"age": 1}, "1", version=2), FeedbackEvent("a", "0"))
    assert refused == []
    assert batch.predictions == [("a", NOW, 2, "1", None)]
    assert batch.feedback == [("a", NOW, "0")]


def test_several_bad_rows_among_good_ones() -> None:
    """However many rows of a batch are refused for their features, the columns stay aligned with the rows."""
    events = [prediction(number, features={"age": "x" if number % 3 == 0 else number}) for number in range(20)]
    batch, refused = read(*events)
    assert [item.index for item in refused] == list(range(0, 20, 3))
    assert [(row[0], age) for row, age in zip(batch.predictions, batch.columns[0], strict=True)] == [
        (f"p{number}", number) for number in range(20) if number % 3
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["prediction_id", "at", "version", "features", "prediction", "score", "label", "other"])


@settings(max_examples=100, deadline=None)
@given(st.lists(JSON | st.dictionaries(KEYS, JSON, max_size=8), max_size=6))
def test_any_json_is_read_or_refused(events: list[object]) -> None:
    """Whatever is sent, each event is kept or refused, exactly once, and nothing is raised."""
    batch, refused = read_events(events, SCHEMA, NOW)
    assert len(batch.predictions) + len(batch.feedback) + len(refused) == len(events)
    assert [item.index for item in refused] == sorted(item.index for item in refused)
    assert all(len(column) == len(batch.predictions) for column in batch.columns)


@pytest.mark.parametrize(
    ("version", "kept"), [(3.0, 3), (Decimal("3.0"), 3), (float("nan"), None), (np.float64(2.0), 2)]
)
def test_a_version_may_be_a_float(version: object, kept: int | None) -> None:
    """A column with gaps makes floats of whole numbers: 3.0 is version 3, and NaN is none."""
    batch, refused = read_events([prediction(1, version=version)], SCHEMA, START + 10)
    assert refused == []
    assert batch.predictions[0][2] == kept
    assert read_events([prediction(1, version=1.5)], SCHEMA, START + 10)[1][0].field == "version"
