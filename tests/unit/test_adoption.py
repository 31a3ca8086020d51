"""Reading models that exist already: from files, from MLflow's folders, with and without permission to run code."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from driftd.cli.adoption import Adoption
from driftd.cli.init_defaults import Guess, guess_settings
from driftd.fsutil import sha256_of
from driftd.registry import Adopted
from driftd.registry.artefact import JOBLIB, ONNX, SKOPS, ArtefactError
from driftd.registry.estimator_inputs import NamedClasses
from driftd.registry.loaded import predict_with
from driftd.registry.manifest import Manifest, Trainer
from driftd.training.adoption import read_model
from driftd.training.adoption_records import AdoptionError, AdoptionOrder, ModelCard, require_permission
from driftd.training.bootstrap import FileColumns
from driftd.training.tasks.adopt import find_nonsense, require_answers
from driftd.training.training_rows import TrainingRows
from driftd_detectors.schema import Feature, Kind, Schema, Task
from library_trainers import sample_rows

ROWS = sample_rows(300)
NUMBERS = ROWS[["weight", "price"]].fillna(0.0)


def classifier() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, ROWS["late"])


def squared(values: Any) -> Any:
    return np.square(values)


class Bomb:
    """What a pickle may do: it leaves a file behind when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))


class StoredElsewhere:
    """A model in the form in which another version of scikit-learn pickled it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __reduce__(self) -> Any:
        return (object.__new__, (type(self.model),), dict(self.model.__dict__))


def skops_file(folder: Path) -> Path:
    skops.io.dump(classifier(), folder / "model.skops")
    return folder / "model.skops"


def card_of(source: Path, *, allow_pickle: bool = False) -> ModelCard:
    return read_model(str(source), allow_pickle=allow_pickle).card()


def test_a_card_tells_features_classes_and_task(tmp_path: Path) -> None:
    """A fitted Pipeline in the skops format tells its features in its own order, its classes and its task."""
    skops.io.dump(classifier(), tmp_path / "model.skops")
    card = card_of(tmp_path / "model.skops")
    assert card.features == ("weight", "price")
    assert (card.classes, card.task, card.artefact) == (("no", "yes"), "classification", SKOPS)
    assert card.kind == "Pipeline of LogisticRegression"
    assert card.sha256 == sha256_of(tmp_path / "model.skops")
    assert not card.runs_code
    assert ModelCard.from_dict(card.to_dict()) == card


def test_a_pickle_is_not_loaded_without_permission(tmp_path: Path) -> None:
    """The refusal comes before any of its code ran, and says what permission means."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb(str(tmp_path / "ran"))))
    with pytest.raises(AdoptionError, match=r"runs whatever code is in it, with your rights.*--allow-pickle"):
        read_model(str(tmp_path / "model.pkl"), allow_pickle=False)
    assert not (tmp_path / "ran").exists()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    """A path with a slip of the pen is told as such, also where it would be a pickle."""
    with pytest.raises(AdoptionError, match=r"model\.pkl does not exist"):
        require_permission(str(tmp_path / "model.pkl"), allow_pickle=False)


def test_a_skops_file_runs_no_code(tmp_path: Path) -> None:
    """A file that only calls itself skops, and one with a type that is not trusted, are refused."""
    (tmp_path / "model.skops").write_bytes(pickle.dumps(Bomb(str(tmp_path / "ran"))))
    with pytest.raises(ArtefactError, match="no artefact that this driftd can read"):
        read_model(str(tmp_path / "model.skops"), allow_pickle=False)
    assert not (tmp_path / "ran").exists()
    skops.io.dump(make_pipeline(FunctionTransformer(squared), LinearRegression()), tmp_path / "own.skops")
    with pytest.raises(ArtefactError, match="squared"):
        read_model(str(tmp_path / "own.skops"), allow_pickle=False)


