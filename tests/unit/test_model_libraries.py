"""Estimators of every library that users bring: stored without joblib, loaded, and answering as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
)
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from driftd.registry.artefact import JOBLIB, SKOPS, ArtefactError, load_estimator, store_estimator
from driftd.registry.estimator_inputs import NamedClasses, category_places, native_frame
from driftd.registry.features import feature_frame
from driftd.registry.loaded import PredictionError, predict_with
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.trainer_code import libraries
from driftd.training.training_rows import TrainingRows
from driftd_detectors.schema import Feature, Kind, Schema, Task
from library_trainers import LIBRARIES, sample_rows

FEATURES = (Feature("price", Kind.NUMBER), Feature("weight", Kind.NUMBER), Feature("region", Kind.CATEGORY))
SCHEMA = Schema(Task.CLASSIFICATION, "late", FEATURES, ("no", "yes"))
NUMBERS = np.abs(np.random.default_rng(2).normal(size=(80, 4)))
CLASSES = np.where(NUMBERS[:, 0] > NUMBERS[:, 1], "yes", "no")


def labelled_rows(count: int = 200) -> TrainingRows:
    data = sample_rows(count)
    at = np.arange(count, dtype=np.float64)
    frame = feature_frame(data, SCHEMA)
    return TrainingRows(SCHEMA, frame, data["late"].to_numpy(dtype=object), at, at, np.zeros(count, dtype=np.int64))


@pytest.mark.parametrize("shape", ["alone", "in_a_pipeline"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_boosting_library_needs_no_joblib(library: str, shape: str, tmp_path: Path) -> None:
    """An estimator of XGBoost, LightGBM or CatBoost is stored as skops and answers after loading as before."""
    pytest.importorskip(library)
    rows = labelled_rows()
    estimator = fit(TrainerSpec(f"library_trainers:{library}_{shape}", seed=3), rows)
    name = store_estimator(estimator, tmp_path, allow_joblib=False)
    assert name == SKOPS
    before = predict_with(estimator, SCHEMA, rows.frame)
    after = predict_with(load_estimator(tmp_path / name, allow_joblib=False), SCHEMA, rows.frame)
    np.testing.assert_array_equal(after.prediction, before.prediction)
    np.testing.assert_array_equal(after.score, before.score)
    truth = np.array([SCHEMA.classes.index(label) for label in rows.target])
    assert np.mean(before.prediction == truth) > 0.8
    assert np.corrcoef(before.score, truth)[0, 1] > 0.5


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_same_estimator_is_stored_as_the_same_bytes(library: str, tmp_path: Path) -> None:
    """Storing twice gives one hash, though skops names the libraries' bytes at random."""
    pytest.importorskip(library)
    estimator = fit(TrainerSpec(f"library_trainers:{library}_alone", seed=3), labelled_rows())
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        store_estimator(estimator, tmp_path / folder, allow_joblib=False)
    assert (tmp_path / "a" / SKOPS).read_bytes() == (tmp_path / "b" / SKOPS).read_bytes()


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_unknown_and_a_missing_category_are_answered(library: str) -> None:
    """A bare estimator answers a category that training had not, and a gap, alone and beside known ones."""
    pytest.importorskip(library)
    estimator = fit(TrainerSpec(f"library_trainers:{library}_alone", seed=3), labelled_rows())
    texts: list[Any] = ["north", "atlantis", None]
    rows = {"price": [1.0, 1.0, 1.0], "weight": [0.0, 0.0, 0.0], "region": texts}
    together = predict_with(estimator, SCHEMA, feature_frame(rows, SCHEMA)).score
    for place, text in enumerate(texts):
        one_row = {"price": [1.0], "weight": [0.0], "region": [text]}
        assert predict_with(estimator, SCHEMA, feature_frame(one_row, SCHEMA)).score[0] == together[place]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_lineage_names_the_library_that_was_used(library: str) -> None:
    """Where a trainer imported a library of models its version is recorded, and asked for again by its name."""
    pytest.importorskip(library)
    used = [name for name in libraries("a:b") if name.startswith(library)]
    assert used
    assert set(used) <= set(libraries("a:b", used))


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_categories_of_numbers_meet_their_texts(library: str) -> None:
    """An estimator that was fitted to categories of numbers gets them back from the text that driftd keeps."""
    module = pytest.importorskip(library)
    store = np.repeat([1, 2, 10], 60)
    raw = pd.DataFrame({"store": pd.Categorical(store), "x": np.linspace(0, 1, 180)})
    makers: dict[str, Any] = {
        "lightgbm": lambda: module.LGBMClassifier(n_estimators=5, verbose=-1, min_child_samples=5),
        "xgboost": lambda: module.XGBClassifier(n_estimators=5, enable_categorical=True),
    }
    model = makers[library]().fit(raw, store == 10)
    assert category_places(model) == (0,)
    schema = Schema(Task.CLASSIFICATION, "y", (Feature("store", Kind.CATEGORY), Feature("x", Kind.NUMBER)), ("0", "1"))
    found = predict_with(model, schema, feature_frame(pd.DataFrame({"store": store, "x": raw["x"]}), schema))
    np.testing.assert_allclose(found.score, model.predict_proba(raw)[:, 1])
    assert found.values()[-1] == "1"


