"""A model that exists already: reading it from where it is, and what it says of itself.

`--model` names a file (`.skops`, `.onnx`, `.joblib`, `.pkl`), a folder with an `MLmodel` file, or `mlflow:` and an
address of MLflow. What is read is held as skops or ONNX wherever these can hold it, so that no code of the model's
maker runs when it is loaded to serve; only what neither can hold stays as it is.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import sklearn
import yaml
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import InconsistentVersionWarning

from driftd.registry.artefact import CODE_RUNS, JOBLIB, MLFLOW, ONNX, SKOPS, ArtefactError, load_skops, skops_content
from driftd.registry.estimator_inputs import category_places
from driftd.registry.foreign_models import MlflowModel, OnnxModel, archive_folder, mlflow_library
from driftd.training.adoption_records import MLFLOW_SCHEME, PICKLES, AdoptionError, ModelCard, refusal
from driftd.training.mlflow_versions import limited_requests
from driftd_detectors.schema import class_name

MLMODEL = "MLmodel"
_NAMELESS = ("", "Column_")  # what CatBoost and LightGBM call the columns of rows without names
_NATIVE_FLAVOURS = ("xgboost", "lightgbm", "catboost")
_OF_CLASSES = ("binary", "multiclass", "multiclassova", "cross_entropy")  # objectives of LightGBM


@dataclass(frozen=True, slots=True)
class FoundModel:
    """An existing model in memory, and the artefact that the registry keeps of it."""

    estimator: Any
    artefact: str
    content: bytes  # of the artefact
    sha256: str  # of the original
    version: str | None = None
    stored_with: str | None = None  # the version of scikit-learn that stored it, where another one is installed
    run_id: str | None = None  # of the run of MLflow that made it

    def card(self) -> ModelCard:
        """What it says of itself."""
        count = len(_recorded_names(self.estimator)) or getattr(self.estimator, "n_features_in_", None)
        known = getattr(self.estimator, "classes_", None)
        return ModelCard(
            kind=kind_of(self.estimator),
            sha256=self.sha256,
            artefact=self.artefact,
            features=feature_names(self.estimator),
            feature_count=None if count is None else int(count),
            classes=None if known is None or not len(known) else tuple(class_name(_plain(label)) for label in known),
            task=_task_of(self.estimator),
            version=self.version,
            runs_code=self.artefact in CODE_RUNS,
            categories=_categories_of(self.estimator),
            stored_with=self.stored_with,
        )


def read_model(source: str, *, allow_pickle: bool) -> FoundModel:
    """Read an existing model.

    Raises AdoptionError when the source is none, cannot be read, or is a pickle and `allow_pickle` is not given;
    ArtefactError and ImportError as loading does.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InconsistentVersionWarning)
        try:
            found = _read(source, allow_pickle=allow_pickle)
        except (AdoptionError, ArtefactError) as error:
            if (other := _other_version(caught)) is None:
                raise
            raise AdoptionError(
                f"{str(error).rstrip('.')}. It was stored by scikit-learn {other}, and {sklearn.__version__} is "
                "installed here, which keeps some of its parts elsewhere: install that version, or store the model anew"
            ) from error
    _require_tables(found.estimator)
    return replace(found, stored_with=_other_version(caught))


def _other_version(caught: Iterable[warnings.WarningMessage]) -> str | None:
    """The version of scikit-learn that a model was stored by, where loading it warned that it is another one."""
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            return str(warning.message.original_sklearn_version)
    return None


def _read(source: str, *, allow_pickle: bool) -> FoundModel:
    if source.startswith(MLFLOW_SCHEME):
        with tempfile.TemporaryDirectory(prefix="driftd-adopt-") as name:
            folder, version, run_id = _download(source.removeprefix(MLFLOW_SCHEME), Path(name))
            found = _from_mlflow(folder, source, version, allow_pickle=allow_pickle)
            return replace(found, run_id=run_id)
    path = Path(source)
    if (path / MLMODEL).is_file():
        return _from_mlflow(path, source, None, allow_pickle=allow_pickle)
    if path.is_dir():
        raise AdoptionError(f"{source} is a folder without an {MLMODEL} file; name a model's file, or MLflow's folder")
    return _from_file(path, path.suffix.lower(), allow_pickle=allow_pickle)


