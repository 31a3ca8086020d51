"""What an answer says of itself: whether it is kept, every class, and the features that are unknown or missing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from driftd.paths import Places
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.artefact import store_estimator
from driftd.registry.manifest import write_manifest
from driftd.serving.client import Driftd
from driftd.serving.endpoint import Endpoint
from driftd.serving.http import Serving
from driftd.serving.metrics import ServingMetrics
from driftd.serving.openapi import openapi_document
from driftd.serving.requests import MOST_NAMES, Differences, RequestLimits, differences_of, merge_differences
from driftd.store.events.reader import EventReader
from driftd_detectors.schema import Feature, Kind, Schema, Task

MODEL = "fruit"
FEATURES = (Feature("size", Kind.NUMBER), Feature("ripe", Kind.BOOLEAN))
SCHEMA = Schema(Task.CLASSIFICATION, "kind", FEATURES, ("apple", "pear", "plum"))
ROW = {"size": 1.0, "ripe": True}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A state directory whose model of three classes has one version."""
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"size": rng.normal(size=90), "ripe": rng.integers(0, 2, 90).astype(float)})
    estimator = make_pipeline(SimpleImputer(), LogisticRegression()).fit(rows, np.repeat(SCHEMA.classes, 30))
    places = Places(tmp_path)
    registry = Registry(places)
    staged = registry.stage(MODEL)
    name = store_estimator(estimator, staged, allow_joblib=False)
    write_manifest(
        staged, Manifest(MODEL, 1, 1e9, SCHEMA, "0" * 64, Trainer("a:b", "1" * 64), 1, "manual", "first", name)
    )
    registry.publish(MODEL, 1, staged)
    registry.point(MODEL, 1)
    return places


class Client:
    """Asks the ASGI application as an HTTP client would, without a socket."""

    def __init__(self, places: Places) -> None:
        self.endpoints = {name: Endpoint(name, places, allow_joblib=False) for name in (MODEL, "nothing-yet")}
        self.metrics = ServingMetrics(sorted(self.endpoints))
        self.app = Serving(self.endpoints, RequestLimits(1_000_000, 100), self.metrics)

    def __call__(self, method: str, path: str, body: Any = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, json=body)

        return asyncio.run(ask())

    def close(self) -> None:
        self.app.close()
        for endpoint in self.endpoints.values():
            endpoint.close()


@pytest.fixture
def http(places: Places) -> Iterator[Client]:
    client = Client(places)
    yield client
    client.close()


def kept(places: Places) -> int:
    reader = EventReader(places.events_db(MODEL), SCHEMA, places.segments(MODEL))
    try:
        return reader.count()
    finally:
        reader.close()


def test_http_says_that_a_repeated_id_is_not_logged(http: Client, places: Places) -> None:
    """Of a batch, exactly the rows whose id is kept already, or came before in it, say logged false and why."""
    first = http("POST", f"/v1/models/{MODEL}/predict", {"prediction_id": "same", "features": ROW}).json()
    assert first["logged"] is True
    batch = [{"prediction_id": name, "features": ROW} for name in ("new", "same", "new", 7)]
    batch.insert(1, {"prediction_id": "bad", "features": {"size": "tall"}})
    answers = http("POST", f"/v1/models/{MODEL}/predict", batch).json()
    assert [answer.get("logged") for answer in answers] == [True, None, False, False, True]
    assert "is kept already" in answers[2]["reason"]
    assert answers[2]["prediction"] == first["prediction"]
    assert kept(places) == 3
    outcomes = {
        one: http.metrics.events.labels(MODEL, one)._value.get() for one in ("accepted", "duplicate", "refused")
    }
    assert outcomes == {"accepted": 3, "duplicate": 2, "refused": 1}


@pytest.mark.parametrize("durable", [True, False])
def test_the_sdk_says_that_a_repeated_id_is_not_logged(places: Places, durable: bool) -> None:
    """A durable answer follows the receipt; one that does not wait for the disk cannot know."""
    with Driftd(places.root, MODEL, durable=durable) as sdk:
        sdk.predict(ROW, ids="same")
        answers = sdk.predict([ROW, ROW], ids=["same", "other"])
    assert [answer.logged for answer in answers] == [not durable, True]
    assert ("is kept already" in str(answers[0].reason)) is durable
    assert kept(places) == 2


def test_every_class_is_answered_on_request(http: Client, places: Places) -> None:
    """HTTP and the SDK give the probability of each class by name where that is asked for, and only there."""
    asked = f"/v1/models/{MODEL}/predict?probabilities=true"
    answer = http("POST", asked, {"features": ROW}).json()
    assert list(answer["probabilities"]) == list(SCHEMA.classes)
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
    assert answer["probabilities"][answer["prediction"]] == pytest.approx(answer["score"])
    assert "probabilities" not in http("POST", f"/v1/models/{MODEL}/predict", {"features": ROW}).json()
    refused = http("POST", f"/v1/models/{MODEL}/predict?probabilities=perhaps", {"features": ROW})
    assert (refused.status_code, "is true or false" in refused.text) == (400, True)
    with Driftd(places.root, MODEL) as sdk:
        assert sdk.predict(ROW, probabilities=True).probabilities == pytest.approx(answer["probabilities"])
        assert sdk.predict(ROW).probabilities is None