def test_a_pickle_is_held_as_skops_where_that_can_be(tmp_path: Path) -> None:
    """A pickled Pipeline is loaded once and kept as skops; one with a function of its own is kept as it is."""
    joblib.dump(classifier(), tmp_path / "model.joblib")
    found = read_model(str(tmp_path / "model.joblib"), allow_pickle=True)
    assert (found.artefact, found.card().runs_code) == (SKOPS, False)
    own = make_pipeline(FunctionTransformer(squared), LinearRegression()).fit(NUMBERS, NUMBERS["price"])
    joblib.dump(own, tmp_path / "own.pkl")
    kept = read_model(str(tmp_path / "own.pkl"), allow_pickle=True)
    assert (kept.artefact, kept.card().runs_code) == (JOBLIB, True)
    assert kept.content == (tmp_path / "own.pkl").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.pkl", pickle.dumps({"a": 1}), "is a dict, which has no predict method"),
        ("model.pkl", b"no pickle", "cannot be loaded as a pickle"),
        ("model.pkl", b"cnowhere\nModel\n.", "needs a module that is not importable here: .*nowhere"),
        ("model.h5", b"", r"is no model that driftd reads: it reads \.skops, \.onnx"),
        ("model.onnx", b"no graph", "onnxruntime"),
    ],
)
def test_what_is_no_model_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    """A file that holds no model, or one of another kind, is refused with what it is and what is read."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises((AdoptionError, ImportError), match=message):
        read_model(str(tmp_path / name), allow_pickle=True)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """A folder is a model only where MLflow's own file is in it, and a file must exist."""
    with pytest.raises(AdoptionError, match="without an MLmodel file"):
        read_model(str(tmp_path), allow_pickle=True)
    with pytest.raises(AdoptionError, match="No such file"):
        read_model(str(tmp_path / "absent.skops"), allow_pickle=True)


MLMODEL = "flavors:\n  {flavour}\n  python_function: {{loader_module: mlflow.sklearn}}\n"


def test_an_mlflow_folder_with_skops_needs_neither_mlflow_nor_permission(tmp_path: Path) -> None:
    """What MLflow saved as skops is read by driftd itself; a pickle in such a folder asks for permission."""
    skops.io.dump(classifier(), tmp_path / "model.skops")
    flavour = "sklearn: {pickled_model: model.skops, serialization_format: skops}"
    (tmp_path / "MLmodel").write_text(MLMODEL.format(flavour=flavour))
    card = card_of(tmp_path)
    assert (card.features, card.artefact) == (("weight", "price"), SKOPS)
    assert card.sha256 != sha256_of(tmp_path / "model.skops")  # that of the whole folder
    joblib.dump(classifier(), tmp_path / "model.pkl")
    (tmp_path / "MLmodel").write_text(MLMODEL.format(flavour="sklearn: {pickled_model: model.pkl}"))
    with pytest.raises(AdoptionError, match=r"runs code that the model brings.*sklearn.*--allow-pickle"):
        card_of(tmp_path)
    assert card_of(tmp_path, allow_pickle=True).artefact == SKOPS


def test_an_mlflow_folder_names_no_file_outside_it(tmp_path: Path) -> None:
    """A model's folder that points outside itself is not followed."""
    skops.io.dump(classifier(), tmp_path / "outside.skops")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(MLMODEL.format(flavour="sklearn: {pickled_model: ../outside.skops}"))
    with pytest.raises(AdoptionError, match="runs code that the model brings"):
        card_of(tmp_path / "model")


def test_an_mlflow_folder_with_a_graph_is_an_onnx_model(tmp_path: Path) -> None:
    """Of an ONNX model of MLflow the graph is taken, which runs no code."""
    pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    numbers = NUMBERS.to_numpy(np.float32)
    graph = skl2onnx.to_onnx(LogisticRegression().fit(NUMBERS.to_numpy(), ROWS["late"]), numbers[:1])
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    (tmp_path / "MLmodel").write_text(MLMODEL.format(flavour="onnx: {data: model.onnx}"))
    card = card_of(tmp_path)
    assert (card.artefact, card.feature_count, card.features) == (ONNX, 2, None)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_rows_without_names_give_no_names(library: str, tmp_path: Path) -> None:
    """An estimator that was fitted to an array does not name its features, whatever its library calls them."""
    module = pytest.importorskip(library)
    makers = {
        "xgboost": lambda: module.XGBClassifier(n_estimators=2),
        "lightgbm": lambda: module.LGBMClassifier(n_estimators=2, verbose=-1),
        "catboost": lambda: module.CatBoostClassifier(iterations=2, verbose=False, allow_writing_files=False),
    }
    for rows, names in ((NUMBERS.to_numpy(), None), (NUMBERS, ("weight", "price"))):
        fitted = makers[library]().fit(rows, (ROWS["late"] == "yes").astype(int))
        joblib.dump(fitted, tmp_path / "model.pkl")
        card = card_of(tmp_path / "model.pkl", allow_pickle=True)
        assert (card.features, card.feature_count) == (names, 2)
        assert (card.artefact, card.task, card.classes) == (SKOPS, "classification", ("0", "1"))


