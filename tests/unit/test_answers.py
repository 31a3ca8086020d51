"""What an answer says of itself: whether it is kept, every class, and the features that are unknown or missing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from driftd.paths import Places
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.artefact import store_estimator
from driftd.registry.loaded import PredictionError
from driftd.registry.manifest import write_manifest
from driftd.serving.client import Driftd
from driftd.serving.differences import MOST_NAMES, Differences, differences_of, merge_differences
from driftd.serving.endpoint import Endpoint
from driftd.serving.http import Serving
from driftd.serving.metrics import ServingMetrics
from driftd.serving.openapi import openapi_document
from driftd.serving.requests import RequestLimits
from driftd.store.events.reader import EventReader
from driftd.store.events.retention import RetentionLimits, prune
from driftd.store.migrations import migrate
from driftd.store.state.writer import StateStore
from driftd_detectors.schema import Feature, Kind, Schema, Task

MODEL = "fruit"
FEATURES = (Feature("size", Kind.NUMBER), Feature("ripe", Kind.BOOLEAN))
SCHEMA = Schema(Task.CLASSIFICATION, "kind", FEATURES, ("apple", "pear", "plum"))
ROW = {"size": 1.0, "ripe": True}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A state directory whose model of three classes has one version."""
    return serve_estimator(make_pipeline(SimpleImputer(), LogisticRegression()), tmp_path)