def kind_of(estimator: Any) -> str:
    """The name of an estimator's class; of a pipeline also that of its last step."""
    steps = getattr(estimator, "steps", None)
    name = type(estimator).__name__
    return f"{name} of {type(steps[-1][1]).__name__}" if steps else name


def feature_names(estimator: Any) -> tuple[str, ...] | None:
    """The names of the features that an estimator was fitted to, in its order; None where it knows none."""
    names = _recorded_names(estimator)
    return None if any(names == _made_up(start, len(names)) for start in _NAMELESS) else names or None


def _recorded_names(estimator: Any) -> tuple[str, ...]:
    """Names, or what a library calls the columns of rows that had none."""
    if _path_of(estimator) == "lightgbm.basic.Booster":
        return tuple(estimator.feature_name())
    for attribute in ("feature_names_in_", "feature_names_"):  # scikit-learn's and its followers', CatBoost's
        try:
            found = getattr(estimator, attribute, None)
        except Exception:  # noqa: BLE001, S112 - a property of a library may raise its own error: it does not know
            continue
        if found is not None and len(found) and all(isinstance(name, str) for name in found):
            return tuple(str(name) for name in found)
    return ()


def _path_of(estimator: Any) -> str:
    return f"{type(estimator).__module__}.{type(estimator).__name__}"


def _made_up(start: str, count: int) -> tuple[str, ...]:
    return tuple(f"{start}{number}" for number in range(count))