def adoption_of(estimator: Any, folder: Path, class_names: tuple[str, ...] = ()) -> Adoption:
    joblib.dump(estimator, folder / "model.pkl")
    card = card_of(folder / "model.pkl", allow_pickle=True)
    return Adoption("model.pkl", card, allow_pickle=True, unseen=False, class_names=class_names, folder=folder)


def guess_of(rows: pd.DataFrame, target: str = "late") -> Guess:
    return guess_settings(rows, target, task=None, columns=FileColumns(), window=None, name="orders")


def test_the_features_are_the_models_in_its_order(tmp_path: Path) -> None:
    """Columns that the model does not know are left out with a word; a constant one that it knows stays."""
    rows = ROWS.assign(price=1.0)
    guess, ordered = adoption_of(classifier(), tmp_path).match_features(guess_of(rows), rows)
    assert dict(guess.features) == {"weight": Kind.NUMBER, "price": Kind.NUMBER}
    assert list(guess.features) == list(ordered.columns)[:2] == ["weight", "price"]
    assert "region is left out of the features: the model does not know it" in guess.remarks
    assert not any(remark.startswith("price is left out") for remark in guess.remarks)


def test_an_absent_feature_is_named(tmp_path: Path) -> None:
    """A file without a feature of the model says which one, and what the file has."""
    adoption = adoption_of(classifier(), tmp_path)
    rows = ROWS.drop(columns="price")
    with pytest.raises(click.ClickException, match=r"no column 'price'; the file has weight, region, late"):
        adoption.match_features(guess_of(rows), rows)
    swapped = ROWS.rename(columns={"price": "other", "late": "price"}).assign(late="yes")
    with pytest.raises(click.ClickException, match="takes price as a feature, so it cannot be the target"):
        adoption.match_features(guess_of(swapped, "price"), swapped)


def test_a_model_without_names_takes_as_many_columns(tmp_path: Path) -> None:
    """Of a model that does not name its features, the number must fit; then the file's order holds."""
    adoption = adoption_of(LogisticRegression().fit(NUMBERS.to_numpy(), ROWS["late"]), tmp_path)
    with pytest.raises(click.ClickException, match=r"takes 2 features .* 3 that could be: price, weight, region"):
        adoption.match_features(guess_of(ROWS), ROWS)
    guess, rows = adoption.match_features(guess_of(ROWS.drop(columns="region")), ROWS)
    assert "in the order of the columns" in next(adoption.sentences(adoption.order(guess, rows), guess, trainer=None))


def test_a_model_without_classes_is_a_remark(tmp_path: Path) -> None:
    """Of a classifier that does not name its classes it is said how they are taken."""
    adoption = adoption_of(classifier(), tmp_path)
    adoption = replace(adoption, card=replace(adoption.card, classes=None))
    guess, rows = adoption.match_features(guess_of(ROWS), ROWS)
    remarks = " ".join(adoption.sentences(adoption.order(guess, rows), guess, trainer=None))
    assert "does not name its classes" in remarks
    assert "later versions are trained by driftd.trainers:gradient_boosting" in remarks


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    """A regressor for a target of classes is refused with both sides named."""
    adoption = adoption_of(DummyRegressor().fit(NUMBERS, NUMBERS["price"]), tmp_path)
    with pytest.raises(
        click.ClickException, match=r"DummyRegressor.* does regression, and late looks like classification"
    ):
        adoption.match_features(guess_of(ROWS), ROWS)


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        (["no", "yes"], (), ("no", "yes")),
        (["no", "yes"], ("yes", "no"), ("yes", "no")),
        ([0, 1], (), ()),
        ([0.0, 1.0], (), ()),
        ([False, True], (), ()),
    ],
)
def test_codes_are_held_beside_the_targets_classes(
    target: list[Any], given: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    """Classes 0 and 1 are the target's own where it has them, else its classes in order, else what is said."""
    rows = ROWS.assign(late=ROWS["late"].map(dict(zip(["no", "yes"], target, strict=True))))
    model = LogisticRegression().fit(NUMBERS, (ROWS["late"] == "yes").astype(int))
    adoption = adoption_of(model, tmp_path, given)
    guess, rows = adoption.match_features(guess_of(rows), rows)
    order = adoption.order(guess, rows)
    assert order.names == expected
    assert order.classes == (expected or ("0", "1"))
    assert msgspec.convert(order.to_dict(), AdoptionOrder) == order


def test_classes_meet_however_they_are_written(tmp_path: Path) -> None:
    """Classes such as TRUE and FALSE, which driftd reads from a file as 1 and 0, are these classes of the target."""
    model = LogisticRegression().fit(NUMBERS, ROWS["late"].map({"no": "FALSE", "yes": "TRUE"}))
    rows = ROWS.assign(late=ROWS["late"] == "yes")
    guess, rows = (adoption := adoption_of(model, tmp_path)).match_features(guess_of(rows), rows)
    order = adoption.order(guess, rows)
    assert (order.names, order.classes) == (("0", "1"), ("0", "1"))


def encoder_of(texts: pd.Series) -> Any:
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["store"]), remainder="passthrough")
    frame = NUMBERS.assign(store=texts)
    return make_pipeline(encoder, LogisticRegression()).fit(frame, ROWS["late"])


