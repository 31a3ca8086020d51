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
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from driftd.cli.adoption import Adoption
from driftd.cli.init_defaults import Guess, guess_settings
from driftd.fsutil import sha256_of
from driftd.registry import Adopted
from driftd.registry.artefact import JOBLIB, ONNX, SKOPS, ArtefactError
from driftd.registry.manifest import Manifest, Trainer
from driftd.training.adoption import read_model
from driftd.training.adoption_records import AdoptionError, AdoptionOrder, ModelCard, require_permission
from driftd.training.bootstrap import FileColumns
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
