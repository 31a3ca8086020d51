"""Answers from the arrays of boosted trees: the same bits as scikit-learn's pipeline gives, or none at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from driftd.paths import Places
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.artefact import store_estimator
from driftd.registry.features import feature_frame
from driftd.registry.loaded import Predictions, predict_with
from driftd.registry.manifest import PROBE, write_manifest
from driftd.serving.boosted_trees import FEW_ROWS, DirectEstimator, NotDirectError, direct_estimator
from driftd.serving.endpoint import Endpoint
from driftd.serving.http import Serving
from driftd.serving.metrics import ServingMetrics
from driftd.serving.predict import answer
from driftd.serving.requests import RequestLimits
from driftd.serving.served_version import ServedVersion
from driftd.trainers import TrainingContext, gradient_boosting
from driftd_detectors.schema import Feature, Kind, Schema, Task

FEATURES = (
    Feature("x", Kind.NUMBER),
    Feature("few", Kind.CATEGORY, ("a", "B", "c")),
    Feature("flag", Kind.BOOLEAN),
    Feature("many", Kind.CATEGORY),
    Feature("when", Kind.TIMESTAMP),
    Feature("y1", Kind.NUMBER),
    Feature("void", Kind.CATEGORY),
)
TASKS = {
    "regression": (Task.REGRESSION, (), {}),
    "absolute error": (Task.REGRESSION, (), {"loss": "absolute_error"}),
    "logarithmic link": (Task.REGRESSION, (), {"loss": "poisson"}),
    "two classes": (Task.CLASSIFICATION, ("no", "yes"), {}),
    "four classes": (Task.CLASSIFICATION, ("a", "b", "c", "d"), {}),
}
VALUES = {
    "x": st.none() | st.integers(-3, 3) | st.floats(-3, 3) | st.sampled_from([float("inf"), -0.0, 1e300, 2**60]),
    "few": st.none() | st.sampled_from(["a", "B", "c", "b", " C ", "new", ""]),
    "flag": st.none() | st.booleans(),
    "many": st.none() | st.integers(0, 400).map(lambda number: f"c{number}"),
    "when": st.none() | st.floats(0, 2e9),
    "y1": st.none() | st.floats(-1, 1) | st.just(float("nan")),
    "void": st.none() | st.just("text"),
}
Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make these small fits twenty times slower."""
    with threadpool_limits(1):
        yield


def training_rows(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(count) < rng.choice([0.0, 0.2]), np.nan, rng.normal(size=count)),
            "few": rng.choice(np.array(["a", "B", "c", None], dtype=object), count),
            "flag": rng.choice(np.array([True, False, None], dtype=object), count),
            "many": [f"c{number}" for number in rng.integers(0, rng.choice([3, 100, 400]), count)],
            "when": rng.uniform(0, 2e9, count),
            "y1": rng.normal(size=count).round(1),
            "void": pd.Series([None] * count, dtype=object),
        }
    )


def fitted(name: str, seed: int, **parameters: Any) -> tuple[Any, Schema, pd.DataFrame]:
    """A small model of the default trainer, its schema, and its rows as it saw them."""
    task, classes, more = TASKS[name]
    schema = Schema(task, "y", FEATURES, classes)
    rows = training_rows(200, seed)
    frame = feature_frame(rows, schema)
    signal = frame["x"].fillna(0).to_numpy() + (rows["few"] == "a") + rows["many"].str.len() * frame["y1"].to_numpy()
    codes = pd.qcut(signal, len(classes), labels=False) if classes else None
    target = np.array(classes, dtype=object)[codes] if classes else np.abs(signal)
    context = TrainingContext(
        task=str(task),
        target="y",
        features=schema.names,
        categorical=tuple(feature.name for feature in FEATURES if feature.kind is Kind.CATEGORY),
        classes=classes,
        seed=seed,
        at=np.arange(float(len(rows))),
        parameters={"max_iter": 6, "min_samples_leaf": 3, "learning_rate": 0.7, **more, **parameters},
    )
    return gradient_boosting(frame.assign(y=target), context), schema, frame


def columns_of(rows: Rows) -> dict[str, list[Any]]:
    return {feature.name: [row[feature.name] for row in rows] for feature in FEATURES}