@pytest.mark.parametrize(
    ("texts", "expected"), [("{:d}", Kind.CATEGORY), ("{:d}.0", Kind.NUMBER), ("store {:d}", Kind.NUMBER)]
)
def test_codes_that_a_model_takes_as_text_are_categories(texts: str, expected: Kind, tmp_path: Path) -> None:
    """A column of digits is a category where the model's encoder knows its very texts, which is a remark."""
    codes = pd.Series(np.arange(len(ROWS)) % 3)
    adoption = adoption_of(encoder_of(codes.map(texts.format)), tmp_path)
    rows = ROWS.assign(store=codes)
    guess, _ = adoption.match_features(guess_of(rows), rows)
    assert guess.features["store"] == expected
    assert any(remark.startswith("store is a category after all") for remark in guess.remarks) == (
        expected is Kind.CATEGORY
    )


def test_codes_that_a_booster_takes_as_categories_are_categories(tmp_path: Path) -> None:
    """The features that CatBoost was told to take as categories are categories, whatever they look like."""
    catboost = pytest.importorskip("catboost")
    rows = ROWS.assign(store=np.arange(len(ROWS)) % 3)
    model = catboost.CatBoostClassifier(iterations=2, verbose=False, allow_writing_files=False, cat_features=["store"])
    adoption = adoption_of(model.fit(rows[["store", "weight"]], rows["late"]), tmp_path)
    guess, _ = adoption.match_features(guess_of(rows), rows)
    assert dict(guess.features) == {"store": Kind.CATEGORY, "weight": Kind.NUMBER}


def test_a_bare_booster_is_refused_where_it_cannot_answer(tmp_path: Path) -> None:
    """XGBoost's Booster and LightGBM's of classes are refused with a remedy; one of numbers names its features."""
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    codes, quiet = (ROWS["late"] == "yes").astype(int), {"verbose": -1}
    boosters = {
        "XGBClassifier": xgboost.train({}, xgboost.DMatrix(NUMBERS, codes), 1),
        "LGBMClassifier": lightgbm.train({**quiet, "objective": "binary"}, lightgbm.Dataset(NUMBERS, codes), 1),
    }
    for remedy, booster in boosters.items():
        joblib.dump(booster, tmp_path / "model.pkl")
        with pytest.raises(AdoptionError, match=f"is a bare Booster of .*{remedy}"):
            card_of(tmp_path / "model.pkl", allow_pickle=True)
    of_numbers = lightgbm.train(quiet, lightgbm.Dataset(NUMBERS, codes), 1)
    joblib.dump(of_numbers, tmp_path / "model.pkl")
    assert card_of(tmp_path / "model.pkl", allow_pickle=True).features == ("weight", "price")


def test_a_model_of_another_scikit_learn_is_told(tmp_path: Path) -> None:
    """A model that another version of scikit-learn stored may answer otherwise here, which is a remark of `init`."""
    state = LogisticRegression().fit(NUMBERS, ROWS["late"])
    state.__dict__["_sklearn_version"] = "1.2.2"
    adoption = adoption_of(StoredElsewhere(state), tmp_path)
    assert adoption.card.stored_with == "1.2.2"
    guess, rows = adoption.match_features(guess_of(ROWS), ROWS)
    remarks = " ".join(adoption.sentences(adoption.order(guess, rows), guess, trainer=None))
    assert "was stored by scikit-learn 1.2.2, and another version is installed here" in remarks
    assert card_of(skops_file(tmp_path)).stored_with is None
    broken = pickle.dumps(StoredElsewhere(state), protocol=0)[:-1] + b"cnowhere\nLoss\n."
    (tmp_path / "model.pkl").write_bytes(broken)
    with pytest.raises(AdoptionError, match=r"not importable here: .*nowhere.* stored by scikit-learn 1\.2\.2, and "):
        card_of(tmp_path / "model.pkl", allow_pickle=True)


