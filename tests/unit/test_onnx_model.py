"""ONNX graphs as estimators, made by skl2onnx and by hand, run by the real onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from driftd.registry.artefact import ONNX, load_estimator, store_estimator
from driftd.registry.features import feature_frame
from driftd.registry.foreign_models import OnnxModel
from driftd.registry.loaded import PredictionError, predict_with
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.training_rows import TrainingRows
from driftd_detectors.schema import Feature, Kind, Schema, Task
from library_trainers import sample_rows

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
skl2onnx = pytest.importorskip("skl2onnx")

NUMBERS = (Feature("price", Kind.NUMBER), Feature("weight", Kind.NUMBER))
WITH_REGION = (*NUMBERS, Feature("region", Kind.CATEGORY))
CLASSES = ("no", "yes")


def rows() -> pd.DataFrame:
    data = sample_rows(300).fillna({"price": 0.0})
    return data.astype({"price": np.float32, "weight": np.float32})


def graph_of(features: tuple[Feature, ...], **options: Any) -> tuple[OnnxModel, Any, Schema]:
    data, schema = rows(), Schema(Task.CLASSIFICATION, "late", features, CLASSES)
    parts = [(StandardScaler(), ["price", "weight"])]
    if features is WITH_REGION:
        parts.append((OneHotEncoder(handle_unknown="ignore"), ["region"]))
    pipeline = make_pipeline(make_column_transformer(*parts), LogisticRegression())
    pipeline.fit(data[list(schema.names)], data["late"])
    graph = skl2onnx.to_onnx(pipeline, data[list(schema.names)][:1], options={id(pipeline): options})
    return OnnxModel(graph.SerializeToString()), pipeline, schema


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_graph_with_an_input_for_each_column(zipmap: bool) -> None:
    """One input a column is fed by name, texts too; the answers are those of the estimator it was made of."""
    model, pipeline, schema = graph_of(WITH_REGION, zipmap=zipmap)
    assert list(model.feature_names_in_) == list(schema.names)
    assert hasattr(model, "classes_") is zipmap
    found = predict_with(model, schema, feature_frame(rows(), schema))
    np.testing.assert_allclose(found.score, pipeline.predict_proba(rows()[list(schema.names)])[:, 1], atol=1e-5)
    assert found.values() == list(pipeline.predict(rows()[list(schema.names)]))
    backwards = feature_frame(rows(), schema)[list(schema.names)[::-1]]
    np.testing.assert_array_equal(predict_with(model, schema, backwards).score, found.score)


def test_a_graph_with_one_input_for_all_columns() -> None:
    """One matrix of numbers is fed with the features in their order, however many rows there are."""
    data, schema = rows(), Schema(Task.CLASSIFICATION, "late", NUMBERS, CLASSES)
    fitted = LogisticRegression().fit(data[["price", "weight"]].to_numpy(), data["late"])
    model = OnnxModel(skl2onnx.to_onnx(fitted, data[["price", "weight"]].to_numpy()[:1]).SerializeToString())
    assert model.n_features_in_ == 2
    assert not hasattr(model, "feature_names_in_")
    found = predict_with(model, schema, feature_frame(data, schema))
    np.testing.assert_allclose(found.score, fitted.predict_proba(data[["price", "weight"]].to_numpy())[:, 1], atol=1e-5)
    assert len(predict_with(model, schema, feature_frame(data.head(1), schema)).score) == 1


def test_a_graph_of_a_regression() -> None:
    """A single output of numbers is the prediction."""
    data, schema = rows(), Schema(Task.REGRESSION, "y", NUMBERS)
    numbers = data[["price", "weight"]].to_numpy()
    fitted = LinearRegression().fit(numbers, data["price"] - 2 * data["weight"])
    model = OnnxModel(skl2onnx.to_onnx(fitted, numbers[:1]).SerializeToString())
    found = predict_with(model, schema, feature_frame(data, schema))
    np.testing.assert_allclose(found.prediction, data["price"] - 2 * data["weight"], atol=1e-5)


def test_a_program_may_leave_a_graph(tmp_path: Path) -> None:
    """A trainer that is a command leaves `model.onnx`, which needs no joblib and is stored byte for byte."""
    content = graph_by_hand("Sigmoid", 1)
    (tmp_path / "made.onnx").write_bytes(content)
    schema = Schema(Task.CLASSIFICATION, "y", (Feature("x", Kind.NUMBER),), CLASSES)
    frame, at = pd.DataFrame({"x": [-1.0, 2.0]}), np.arange(2.0)
    target = np.array(CLASSES, dtype=object)
    some = TrainingRows(schema, frame, target, at, at, np.zeros(2, dtype=np.int64))
    command = ("sh", "-c", f"cp {tmp_path / 'made.onnx'} $DRIFTD_OUTPUT/model.onnx")
    estimator = fit(TrainerSpec(command, seed=1), some)
    assert store_estimator(estimator, tmp_path, allow_joblib=False) == ONNX
    assert (tmp_path / ONNX).read_bytes() == content
    assert predict_with(load_estimator(tmp_path / ONNX, allow_joblib=False), schema, frame).values() == ["no", "yes"]


def graph_by_hand(operator: str, width: int, kind: int = onnx.TensorProto.FLOAT) -> bytes:
    """A graph of one operator from the input x to the output y."""
    helper = onnx.helper
    nodes = [helper.make_node(operator, ["x"], ["y"])]
    x = helper.make_tensor_value_info("x", kind, [None, width])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, width])
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


def test_a_column_of_chances_is_the_second_class() -> None:
    """A network that ends in one sigmoid gives the probability of the second of two classes."""
    schema = Schema(Task.CLASSIFICATION, "y", NUMBERS[:1], CLASSES)
    model = OnnxModel(graph_by_hand("Sigmoid", 1))
    frame = pd.DataFrame({"x": [-2.0, 2.0]})
    np.testing.assert_allclose(model.predict_proba(frame)[:, 1], 1 / (1 + np.exp([2.0, -2.0])), rtol=1e-5)
    assert predict_with(model, schema, frame).values() == ["no", "yes"]


def test_scores_that_are_no_probabilities_are_refused() -> None:
    """A graph that ends in raw scores is not taken for one of probabilities."""
    schema = Schema(Task.CLASSIFICATION, "y", NUMBERS, CLASSES)
    model = OnnxModel(graph_by_hand("Identity", 2))
    with pytest.raises(PredictionError, match="holds no probabilities"):
        predict_with(model, schema, pd.DataFrame({"price": [5.0], "weight": [3.0]}))


def test_a_gap_where_whole_numbers_are_wanted_is_named() -> None:
    """An input of integers refuses a missing value with the feature's name; NaN reaches an input of floats."""
    model = OnnxModel(
        skl2onnx.to_onnx(
            LinearRegression().fit(rows()[["price"]], rows()["weight"]),
            initial_types=[("price", skl2onnx.common.data_types.Int64TensorType([None, 1]))],
        ).SerializeToString()
    )
    with pytest.raises(ValueError, match="price is missing in 1 rows"):
        model.predict(pd.DataFrame({"price": [1.0, np.nan]}))


def test_text_where_numbers_are_wanted_is_named() -> None:
    """A category that is fed to a matrix of numbers is refused with its name."""
    model = OnnxModel(graph_by_hand("Identity", 2))
    with pytest.raises(ValueError, match=r"region is text, and the graph's input x takes tensor\(float\)"):
        model.predict(rows()[["price", "region"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot use the graph"), (b"no graph at all", "cannot use the graph")],
)
def test_what_is_no_graph_is_refused(content: bytes, message: str) -> None:
    """Bytes that are no graph raise ValueError with a sentence."""
    with pytest.raises(ValueError, match=message):
        OnnxModel(content)


def test_a_graph_of_several_matrices_is_refused() -> None:
    """A graph whose inputs are groups of columns says in which two forms one is taken."""
    helper = onnx.helper
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2]) for name in ("a", "b")]
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 2])
    node = helper.make_node("Add", ["a", "b"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [output]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    with pytest.raises(ValueError, match="one input for each feature, or with a single input"):
        OnnxModel(model.SerializeToString())