def assert_same(found: Predictions, expected: Predictions) -> None:
    assert found.prediction.tobytes() == expected.prediction.tobytes()
    assert found.score.tobytes() == expected.score.tobytes()
    assert (found.probability is None) == (expected.probability is None)
    if found.probability is not None and expected.probability is not None:
        assert found.probability.tobytes() == expected.probability.tobytes()


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(TASKS)),
    seed=st.integers(0, 10_000),
    leaves=st.sampled_from([2, 7, 31]),
    rows=st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=FEW_ROWS + 8),
)
def test_drawn_models_answer_drawn_rows_with_the_same_bits(name: str, seed: int, leaves: int, rows: Rows) -> None:
    """For any small model and any rows, few or many, the answers are those of the pipeline to the last bit."""
    estimator, schema, frame = fitted(name, seed, max_leaf_nodes=leaves)
    direct = direct_estimator(estimator, schema, frame[:64])
    for given_rows in (rows, rows[:1]):
        columns = columns_of(given_rows)
        expected = predict_with(estimator, schema, feature_frame(columns, schema))
        numbers = direct.numbers_of(columns)
        if numbers is None:
            assert any(type(value) is int and abs(value) >= 2**53 for value in columns["x"])
            continue
        assert_same(predict_with(direct, schema, numbers), expected)


@pytest.mark.parametrize("value", ["1.5", True, np.float64(2), 2**60])
def test_values_that_have_to_be_read_are_left_to_the_frame(value: object) -> None:
    """A text for a number, a NumPy scalar, an integer that is no float: the way without a frame does not guess."""
    estimator, schema, frame = fitted("regression", 1)
    direct = direct_estimator(estimator, schema, frame)
    row = {feature.name: None for feature in FEATURES}
    assert direct.numbers_of(columns_of([{**row, "x": value}])) is None
    assert direct.numbers_of(columns_of([{**row, "x": 1}])) is not None


def test_a_model_without_categories_and_one_of_categories_alone_answer_alike() -> None:
    """Either part of the columns may be absent."""
    for kept in (FEATURES[:1], FEATURES[1:2]):
        schema = Schema(Task.REGRESSION, "y", kept)
        frame = feature_frame(training_rows(100, 3), schema)
        names = [feature.name for feature in kept if feature.kind is Kind.CATEGORY]
        context = TrainingContext(
            "regression", "y", schema.names, tuple(names), (), 1, np.arange(100.0), parameters={"max_iter": 3}
        )
        estimator = gradient_boosting(frame.assign(y=np.arange(100.0)), context)
        direct = direct_estimator(estimator, schema, frame)
        numbers = direct.numbers_of({kept[0].name: [None]})
        assert numbers is not None
        expected = predict_with(estimator, schema, feature_frame({kept[0].name: [None]}, schema))
        assert_same(predict_with(direct, schema, numbers), expected)


def _columns(*parts: tuple[str, Any, list[str]]) -> ColumnTransformer:
    return ColumnTransformer(list(parts))


CODES = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
BOOSTING = HistGradientBoostingRegressor(max_iter=2)


@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        (RandomForestRegressor(3, max_depth=2), "RandomForestRegressor is no pipeline"),
        (HistGradientBoostingRegressor(max_iter=2), "HistGradientBoostingRegressor is no pipeline"),
        (make_pipeline(StandardScaler(), BOOSTING), "is no pipeline of columns"),
        (make_pipeline(_columns(("scaled", StandardScaler(), ["x", "y1"])), BOOSTING), "StandardScaler"),
        (make_pipeline(_columns(("n", "passthrough", ["x"])), StandardScaler(), BOOSTING), "is no pipeline of columns"),
        (make_pipeline(_columns(("coded", CODES, ["x"])), BOOSTING), "column x is a number"),
        (
            make_pipeline(
                _columns(("n", "passthrough", ["x"])),
                HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]),
            ),
            "other columns for categories",
        ),
        (
            make_pipeline(
                _columns(("n", "passthrough", ["x"]), ("coded", CODES, ["y1"])),
                HistGradientBoostingRegressor(max_iter=2, categorical_features=[1]),
            ),
            "other columns for categories",
        ),
    ],
    ids=[
        "forest",
        "bare",
        "scaler",
        "scaled column",
        "three steps",
        "coded number",
        "number as category",
        "categories last",
    ],
)
def test_any_other_estimator_keeps_its_own_way(estimator: Any, why: str) -> None:
    """What the default trainer would not make is refused with what differs."""
    schema = Schema(Task.REGRESSION, "y", (FEATURES[0], FEATURES[5]))
    frame = feature_frame(training_rows(60, 2), schema).fillna(0.0).round()
    with pytest.raises(NotDirectError, match=why):
        direct_estimator(estimator.fit(frame, frame["x"]), schema, frame)


