"""Models and trainers that users have already: `driftd init`, then answers over HTTP, for every library."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import library_trainers
from driftd import Driftd
from driftd.config.load import load
from driftd.events import HandOverAction, RegistryTask
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job
from driftd.training.mlflow_versions import MlflowPlace
from driftd.training.tasks.hand_over import Arguments as HandOverArguments
from driftd.training.tasks.hand_over import HandOverError, RegisteredAlias
from driftd.training.tasks.hand_over import run as hand_over
from driftd.training.tasks.registry import Arguments as RegistryArguments
from driftd.training.tasks.registry import run as ask_registry
from driftd_processes import driftd, serve_here
from library_trainers import LIBRARIES, sample_rows
from warm_server import finish

pytestmark = pytest.mark.slow

FEATURES = ["region", "price", "weight"]  # not in the order of the file
CODES = {"no": 0, "yes": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of labelled rows; the first 1,500 are what models were trained on."""
    folder = tmp_path_factory.mktemp("existing")
    rows = sample_rows(2000)
    rows.insert(0, "ts", pd.date_range("2026-01-01", periods=2000, freq="30min", tz="UTC"))
    rows.to_csv(folder / "orders.csv", index=False)
    return folder


def seen(folder: Path) -> pd.DataFrame:
    rows: pd.DataFrame = pd.read_csv(folder / "orders.csv").head(1500)
    return rows


def pipeline(model: Any) -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["region"]),
        (make_pipeline(StandardScaler(), FunctionTransformer(np.nan_to_num)), ["price", "weight"]),
    )
    return make_pipeline(columns, model)


def plain_pipeline(rows: pd.DataFrame) -> Any:
    """A Pipeline that no gap disturbs, of scikit-learn's own parts alone."""
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["region"]), ("passthrough", ["weight"]))
    return make_pipeline(columns, LogisticRegression()).fit(rows[FEATURES], rows["late"])


def init(folder: Path, name: str, *arguments: str, file: str = "orders.csv", target: str = "late") -> Any:
    """Run `driftd init` and return what it did; its config is `NAME.yaml`."""
    return driftd(
        folder, "init", file, "--target", target, "--name", name, "--output", f"{name}.yaml",
        "--state-dir", f"state-{name}", *arguments,
    )  # fmt: skip


def scores_over_http(folder: Path, name: str, rows: pd.DataFrame) -> list[float]:
    """The scores that `driftd serve` answers."""
    given = rows[FEATURES].astype(object).where(rows[FEATURES].notna(), None)
    with serve_here(folder / f"{name}.yaml") as http:
        answer = http.post(f"/v1/models/{name}/predict", json=[{"features": row} for row in given.to_dict("records")])
    assert answer.status_code == 200, answer.text
    return [row["score"] for row in answer.json()]


def write_skops(folder: Path) -> Any:
    model = plain_pipeline(seen(folder))
    skops.io.dump(model, folder / "model.skops")
    return model


def write_xgboost(folder: Path) -> Any:
    xgboost = pytest.importorskip("xgboost")
    rows = seen(folder)
    model = pipeline(xgboost.XGBClassifier(n_estimators=20)).fit(rows[FEATURES], rows["late"].map(CODES))
    joblib.dump(model, folder / "xgboost.joblib")
    return model


def write_lightgbm(folder: Path) -> Any:
    lightgbm = pytest.importorskip("lightgbm")
    rows = seen(folder)
    given = rows[FEATURES].astype({"region": "category"})
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(given, rows["late"])
    joblib.dump(model, folder / "lightgbm.pkl")
    return model


def write_catboost(folder: Path) -> Any:
    catboost = pytest.importorskip("catboost")
    rows = seen(folder)
    model = catboost.CatBoostClassifier(
        iterations=20, cat_features=["region"], verbose=False, allow_writing_files=False
    )
    model.fit(rows[FEATURES], rows["late"])
    joblib.dump(model, folder / "catboost.pkl")
    return model


def write_onnx(folder: Path) -> Any:
    pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    model = plain_pipeline(seen(folder))
    example = seen(folder)[FEATURES].head(1).astype({"price": np.float32, "weight": np.float32})
    (folder / "model.onnx").write_bytes(skl2onnx.to_onnx(model, example).SerializeToString())
    return model


ADOPTED: dict[str, tuple[str, Callable[[Path], Any], tuple[str, ...]]] = {
    "skops": ("model.skops", write_skops, ()),
    "xgb": ("xgboost.joblib", write_xgboost, ("--allow-pickle",)),
    "lgb": ("lightgbm.pkl", write_lightgbm, ("--allow-pickle",)),
    "cat": ("catboost.pkl", write_catboost, ("--allow-pickle",)),
    "onnx": ("model.onnx", write_onnx, ()),
}


