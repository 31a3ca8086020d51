"""The default trainer: any tabular task, hard columns, repeatable, storable without trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from threadpoolctl import threadpool_limits

from driftd.registry.artefact import COMMON, SKOPS, load_estimator, store_estimator
from driftd.registry.features import feature_frame
from driftd.registry.loaded import predict_with
from driftd.trainers import TrainingContext, gradient_boosting
from driftd.trainers.boosting import FEWEST_TREES
from driftd_detectors.schema import Feature, Kind, Schema, Task

FEATURES = (
    Feature("x", Kind.NUMBER),
    Feature("many", Kind.CATEGORY),
    Feature("few", Kind.CATEGORY),
    Feature("flag", Kind.BOOLEAN),
    Feature("when", Kind.TIMESTAMP),
    Feature("hole", Kind.NUMBER),
    Feature("void", Kind.CATEGORY),
    Feature("one", Kind.NUMBER),
    Feature("huge", Kind.NUMBER),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make these small fits twenty times slower."""
    with threadpool_limits(1):
        yield


def rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Every kind of column, and what columns can do to a trainer."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(count) < 0.1, np.nan, rng.normal(size=count)),
            "many": [f"c{n}" for n in rng.integers(0, 2000, count)],
            "few": rng.choice(["a", "b", None], count),
            "flag": rng.choice([True, False], count),
            "when": pd.date_range("2024-01-01", periods=count, freq="h"),
            "hole": np.full(count, np.nan),
            "void": pd.Series([None] * count, dtype=object),
            "one": 1.0,
            "huge": rng.choice([1e300, -1e300, np.inf, -np.inf, 0.0], count),
        }
    )


def schema_of(task: Task, classes: tuple[str, ...] = ()) -> Schema:
    return Schema(task, "y", FEATURES, classes)


def train(schema: Schema, data: pd.DataFrame, target: Any, **more: Any) -> Any:
    frame = feature_frame(data, schema)
    context = TrainingContext(
        task=str(schema.task),
        target="y",
        features=schema.names,
        categorical=tuple(item.name for item in schema.features if item.kind is Kind.CATEGORY),
        classes=schema.classes,
        seed=more.pop("seed", 3),
        at=np.arange(float(len(data))),
        **more,
    )
    return gradient_boosting(frame.assign(y=target), context)


@pytest.mark.parametrize(
    "schema",
    [
        schema_of(Task.REGRESSION),
        schema_of(Task.CLASSIFICATION, ("no", "yes")),
        schema_of(Task.CLASSIFICATION, ("a", "b", "c")),
    ],
    ids=["regression", "binary", "multiclass"],
)
def test_every_task_learns_stores_and_predicts_unknown_values(schema: Schema, tmp_path: Path) -> None:
    """Hard columns are survived, the artefact loads without trust, and unseen rows get predictions better than luck."""
    data = rows(700)
    signal = np.nan_to_num(data["x"].to_numpy()) + (data["few"] == "a")
    codes = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, len(schema.classes) + 1)[1:-1]))
    target = np.array(schema.classes, dtype=object)[codes] if schema.classes else signal
    estimator = train(schema, data, target)
    assert store_estimator(estimator, tmp_path, allow_joblib=False) == SKOPS
    assert set(skops.io.get_untrusted_types(file=tmp_path / SKOPS)) <= COMMON  # so that it is looked through once
    loaded = load_estimator(tmp_path / SKOPS, allow_joblib=False)
    fresh = rows(300, seed=1)
    fresh.loc[:20, ["few", "many"]] = "never seen"
    found = predict_with(loaded, schema, feature_frame(fresh, schema))
    truth = np.nan_to_num(fresh["x"].to_numpy()) + (fresh["few"] == "a")
    if schema.classes:
        right = np.digitize(truth, np.quantile(signal, np.linspace(0, 1, len(schema.classes) + 1)[1:-1]))
        assert (found.prediction == right).mean() > 0.8
    else:
        assert np.corrcoef(found.prediction, truth)[0, 1] > 0.9
    assert np.array_equal(found.prediction, predict_with(estimator, schema, feature_frame(fresh, schema)).prediction)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Training twice gives one artefact, byte for byte."""
    schema = schema_of(Task.REGRESSION)
    data = rows(700)
    stored = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        store_estimator(train(schema, data, np.nan_to_num(data["x"])), tmp_path / name, allow_joblib=False)
        stored.append((tmp_path / name / SKOPS).read_bytes())
    assert stored[0] == stored[1]


def test_weights_decide_between_two_worlds() -> None:
    """Where old and new rows contradict each other, the heavier ones are learned."""
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    data = pd.DataFrame({"x": np.tile([0.0, 1.0], 300)})
    target = np.where(np.arange(600) < 500, data["x"], 1 - data["x"])
    weight = np.where(np.arange(600) < 500, 0.1, 10.0)
    ask = feature_frame({"x": [0.0, 1.0]}, schema)
    plain = predict_with(train(schema, data, target), schema, ask).prediction
    heavy = predict_with(train(schema, data, target, weight=weight), schema, ask).prediction
    assert plain[1] > plain[0]
    assert heavy[1] < heavy[0]


def test_noise_gets_few_trees_and_parameters_are_passed_on() -> None:
    """The newest rows stop the growth where there is nothing to learn; `max_iter` overrides that."""
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    rng = np.random.default_rng(0)
    data, noise = pd.DataFrame({"x": rng.normal(size=1500)}), rng.normal(size=1500)
    assert train(schema, data, noise)[-1].n_iter_ == FEWEST_TREES
    assert train(schema, data, noise, parameters={"max_iter": 7})[-1].n_iter_ == 7
    with pytest.raises(TypeError, match="colour"):
        train(schema, data, noise, parameters={"colour": "red", "max_iter": 7})


def test_the_watched_metric_is_what_is_trained_for() -> None:
    """Who watches the absolute error gets a model of the median."""
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    target = np.where(np.arange(400) % 4 == 0, 100.0, 0.0)
    model = train(schema, pd.DataFrame({"x": np.ones(400)}), target, metric="mae")
    assert predict_with(model, schema, feature_frame({"x": [1.0]}, schema)).prediction[0] == pytest.approx(0, abs=1)


def test_a_single_class_is_refused_with_its_name() -> None:
    """One class cannot be told from another."""
    schema = Schema(Task.CLASSIFICATION, "y", (Feature("x", Kind.NUMBER),), ("no", "yes"))
    with pytest.raises(ValueError, match=r"single class \(yes\)"):
        train(schema, pd.DataFrame({"x": np.ones(30)}), np.array(["yes"] * 30, dtype=object))


def test_rows_of_one_moment_and_few_rows_are_trained_on() -> None:
    """Nothing depends on there being enough rows or times to stop early on."""
    schema = Schema(Task.CLASSIFICATION, "y", (Feature("c", Kind.CATEGORY),), ("no", "yes"))
    data = pd.DataFrame({"c": ["a", "b"] * 15})
    model = train(schema, data, np.array(["no", "yes"] * 15, dtype=object), parameters={"min_samples_leaf": 5})
    assert predict_with(model, schema, feature_frame({"c": ["a", "b"]}, schema)).values() == ["no", "yes"]


def test_rows_without_any_value_are_refused() -> None:
    """A model of nothing is not made."""
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER), Feature("c", Kind.CATEGORY)))
    data = pd.DataFrame({"x": np.full(30, np.nan), "c": pd.Series([None] * 30, dtype=object)})
    with pytest.raises(ValueError, match="no feature holds any value"):
        train(schema, data, np.arange(30.0))