def test_trees_that_answer_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of difference on the probe rows, and the pipeline goes on answering."""
    estimator, schema, frame = fitted("two classes", 5)
    sums = DirectEstimator._sums
    monkeypatch.setattr(DirectEstimator, "_sums", lambda self, numbers: np.nextafter(sums(self, numbers), 9.0))
    with pytest.raises(NotDirectError, match="answer otherwise"):
        direct_estimator(estimator, schema, frame)


def test_rows_that_are_too_many_for_memory_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts together are what all rows are at once."""
    estimator, schema, frame = fitted("four classes", 8)
    direct = direct_estimator(estimator, schema, frame)
    numbers = direct.numbers_of(
        {
            name: frame[name].astype(object).where(frame[name].notna(), None).tolist()[:9]
            for name in ("x", "few", "many", "when", "y1", "void")
        }
        | {"flag": [True] * 9}
    )
    assert numbers is not None
    at_once = direct._trees.sums(numbers)
    monkeypatch.setattr("driftd.serving.boosted_trees._CELLS", 4 * len(direct._trees.feature))
    assert direct._trees.sums(numbers).tobytes() == at_once.tobytes()


def publish(estimator: Any, schema: Schema, probe: pd.DataFrame | None, root: Path, version: int = 1) -> ServedVersion:
    registry = Registry(Places(root))
    staged = registry.stage("m")
    name = store_estimator(estimator, staged, allow_joblib=False)
    if probe is not None:
        probe.to_parquet(staged / PROBE)
    trainer = Trainer("a:b", "f")
    write_manifest(staged, Manifest("m", version, 0.0, schema, "s", trainer, 0, "manual", "asked", name))
    registry.publish("m", version, staged)
    registry.point("m", version)
    return ServedVersion(Places(root), "m")


def test_the_served_version_answers_from_the_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default model that was stored and loaded is served from its trees, and the pipeline is not asked."""
    estimator, schema, frame = fitted("four classes", 6)
    version = publish(estimator, schema, frame, tmp_path).get()
    assert version.direct is not None
    event = {"features": {"x": 1, "few": "a", "flag": True, "many": "c1", "when": 1.0, "y1": None}}
    columns = {feature.name: [event["features"].get(feature.name)] for feature in FEATURES}
    expected = predict_with(estimator, schema, feature_frame(columns, schema))
    monkeypatch.delattr(Pipeline, "predict_proba")
    found = answer(version, [event], 1e9, refused_too=True, probabilities=True)
    assert found.predictions == expected.values()
    assert list(found.probabilities[0] or {}) == list(schema.classes)
    assert np.array_equal(list((found.probabilities[0] or {}).values()), expected.probability[0])  # type: ignore[index]


def test_a_few_rows_are_answered_without_a_worker_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP, a direct version in memory answers a small request at once; loading one is left to a worker thread."""
    estimator, schema, frame = fitted("two classes", 9)
    publish(estimator, schema, frame, tmp_path)
    endpoint = Endpoint("m", Places(tmp_path), allow_joblib=False)
    threads: list[bool] = []
    inner = endpoint.answer

    def answer_noting_the_thread(*given: Any, **more: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return inner(*given, **more)

    monkeypatch.setattr(endpoint, "answer", answer_noting_the_thread)
    app = Serving({"m": endpoint}, RequestLimits(1_000_000, 1000), ServingMetrics(["m"]))
    event = {"features": {"x": 1, "few": "a"}}
    with closing(app), closing(endpoint):
        first = [ask(app, event) for _ in range(3)]
        publish(estimator, schema, frame, tmp_path, version=2)
        swapped = [ask(app, event) for _ in range(2)]
        large = ask(app, [event] * 400)
    assert [answer["version"] for answer in first + swapped] == [1, 1, 1, 2, 2]
    assert all(answer["logged"] for answer in [*first, *swapped, *large])
    assert {(answer["prediction"], answer["score"]) for answer in [*first, *swapped, *large]} == {
        (first[0]["prediction"], first[0]["score"])
    }
    assert threads == [False, True, True, False, True, False]


def ask(app: Serving, body: Any) -> Any:
    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.post("/v1/models/m/predict", json=body)

    return asyncio.run(post()).json()


@pytest.mark.parametrize("fault", ["no probe", "a damaged probe", "another estimator"])
def test_without_a_probe_the_estimator_itself_answers(fault: str, tmp_path: Path) -> None:
    """Where nothing shows that the trees answer alike, the version is served by the pipeline."""
    estimator, schema, frame = fitted("regression", 7)
    if fault == "another estimator":
        schema = Schema(Task.REGRESSION, "y", FEATURES[:1])
        frame = feature_frame({"x": [1.0, 2.0]}, schema)
        estimator = make_pipeline(StandardScaler(), RandomForestRegressor(2)).fit(frame, [1.0, 2.0])
    served = publish(estimator, schema, None if fault == "no probe" else frame, tmp_path)
    if fault == "a damaged probe":
        (tmp_path / "models" / "m" / "versions" / "1" / PROBE).write_bytes(b"nothing")
    version = served.get()
    assert version.direct is None
    row = {"x": 1.0, "few": "a"}
    assert answer(version, [{"features": row}], 1e9, refused_too=True).predictions[0] is not None