@pytest.mark.parametrize("name", ADOPTED)
def test_an_existing_model_is_adopted_and_served(name: str, folder: Path) -> None:
    """The model is version 1 untrained, its features its own, and HTTP answers as the model itself does."""
    file, make, arguments = ADOPTED[name]
    model = make(folder)
    run = init(folder, name, "--model", file, *arguments)
    assert run.returncode == 0, run.stderr
    assert f"version 1 of {name} is adopted from {file} and serves" in run.stdout
    config = load(folder / f"{name}.yaml")
    assert list(config.models[name].features or ()) == FEATURES
    manifest = Registry(Places(config.state_dir)).manifest(name, 1)
    assert manifest.adopted is not None
    assert manifest.adopted.source == str(folder / file)
    assert manifest.metrics["loss"] < 0.24  # brier, on rows that it was not trained on
    rows = pd.read_csv(folder / "orders.csv").tail(40).dropna()
    given = rows[FEATURES].astype({"region": "category"}) if name == "lgb" else rows[FEATURES]
    assert scores_over_http(folder, name, rows) == pytest.approx(model.predict_proba(given)[:, 1].tolist(), abs=1e-5)


def test_a_pickle_that_skops_cannot_hold_stays_one(folder: Path) -> None:
    """A Pipeline with a function of its own is served by joblib, and the config that init writes says so."""
    name = "own"
    rows = seen(folder)
    model = pipeline(LogisticRegression()).fit(rows[FEATURES], rows["late"])
    joblib.dump(model, folder / "own.pkl")
    refused = init(folder, name, "--model", "own.pkl")
    assert refused.returncode == 1
    assert "own.pkl is a pickle: loading it runs whatever code is in it" in refused.stderr
    run = init(folder, name, "--model", "own.pkl", "--allow-pickle")
    assert run.returncode == 0, run.stderr
    config = load(folder / f"{name}.yaml")
    assert config.models[name].allow_joblib
    kept = Places(config.state_dir).version(name, 1) / "model.joblib"
    assert kept.read_bytes() == (folder / "own.pkl").read_bytes()


def test_an_adopted_model_is_retrained_by_the_users_trainer(folder: Path) -> None:
    """`--trainer` beside `--model` is what the next version is built by, and it is judged against the adopted one."""
    name = "both"
    write_skops(folder)
    run = init(folder, name, "--model", "model.skops", "--trainer", "library_trainers:forest")
    assert run.returncode == 0, run.stderr
    config = load(folder / f"{name}.yaml")
    model, places = config.models[name], Places(config.state_dir)
    assert model.trainer == "library_trainers:forest"
    first = Registry(places).manifest(name, 1)
    base = {"model": name, "model_config": model.model_dump(mode="json"), "state_dir": str(places.root)}
    base |= {"until": first.created_at, "trigger": "manual", "reason": "the next one"}
    order = {"version": 2, "snapshot": first.snapshot, "change_at": None, "seed": 2, "parent": 1}
    for task, arguments in (("train", order), ("judge", {"challenger": 2, "champion": 1})):
        result = finish(start_job(places.job(task), task, {**base, **arguments}, JobLimits(), SHARED))
        assert result.ok, result.error
    assert result.value["decision"] in {"promote", "inconclusive", "reject"}
    reproduced = driftd(folder, "reproduce", name, "1", "--config", f"{name}.yaml")
    assert reproduced.returncode == 4
    assert "it was adopted from" in reproduced.stdout
    shown = json.loads(driftd(folder, "versions", name, "--config", f"{name}.yaml", "--json").stdout)
    assert shown[0]["reason"].startswith("adopted from ")


def test_a_model_that_means_other_values_is_refused(folder: Path) -> None:
    """A model for which the values of the file and driftd's reading of them differ is not adopted in silence."""
    rows = pd.read_csv(folder / "orders.csv")
    rows["paid"] = np.where(rows["weight"] > 0, "True", "False")
    rows["paid"] = rows["paid"] == "True"
    rows.to_parquet(folder / "paid.parquet")
    own = FunctionTransformer(paid_as_text)
    model = make_pipeline(own, OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=100))
    joblib.dump(model.fit(rows[["paid"]], np.where(rows["paid"], "yes", "no")), folder / "paid.pkl")
    run = init(folder, "paid", "--model", "paid.pkl", "--allow-pickle", file="paid.parquet")
    assert run.returncode == 1
    assert "rows differently when their values come as driftd gives them" in run.stderr
    assert not (folder / "paid.yaml").exists()


def paid_as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """What a pipeline does that was written for booleans: 1.0 is not "True" to it."""
    return rows.astype(str)