def model_rows(target: Any, schema: Schema, frame: pd.DataFrame = NUMBERS) -> TrainingRows:
    at = np.arange(len(frame), dtype=np.float64)
    return TrainingRows(schema, frame, np.asarray(target), at, at, np.zeros(len(frame), dtype=np.int64))


PAIR = (Feature("weight", Kind.NUMBER), Feature("price", Kind.NUMBER))
OF_CLASSES = Schema(Task.CLASSIFICATION, "late", PAIR, ("no", "yes"))
OF_NUMBERS = Schema(Task.REGRESSION, "cost", PAIR)


@pytest.mark.parametrize("model", [LogisticRegression(), LinearSVC()], ids=["scores", "classes"])
def test_answers_that_mean_nothing_are_told(model: Any) -> None:
    """A model whose columns or classes come in a wrong order is told, one that tells the classes apart is not."""
    rows = model_rows(ROWS["late"].to_numpy(dtype=object), OF_CLASSES)
    fitted = model.fit(NUMBERS.to_numpy(), ROWS["late"])
    assert find_nonsense(predict_with(fitted, OF_CLASSES, rows.frame.to_numpy()), rows) == ()
    turned = predict_with(NamedClasses(fitted, ("yes", "no")), OF_CLASSES, rows.frame.to_numpy())
    assert "are its classes no, yes (--classes)" in find_nonsense(turned, rows)[0]


def test_numbers_that_mean_nothing_are_told() -> None:
    """A regression with its columns in a wrong order is farther from the labels than a constant, which is told."""
    cost = 100.0 + 10.0 * NUMBERS["price"]
    fitted = LinearRegression().fit(NUMBERS.to_numpy(), cost)
    rows = model_rows(cost, OF_NUMBERS)
    assert find_nonsense(predict_with(fitted, OF_NUMBERS, NUMBERS.to_numpy()), rows) == ()
    swapped = predict_with(fitted, OF_NUMBERS, NUMBERS[["price", "weight"]].to_numpy())
    assert "is weight, price the order of the model's features?" in find_nonsense(swapped, rows)[0]


def test_a_model_that_takes_no_gaps_says_which() -> None:
    """A model that answers only rows without gaps is refused with the columns that have some; of others, the kinds."""
    rows = model_rows(ROWS["late"].to_numpy(dtype=object), OF_CLASSES, NUMBERS.where(NUMBERS["price"] > 0))
    with pytest.raises(AdoptionError, match=r"answers those .* that lack nothing, and \d+ of .* lack weight, price"):
        require_answers(classifier(), "Pipeline", rows)
    with pytest.raises(AdoptionError, match=r"Its features are weight \(number\), price \(number\)"):
        require_answers(LogisticRegression(), "LogisticRegression", rows)


def test_classes_that_cannot_be_matched_are_named(tmp_path: Path) -> None:
    """Other classes than the target's are refused, and so is another number of names."""
    model = LogisticRegression().fit(NUMBERS, ROWS["late"].map({"no": "A", "yes": "B"}))
    adoption = adoption_of(model, tmp_path)
    guess, rows = adoption.match_features(guess_of(ROWS), ROWS)
    with pytest.raises(click.ClickException, match=r"model's classes are A, B, and the target late holds no, yes"):
        adoption.order(guess, rows)
    with pytest.raises(click.ClickException, match="--classes names 3 classes, and the model has 2: A, B"):
        replace(adoption, class_names=("a", "b", "c")).match_features(guess_of(ROWS), ROWS)


def test_a_manifest_keeps_where_its_version_came_from() -> None:
    """What was adopted is in the lineage, and a manifest of an earlier driftd, which has no word of it, is read."""
    manifest = Manifest(
        model="orders",
        version=1,
        created_at=1e9,
        schema=Schema(Task.CLASSIFICATION, "late", (Feature("price", Kind.NUMBER),), ("no", "yes")),
        snapshot="0" * 64,
        trainer=Trainer("adopted from model.skops", "1" * 64),
        seed=1,
        trigger="manual",
        reason="adopted from model.skops",
        artefact=SKOPS,
        adopted=Adopted("model.skops", "1" * 64, None, ("no", "yes")),
    )
    assert Manifest.from_dict(manifest.to_dict()) == manifest
    stored = manifest.to_dict()
    del stored["adopted"]
    assert Manifest.from_dict(stored) == replace(manifest, adopted=None)