def serve_estimator(estimator: Any, root: Path) -> Places:
    """A state directory in which an estimator is version 1, fitted."""
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"size": rng.normal(size=90), "ripe": rng.integers(0, 2, 90).astype(float)})
    estimator.fit(rows, np.repeat(SCHEMA.classes, 30))
    places = Places(root)
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
        item: http.metrics.events.labels(MODEL, item)._value.get() for item in ("accepted", "duplicate", "refused")
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
    output = http("POST", f"/v1/models/{MODEL}/predictions", events).json()
    assert (output["accepted"], output["unknown_features"], output["missing_features"]) == (
        2,
        ["Size"],
        ["size", "ripe"],
    )
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
    output = http("GET", f"/v1/models/{MODEL}").json()
    assert output == {
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
    assert (listed[0], listed[1]["version"], listed[1]["features"]) == (output, None, [])
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
    output = {
        "name": "m",
        "task": "regression",
        "features": [{"name": "at", "kind": "timestamp"}],
        "classes": [],
        "score": None,
    }
    schemas = openapi_document([output])["components"]["schemas"]
    assert schemas["m.Answer"]["properties"]["prediction"] == {"type": "number"}
    assert json.dumps(schemas["m.Row"])


DAY = 86_400.0


def watch(places: Places, *, next_index: int | None, window: dict[str, Any]) -> None:
    """What a daemon writes of the model: its config, and which window it checks next."""
    migrate(places.state_db, "state")
    with closing(StateStore.open(places.state_db)) as store:
        store.save_config("0" * 12, at=1e9, content={"models": {MODEL: {"window": window}}})
        if next_index is not None:
            with store.transaction():
                store.save_cursor(MODEL, "window", next_index)


def test_events_of_the_past_say_whether_their_window_will_be_checked(http: Client, places: Places) -> None:
    """HTTP and the SDK tell rows whose window is closed from others; rows of this moment say nothing."""
    now = time.time()
    watch(places, next_index=int(now // DAY) - 3, window={"every": DAY, "rows": None})
    old, recent = now - 5 * DAY, now - 2 * DAY
    batch = [{"features": ROW, "at": at} for at in (old, recent)] + [{"features": ROW}]
    answers = http("POST", f"/v1/models/{MODEL}/predict", batch).json()
    assert [answer.get("window") for answer in answers] == ["closed", "will_be_checked", None]
    made = [
        {"prediction_id": f"m{place}", "features": ROW, "prediction": "plum", "at": at}
        for place, at in enumerate((old, old, recent))
    ]
    made.append({"prediction_id": "m0", "features": ROW, "prediction": "plum", "at": recent})  # is repeated
    taken = http("POST", f"/v1/models/{MODEL}/predictions", made).json()
    assert (taken["accepted"], taken["duplicates"]) == (3, 1)
    assert taken["windows"] == {"closed": 2, "will_be_checked": 1}
    assert (
        "windows"
        not in http("POST", f"/v1/models/{MODEL}/predictions", {**made[0], "prediction_id": "n", "at": None}).json()
    )
    with Driftd(places.root, MODEL) as sdk:
        assert sdk.predict(ROW, at=old).window == "closed"
        assert sdk.predict(ROW).window is None
        assert [answer.window for answer in sdk.predict([ROW, ROW], at=[recent, old])] == ["will_be_checked", "closed"]
        receipt, _ = sdk.log([{**made[0], "prediction_id": "o"}, {"prediction_id": "o", "label": "plum", "at": old}])
        assert receipt.windows == {"closed": 1}


@pytest.mark.parametrize(
    ("window", "next_index", "said"),
    [
        ({"every": None, "rows": 500}, 7, "will_be_checked"),
        ({"every": DAY}, None, "will_be_checked"),  # no daemon has begun, and no time of its rows is known
        (None, 3, None),
    ],
)
def test_windows_of_rows_and_of_models_that_have_not_begun(
    places: Places, window: dict[str, Any] | None, next_index: int | None, said: str | None
) -> None:
    """Row windows are cut as rows arrive, so none is closed; without a daemon's word nothing is said."""
    if window is not None:
        watch(places, next_index=next_index, window=window)
    with Driftd(places.root, MODEL) as sdk:
        assert sdk.predict(ROW, at=time.time() - 9 * DAY).window == said


def test_events_older_than_the_retention_are_refused(places: Places) -> None:
    """What would be deleted at once is not accepted: HTTP goes by its config, the SDK by what that wrote down."""
    now = time.time()
    endpoint = Endpoint(MODEL, places, allow_joblib=False, keep_seconds=30 * DAY, window_seconds=DAY)
    old = {"prediction_id": "old", "features": ROW, "at": now - 31 * DAY}
    kept_one = {"prediction_id": "kept", "features": ROW, "at": now - 29 * DAY}
    answered = endpoint.answer([old, kept_one])
    assert list(answered.refused) == [0]
    assert answered.refused[0].field == "at"
    assert "older than the retention" in answered.refused[0].reason
    assert len(endpoint.log.submit(answered.batch).result().repeated) == 0
    _, refused = endpoint.log.read([{"prediction_id": "kept", "label": "plum", "at": now - 40 * DAY}], now)
    assert [refusal.field for refusal in refused] == ["at"]
    endpoint.close()
    with Driftd(places.root, MODEL) as sdk:
        answer = sdk.predict(ROW, at=now - 31 * DAY)
        assert (answer.logged, "older than the retention" in str(answer.reason)) == (False, True)
        assert sdk.predict(ROW, at=now - 29 * DAY).logged
        receipt, refused = sdk.log([{**old, "prediction": "plum"}])
        assert (receipt.predictions, refused[0].field) == (0, "at")
    prune(places.events_db(MODEL), places.segments(MODEL), now, RetentionLimits(10 * DAY))
    with Driftd(places.root, MODEL) as sdk:  # the daemon's upkeep says it anew
        assert not sdk.predict(ROW, at=now - 11 * DAY).logged


def test_a_row_that_lacks_what_the_model_needs_is_refused_by_name(tmp_path: Path) -> None:
    """NaN, null or an absent feature is 422 with the feature's name, its neighbours are answered; the SDK raises."""
    places = serve_estimator(LogisticRegression(), tmp_path)
    http = Client(places)
    path = f"/v1/models/{MODEL}/predict"
    for row in ({"size": None, "ripe": True}, {"ripe": True}):
        refused = http("POST", path, {"features": row})
        assert (refused.status_code, refused.json()["field"]) == (422, "features.size")
        assert "cannot predict without" in refused.json()["error"]
    answers = http("POST", path, [{"features": ROW}, {"features": {}}, {"features": ROW}]).json()
    assert [answer.get("field") for answer in answers] == [None, "features.size", None]
    assert "ripe" in answers[1]["error"]
    assert [answers[place]["logged"] for place in (0, 2)] == [True, True]
    assert kept(places) == 2
    assert http.metrics.events.labels(MODEL, "refused")._value.get() == 3
    http.close()
    with Driftd(places.root, MODEL) as sdk:
        with pytest.raises(PredictionError, match=r"cannot predict row 1 without size"):
            sdk.predict([ROW, {"size": float("nan"), "ripe": True}])
        assert sdk.predict(ROW).logged


def test_only_what_a_model_cannot_do_without_refuses_a_row(tmp_path: Path) -> None:
    """A feature that the model imputes may be missing beside one that it needs."""
    imputed = ColumnTransformer([("some", SimpleImputer(), ["size"]), ("rest", "passthrough", ["ripe"])])
    places = serve_estimator(make_pipeline(imputed, LogisticRegression()), tmp_path)
    http = Client(places)
    batch = [{"features": {"ripe": True}}, {"features": {"size": 1.0}}, {"features": {}}]
    answers = http("POST", f"/v1/models/{MODEL}/predict", batch).json()
    assert [answer.get("logged") for answer in answers] == [True, None, None]
    assert answers[1]["field"] == "features.ripe"
    http.close()


def test_a_model_that_fails_on_whole_rows_too_is_a_fault_of_ours(tmp_path: Path) -> None:
    """Where the missing value is not the cause, the answer is 500 as before."""
    places = serve_estimator(LogisticRegression(), tmp_path)
    http = Client(places)
    version = http.endpoints[MODEL]._version().get()
    version.estimator.coef_ = np.full_like(version.estimator.coef_, np.nan)
    failed = http("POST", f"/v1/models/{MODEL}/predict", {"features": {"size": None, "ripe": True}})
    assert failed.status_code == 500
    http.close()