def test_a_first_step_that_failed_is_done_anew(folder: Path) -> None:
    """After the cause of a failure is mended, the very same command succeeds."""
    (folder / "mended.py").write_text("def train(data, context):\n    raise ValueError('not yet')\n")
    run = init(folder, "mended", "--trainer", "mended:train")
    assert run.returncode == 1
    assert "not yet" in run.stderr
    (folder / "mended.py").write_text("from library_trainers import forest as train\n")
    again = init(folder, "mended", "--trainer", "mended:train")
    assert again.returncode == 0, again.stderr


def test_an_interrupted_adoption_is_never_taken_for_another_model(folder: Path) -> None:
    """Where version 1 is there but never served, only the same model goes on from it; another one is refused."""
    rows = seen(folder)
    for name, features in (("first", ["region", "weight"]), ("second", ["region", "price", "weight"])):
        columns = make_column_transformer((OneHotEncoder(), ["region"]), ("passthrough", ["weight"]))
        model = make_pipeline(columns, LogisticRegression()).fit(rows[features], rows["late"])
        skops.io.dump(model, folder / f"{name}.skops")
    assert init(folder, "cut", "--model", "first.skops").returncode == 0
    places = Places(load(folder / "cut.yaml").state_dir)
    places.current("cut").unlink()  # as if it had ended before the version was served
    (folder / "cut.yaml").unlink()
    other = init(folder, "cut", "--model", "second.skops")
    assert other.returncode == 1
    assert "cut/1 exists already and is another model (adopted from" in other.stderr
    trained = init(folder, "cut")
    assert trained.returncode == 1
    again = init(folder, "cut", "--model", "first.skops")
    assert again.returncode == 0, again.stderr
    assert Registry(places).current("cut") == 1


TRAINERS = ["forest", *(f"{library}_{shape}" for library in LIBRARIES for shape in ("alone", "in_a_pipeline"))]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_users_trainer_makes_a_version_that_serves(trainer: str, folder: Path) -> None:
    """Train, store without joblib, load and serve over HTTP, for each library alone and in a Pipeline."""
    if (library := trainer.partition("_")[0]) in LIBRARIES:
        pytest.importorskip(library)
    assert hasattr(library_trainers, trainer)
    name = trainer.replace("_", "-")
    run = init(folder, name, "--trainer", f"library_trainers:{trainer}")
    assert run.returncode == 0, run.stderr
    config = load(folder / f"{name}.yaml")
    assert not config.models[name].allow_joblib
    manifest = Registry(Places(config.state_dir)).manifest(name, 1)
    assert (manifest.artefact, manifest.trainer.reference) == ("model.skops", f"library_trainers:{trainer}")
    assert manifest.metrics["loss"] < 0.2
    rows = pd.read_csv(folder / "orders.csv").tail(40)
    scores = scores_over_http(folder, name, rows)
    with Driftd(config.state_dir, name) as sdk:
        assert [answer.score for answer in sdk.predict(rows)] == pytest.approx(scores, rel=1e-6)
    late = np.array(scores)[(rows["late"] == "yes").to_numpy()].mean()
    assert late > np.array(scores)[(rows["late"] == "no").to_numpy()].mean() + 0.2


@pytest.fixture
def registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store of MLflow in a folder, as MLFLOW_TRACKING_URI names it."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "mlruns").as_uri())
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    return mlflow