def test_an_unknown_category_is_missing_to_xgboost() -> None:
    """A text that training had not is missing, wherever it would stand among those that it had; XGBoost errs there."""
    xgboost = pytest.importorskip("xgboost")
    texts = np.repeat(["b", "d", "f"], 40)
    raw = pd.DataFrame({"text": pd.Categorical(texts), "x": np.tile([0.0, 1.0], 60)})
    raw.loc[::8, "text"] = None
    model = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, min_child_weight=0).fit(raw, texts == "b")
    schema = Schema(Task.CLASSIFICATION, "y", (Feature("text", Kind.CATEGORY), Feature("x", Kind.NUMBER)), ("0", "1"))
    asked: dict[str, list[Any]] = {"text": [None, "a", "c", "e", "g", "b"], "x": [0.0] * 6}
    score = predict_with(model, schema, feature_frame(asked, schema)).score
    assert set(score[:5]) == {score[0]}
    assert score[0] < score[5]


def test_xgboost_without_categories_is_not_given_texts() -> None:
    """A model that was fitted to codes takes numbers; for texts it is refused, since no code of theirs is known."""
    xgboost = pytest.importorskip("xgboost")
    codes = np.column_stack([np.repeat([0.0, 1.0, 2.0], 40), np.tile([0.0, 1.0], 60)])
    model = xgboost.XGBClassifier(n_estimators=2, enable_categorical=True, feature_types=["c", "q"])
    model.fit(codes, codes[:, 0] == 1)
    assert category_places(model) == ()
    as_numbers = Schema(Task.CLASSIFICATION, "y", (Feature("c", Kind.NUMBER), Feature("x", Kind.NUMBER)), ("0", "1"))
    frame = feature_frame({"c": codes[:, 0].tolist(), "x": codes[:, 1].tolist()}, as_numbers)
    np.testing.assert_array_equal(predict_with(model, as_numbers, frame).score, model.predict_proba(codes)[:, 1])
    as_texts = replace(as_numbers, features=(Feature("c", Kind.CATEGORY), Feature("x", Kind.NUMBER)))
    with pytest.raises(PredictionError, match="holds no categories of c"):
        predict_with(model, as_texts, feature_frame({"c": ["0"], "x": [0.0]}, as_texts))


def test_other_estimators_get_the_frame_as_it_is() -> None:
    """Only a bare estimator of the three libraries has its rows changed."""
    frame = labelled_rows(20).frame
    assert native_frame(linear_model.LogisticRegression(), frame) is frame


def test_codes_of_classes_are_names_only_where_they_match() -> None:
    """A classifier of 0 and 1 answers the schema's classes by place, unless these are its own names."""
    model = linear_model.LogisticRegression().fit(NUMBERS, (CLASSES == "yes").astype(int))
    features = tuple(Feature(str(number), Kind.NUMBER) for number in range(4))
    frame = pd.DataFrame(NUMBERS, columns=[feature.name for feature in features])
    told_apart = predict_with(model, Schema(Task.CLASSIFICATION, "y", features, ("no", "yes")), frame.to_numpy())
    assert told_apart.values() == [("no", "yes")[code] for code in model.predict(NUMBERS)]
    by_name = predict_with(model, Schema(Task.CLASSIFICATION, "y", features, ("0", "1", "2")), frame.to_numpy())
    assert set(by_name.values()) == {"0", "1"}