def _from_file(path: Path, suffix: str, *, allow_pickle: bool, version: str | None = None) -> FoundModel:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AdoptionError(f"{path} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if suffix == ".onnx":
        return FoundModel(_onnx(path, content), ONNX, content, digest, version)
    if suffix == ".skops":
        return FoundModel(load_skops(path), SKOPS, content, digest, version)
    if suffix in PICKLES:
        if not allow_pickle:
            raise AdoptionError(refusal(str(path)))
        return _safest(_unpickle(path), JOBLIB, content, digest, version)
    raise AdoptionError(
        f"{path} is no model that driftd reads: it reads .skops, .onnx, {', '.join(PICKLES)}, "
        f"a folder with an {MLMODEL} file, and models:/name@alias"
    )


def _onnx(path: Path, content: bytes) -> OnnxModel:
    try:
        return OnnxModel(content)
    except ValueError as error:
        raise AdoptionError(f"{path}: {error}") from error


def _unpickle(path: Path) -> Any:
    try:
        return joblib.load(path)
    except ImportError as error:
        raise AdoptionError(f"{path} needs a module that is not importable here: {error}") from error
    except Exception as error:  # unpickling runs anybody's code
        raise AdoptionError(f"{path} cannot be loaded as a pickle: {type(error).__name__}: {error}") from error


def _safest(estimator: Any, artefact: str, content: bytes, digest: str, version: str | None) -> FoundModel:
    """As skops where that holds it, else as it is."""
    if not callable(getattr(estimator, "predict", None)):
        raise AdoptionError(f"the model is a {type(estimator).__name__}, which has no predict method")
    held, _ = skops_content(estimator)
    return FoundModel(estimator, *((SKOPS, held) if held is not None else (artefact, content)), digest, version)


def _require_tables(estimator: Any) -> None:
    """Raises AdoptionError for a bare booster, which takes no table or gives no classes."""
    kind = _path_of(estimator)
    if kind == "xgboost.core.Booster":
        raise AdoptionError(
            "the model is a bare Booster of XGBoost, which takes no tables: load its file into XGBClassifier() or "
            "XGBRegressor() with load_model, and save that"
        )
    if kind == "lightgbm.basic.Booster" and estimator.dump_model()["objective"].split()[0] in _OF_CLASSES:
        raise AdoptionError(
            "the model is a bare Booster of LightGBM, which names no classes and predicts probabilities alone: save "
            "the LGBMClassifier, or make an ONNX graph of it"
        )


def _categories_of(estimator: Any) -> tuple[tuple[int, tuple[str, ...] | None], ...]:
    """The places of the features that a model takes as text, and the texts that it knows where it says so."""
    if places := category_places(estimator):
        return tuple((place, None) for place in places)
    names = _recorded_names(estimator)
    known = {name: texts for name, texts in _list_encoder_texts(estimator) if name in names}
    return tuple((names.index(name), texts) for name, texts in known.items())


def _list_encoder_texts(estimator: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The features whose encoder in a Pipeline was fitted to texts, and these."""
    while getattr(estimator, "steps", None):
        estimator = estimator.steps[0][1]
    for _, transformer, columns in getattr(estimator, "transformers_", ()):
        steps = [step for _, step in getattr(transformer, "steps", [("", transformer)])]
        lists = next((found for step in steps if (found := getattr(step, "categories_", None)) is not None), ())
        if not isinstance(columns, list) or len(lists) != len(columns):
            continue
        for name, categories in zip(columns, lists, strict=True):
            texts = tuple(value for value in categories if isinstance(value, str))
            if isinstance(name, str) and texts:
                yield name, texts


def _download(address: str, folder: Path) -> tuple[Path, str | None, str | None]:
    """The model's folder of an address of MLflow; its version where the address is of the registry; its run."""
    mlflow_library()
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - only for such an address
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - see above

    try:
        with limited_requests():
            version, run_id = _registered_version(address)
            fixed = (
                address if version is None else f"{address.rpartition('@')[0] or address.rpartition('/')[0]}/{version}"
            )
            found = Path(download_artifacts(artifact_uri=fixed, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        why = str(error).rstrip(".")
        raise AdoptionError(
            f"MLflow gives no model at {address}: {why}. MLFLOW_TRACKING_URI says where its server or store is."
        ) from error
    if not (found / MLMODEL).is_file():
        raise AdoptionError(f"{address} is no model of MLflow: its folder has no {MLMODEL} file")
    return found, version, run_id


def _registered_version(address: str) -> tuple[str | None, str | None]:
    """The number behind `models:/name@alias` and `models:/name/version`, and its run: both of one moment."""
    from mlflow import MlflowClient  # noqa: PLC0415 - only for such an address

    if not address.startswith("models:/"):
        return None, None
    name, at, alias = address.removeprefix("models:/").partition("@")
    if at:
        made = MlflowClient().get_model_version_by_alias(name, alias)
        return str(made.version), made.run_id
    name, _, last = name.rpartition("/")
    if not last.isdecimal():
        return None, None
    return last, MlflowClient().get_model_version(name, last).run_id


def _from_mlflow(folder: Path, source: str, version: str | None, *, allow_pickle: bool) -> FoundModel:
    """A model's folder: scikit-learn's own file or the ONNX graph where it holds such, else what MLflow loads."""
    content = archive_folder(folder)
    digest = hashlib.sha256(content).hexdigest()
    flavours = yaml.safe_load((folder / MLMODEL).read_text("utf-8")).get("flavors", {})
    inner = _data_file(folder, flavours)
    if inner is not None and (inner.suffix.lower() not in PICKLES or allow_pickle):
        found = _from_file(inner, inner.suffix.lower(), allow_pickle=allow_pickle)
        return replace(found, sha256=digest, version=version)
    if not allow_pickle:
        raise AdoptionError(
            f"loading {source} runs code that the model brings, with your rights (its flavours: "
            f"{', '.join(flavours)}). If you trust whoever made it, say --allow-pickle."
        )
    for flavour in _NATIVE_FLAVOURS:
        if flavour in flavours:
            estimator = getattr(mlflow_library(), flavour).load_model(str(folder))
            if hasattr(estimator, "get_params"):  # scikit-learn's interface, not a raw booster
                return _safest(estimator, MLFLOW, content, digest, version)
    return FoundModel(MlflowModel(content), MLFLOW, content, digest, version)


def _data_file(folder: Path, flavours: Mapping[str, Mapping[str, object]]) -> Path | None:
    """The file of a scikit-learn estimator or of an ONNX graph in a model's folder."""
    sklearn, onnx = flavours.get("sklearn"), flavours.get("onnx")
    name = sklearn.get("pickled_model") if sklearn else onnx.get("data") if onnx else None
    path = folder / str(name)
    return path if name is not None and path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


def _task_of(estimator: Any) -> str | None:
    try:
        return "classification" if is_classifier(estimator) else "regression" if is_regressor(estimator) else None
    except (AttributeError, TypeError):  # an object that is no scikit-learn estimator
        return None


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