def test_unknown_and_missing_features_are_named(http: Client, places: Places) -> None:
    """An answer names what the model does not know and what is missing; a null is no missing feature."""
    path = f"/v1/models/{MODEL}/predict"
    answer = http("POST", path, {"features": {"size": 1.0, "colour": "red"}}).json()
    assert (answer["unknown_features"], answer["missing_features"]) == (["colour"], ["ripe"])
    whole = http("POST", path, {"features": {"size": None, "ripe": True}}).json()
    assert not {"unknown_features", "missing_features"} & set(whole)
    events = [
        {"prediction_id": str(n), "features": row, "prediction": "pear"} for n, row in enumerate([{"Size": 1}, ROW])
    ]
    told = http("POST", f"/v1/models/{MODEL}/predictions", events).json()
    assert (told["accepted"], told["unknown_features"], told["missing_features"]) == (2, ["Size"], ["size", "ripe"])
    with Driftd(places.root, MODEL) as sdk:
        (row,) = sdk.predict([{"size": 1.0, "colour": "red"}])
        assert (row.unknown_features, row.missing_features) == (("colour",), ("ripe",))
        (framed,) = sdk.predict(pd.DataFrame({"size": [1.0], "colour": ["red"]}))
        assert (framed.unknown_features, framed.missing_features) == (("colour",), ("ripe",))
        assert sdk.predict(ROW).unknown_features == ()


def test_a_stranger_cannot_make_an_answer_long() -> None:
    """However many and however long the names are that a row brings, few and short ones are repeated."""
    event = {"features": {f"{'x' * 500}{number}": 1 for number in range(1000)}}
    found = differences_of([event, {"features": ROW}, "no event"], SCHEMA)
    assert list(found) == [0]
    assert len(found[0].unknown) == MOST_NAMES
    assert max(map(len, found[0].unknown)) == 100
    assert merge_differences([Differences(("a",), ("b",)), Differences(("a", "c"), ())]) == Differences(
        ("a", "c"), ("b",)
    )


def test_a_model_tells_its_schema(http: Client) -> None:
    """GET /v1/models/{model} has the features with their kinds, the classes and what the score is."""
    told = http("GET", f"/v1/models/{MODEL}").json()
    assert told == {
        "name": MODEL,
        "version": 1,
        "fault": None,
        "task": "classification",
        "target": "kind",
        "features": [{"name": "size", "kind": "number"}, {"name": "ripe", "kind": "boolean"}],
        "classes": ["apple", "pear", "plum"],
        "score": "the probability of the predicted class",
    }
    listed = http("GET", "/v1/models").json()["models"]
    assert [model["name"] for model in listed] == [MODEL, "nothing-yet"]
    assert (listed[0], listed[1]["version"], listed[1]["features"]) == (told, None, [])
    assert "driftd init" in listed[1]["fault"]
    absent = http("GET", "/v1/models/nobody")
    assert (absent.status_code, absent.json()["field"]) == (404, "model")
    assert http("GET", f"/v1/models/{MODEL}/predict").status_code == 405


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_openapi_document_is_whole(http: Client) -> None:
    """Each reference of the document leads somewhere, each schema is valid, and every POST route is in it."""
    document = http("GET", "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    assert {f"#/components/schemas/{name}" for name in schemas} >= set(references(document))
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for model in (MODEL, "nothing-yet"):
        for route in ("predict", "predictions", "feedback"):
            assert "post" in document["paths"][f"/v1/models/{model}/{route}"]
    assert list(schemas[f"{MODEL}.Row"]["properties"]) == ["size", "ripe"]


def test_requests_and_answers_are_as_the_document_says(http: Client) -> None:
    """Real answers of every route validate against their schemas, and a malformed row does not."""
    document = http("GET", "/openapi.json").json()

    def valid(name: str, value: Any) -> bool:
        whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        return bool(jsonschema.Draft202012Validator(whole).is_valid(value))

    event = {"prediction_id": "a", "features": {**ROW, "colour": "red"}}
    answer = http("POST", f"/v1/models/{MODEL}/predict?probabilities=1", event).json()
    assert valid(f"{MODEL}.Event", event)
    assert valid(f"{MODEL}.Answer", answer)
    assert not valid(f"{MODEL}.Event", {"features": {"size": "tall"}})
    label = {"prediction_id": "a", "label": "pear"}
    assert valid(f"{MODEL}.Feedback", label)
    assert valid("Acknowledgement", http("POST", f"/v1/models/{MODEL}/feedback", label).json())
    assert valid("Error", http("POST", f"/v1/models/{MODEL}/feedback", {"label": 1}).json())
    assert valid("Model", http("GET", f"/v1/models/{MODEL}").json())
    assert valid("Model", http("GET", "/v1/models/nothing-yet").json())


def test_the_document_of_a_regression_has_numbers() -> None:
    """A regression's prediction is a number, and its document is JSON."""
    told = {
        "name": "m",
        "task": "regression",
        "features": [{"name": "at", "kind": "timestamp"}],
        "classes": [],
        "score": None,
    }
    schemas = openapi_document([told])["components"]["schemas"]
    assert schemas["m.Answer"]["properties"]["prediction"] == {"type": "number"}
    assert json.dumps(schemas["m.Row"])