def test_classes_get_the_names_that_they_are_given() -> None:
    """`NamedClasses` answers with the given names, the probabilities in their order."""
    model = linear_model.LogisticRegression().fit(NUMBERS, (CLASSES == "yes").astype(int))
    named = NamedClasses(model, ("late", "in time"))
    assert list(named.predict(NUMBERS)) == [("late", "in time")[code] for code in model.predict(NUMBERS)]
    np.testing.assert_array_equal(named.predict_proba(NUMBERS), model.predict_proba(NUMBERS))
    assert not hasattr(NamedClasses(svm.LinearSVC(), ("a", "b")), "predict_proba")


STEPS = [
    ensemble.RandomForestClassifier(n_estimators=3),
    ensemble.ExtraTreesClassifier(n_estimators=3),
    ensemble.GradientBoostingClassifier(n_estimators=3),
    ensemble.AdaBoostClassifier(n_estimators=3),
    ensemble.BaggingClassifier(n_estimators=3),
    ensemble.StackingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]),
    ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]),
    neighbors.KNeighborsClassifier(),
    neighbors.KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    neural_network.MLPClassifier((4,), max_iter=20),
    svm.SVC(),
    discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    gaussian_process.GaussianProcessClassifier(1.0 * gaussian_process.kernels.Matern()),
    make_pipeline(preprocessing.SplineTransformer(), linear_model.LogisticRegression()),
    make_pipeline(PCA(2), feature_selection.SelectKBest(k=1), linear_model.LogisticRegression()),
    make_pipeline(preprocessing.PowerTransformer(), preprocessing.PolynomialFeatures(), linear_model.SGDClassifier()),
    GridSearchCV(linear_model.LogisticRegression(), {"C": [0.1, 1.0]}, cv=StratifiedKFold(2)),
]


def test_columns_that_are_selected_by_type_need_no_joblib(tmp_path: Path) -> None:
    """A ColumnTransformer that finds its columns by their types is stored as skops."""
    numbers, texts = make_column_selector(dtype_include=np.number), make_column_selector(dtype_exclude="number")
    columns = make_column_transformer((preprocessing.OneHotEncoder(), texts), ("passthrough", numbers))
    frame = sample_rows(80)[["weight", "region"]]
    pipeline = make_pipeline(columns, linear_model.LogisticRegression()).fit(frame, CLASSES)
    assert store_estimator(pipeline, tmp_path, allow_joblib=False) == SKOPS
    loaded = load_estimator(tmp_path / SKOPS, allow_joblib=False)
    np.testing.assert_array_equal(loaded.predict_proba(frame), pipeline.predict_proba(frame))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", STEPS, ids=lambda step: type(step).__name__)
def test_a_pipeline_of_scikit_learn_needs_no_joblib(estimator: Any, tmp_path: Path) -> None:
    """Pipelines around every family of scikit-learn's estimators are stored as skops and answer as before."""
    pipeline = make_pipeline(preprocessing.StandardScaler(), estimator).fit(NUMBERS, CLASSES)
    assert store_estimator(pipeline, tmp_path, allow_joblib=False) == SKOPS
    loaded = load_estimator(tmp_path / SKOPS, allow_joblib=False)
    np.testing.assert_array_equal(loaded.predict(NUMBERS), pipeline.predict(NUMBERS))


def test_a_function_of_the_user_is_never_trusted(tmp_path: Path) -> None:
    """A Pipeline with a function of the user's own is refused without joblib, and kept by joblib where that may be."""
    step = preprocessing.FunctionTransformer(labelled_rows)
    pipeline = make_pipeline(step, linear_model.LogisticRegression())
    with pytest.raises(ArtefactError, match="labelled_rows"):
        store_estimator(pipeline, tmp_path, allow_joblib=False)
    assert store_estimator(pipeline, tmp_path, allow_joblib=True) == JOBLIB