def test_a_model_of_mlflows_registry_is_adopted(folder: Path, registered: Any) -> None:
    """`models:/name@alias` gives the version behind the alias, which the lineage names with its run."""
    sklearn_flavour = pytest.importorskip("mlflow.sklearn")

    rows = seen(folder)
    with registered.start_run():
        logged = sklearn_flavour.log_model(plain_pipeline(rows), name="m", registered_model_name="late")
    client = registered.MlflowClient()
    client.set_registered_model_alias("late", "champion", logged.registered_model_version)
    run = init(folder, "registered", "--model", "models:/late@champion")
    assert run.returncode == 0, run.stderr
    config = load(folder / "registered.yaml")
    manifest = Registry(Places(config.state_dir)).manifest("registered", 1)
    assert manifest.adopted is not None
    assert (manifest.adopted.version, manifest.artefact) == ("1", "model.skops")
    assert manifest.adopted.run_id == client.get_model_version("late", "1").run_id
    place = MlflowPlace(name="late", alias="champion", tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    state, move = str(config.state_dir), RegistryTask.MOVE
    moved = ask_registry(
        RegistryArguments(model="registered", state_dir=state, task=move, version=1, place=place, timeout=60.0)
    )
    (only,) = client.search_model_versions("name='late'")  # it gets the tags and is not copied
    assert (moved["number"], only.tags["driftd_manifest"]) == ("1", manifest.identity)
    absent = init(folder, "absent", "--model", "mlflow:models:/late@nobody")
    assert absent.returncode == 1
    assert "MLflow gives no model at models:/late@nobody" in absent.stderr


def test_a_version_is_handed_over_by_moving_an_alias(folder: Path, registered: Any) -> None:
    """The version is registered once, its alias names it, and a take-back gives the alias back to what had it."""
    sklearn_flavour = pytest.importorskip("mlflow.sklearn")

    rows = seen(folder)
    with registered.start_run():
        sklearn_flavour.log_model(
            plain_pipeline(rows), name="m", registered_model_name="orders", pip_requirements=["scikit-learn"]
        )
    client = registered.MlflowClient()
    client.set_registered_model_alias("orders", "live", "1")
    assert init(folder, "handed").returncode == 0
    state = load(folder / "handed.yaml").state_dir

    def tell(action: HandOverAction, version: int | None) -> str:
        given = RegisteredAlias("orders", "live")
        where = HandOverArguments(
            model="handed", state_dir=str(state), action=action, version=version, reason="", timeout=60, mlflow=given
        )
        return str(hand_over(where)["sentence"])

    def alias() -> str:
        return str(client.get_model_version_by_alias("orders", "live").version)

    assert "orders@live names version 2" in tell(HandOverAction.DEPLOY, 1)
    tell(HandOverAction.DEPLOY, 1)  # after a crash
    assert (alias(), len(client.search_model_versions("name='orders'"))) == ("2", 2)
    served = registered.pyfunc.load_model("models:/orders@live")
    assert len(served.predict(feature_frame(rows.tail(5), Registry(Places(state)).manifest("handed", 1).schema))) == 5
    tell(HandOverAction.TAKE_BACK, None)  # to what is only known by its log
    assert alias() == "1"
    with pytest.raises(HandOverError, match="cannot be asked"):
        tell(HandOverAction.ASK, None)


def test_a_function_of_mlflow_is_adopted_with_permission(folder: Path, registered: Any) -> None:
    """A python_function runs code: it asks for --allow-pickle, is kept whole, and serves by MLflow."""
    rows = pd.read_csv(folder / "orders.csv").dropna()
    rows.assign(cost=2 * rows["weight"] + 1).drop(columns="late").to_csv(folder / "costs.csv", index=False)
    signature = registered.models.infer_signature(rows[["weight"]], pd.Series([1.0]))
    with registered.start_run():
        registered.pyfunc.log_model(name="f", python_model=Doubled(), registered_model_name="cost", signature=signature)
    client = registered.MlflowClient()
    client.set_registered_model_alias("cost", "champion", "1")
    arguments = ("--model", "mlflow:models:/cost@champion")
    refused = init(folder, "cost", *arguments, file="costs.csv", target="cost")
    assert refused.returncode == 1
    assert "say --allow-pickle" in refused.stderr
    run = init(folder, "cost", *arguments, "--allow-pickle", file="costs.csv", target="cost")
    assert run.returncode == 0, run.stderr
    config = load(folder / "cost.yaml")
    with Driftd(config.state_dir, "cost", allow_joblib=True) as sdk:
        assert sdk.predict({"weight": 3.0}).prediction == pytest.approx(7.0)


try:
    from mlflow.pyfunc import PythonModel
except ImportError:
    PythonModel = object


class Doubled(PythonModel):  # type: ignore[misc]
    """A function of the user's own."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        """Twice the weight, and one."""
        return (2 * model_input["weight"] + 1).to_numpy()


def test_a_regression_of_one_input_is_adopted_as_a_graph(folder: Path) -> None:
    """A graph with one matrix for all features takes the columns in the order of the file."""
    pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    rows = pd.read_csv(folder / "orders.csv").dropna()
    rows["cost"] = rows["price"] - 3 * rows["weight"]
    rows[["ts", "price", "weight", "cost"]].to_csv(folder / "matrix.csv", index=False)
    numbers = rows[["price", "weight"]].to_numpy(np.float32)
    graph = skl2onnx.to_onnx(LinearRegression().fit(numbers, rows["cost"]), numbers[:1])
    (folder / "matrix.onnx").write_bytes(graph.SerializeToString())
    run = init(folder, "matrix", "--model", "matrix.onnx", "--unseen", file="matrix.csv", target="cost")
    assert run.returncode == 0, run.stderr
    assert "the model does not name its features" in run.stderr
    config = load(folder / "matrix.yaml")
    assert Registry(Places(config.state_dir)).manifest("matrix", 1).data["training_rows"] == 0
    with Driftd(config.state_dir, "matrix") as sdk:
        assert sdk.predict({"weight": 1.0, "price": 5.0}).prediction == pytest.approx(2.0, abs=1e-4)
